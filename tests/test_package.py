"""What the package promises as a whole: its public names, its errors, and how little it loads."""

import subprocess
import sys
from importlib.metadata import packages_distributions

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import Settings, SettingsError, WispError


def test_public_names():
    assert sorted(pipeline.__all__) == [
        "Cutout",
        "DiskFull",
        "ImageError",
        "ImageTooLarge",
        "ImageTooSlow",
        "ModelError",
        "ModelInvalid",
        "ModelMissing",
        "ModelTooSlow",
        "OutOfMemory",
        "Output",
        "OutputError",
        "Progress",
        "ProviderMissing",
        "Result",
        "Settings",
        "SettingsError",
        "UnreadableImage",
        "UnsupportedFormat",
        "WispError",
    ]
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__doc__, f"{name} is not documented"


def test_one_tree_of_errors():
    for name in pipeline.__all__:
        thing = getattr(pipeline, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, WispError)


def test_import_loads_nothing_heavy():
    code = "import sys, pipeline; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {"torch", "gradio", "skimage", "scipy", "pandas", "numba", "onnx", "onnxruntime"}
    assert "pipeline" in loaded
    assert heavy.isdisjoint(loaded)
    assert {"refiner", "u2net", "eval", "service"}.isdisjoint(loaded)


def test_a_command_for_one_photo_loads_only_what_it_needs(tmp_path):
    """What it imports is a third of its time beyond the networks' own."""
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(photo)
    code = "from pipeline.cli import main; main()"
    command = [sys.executable, "-X", "importtime", "-c", code, "cut", str(photo), "-o", str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert out.is_file()
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rsplit("|")[-1].strip() for line in lines}
    others = {name.split(".")[0] for name in loaded} & packages_distributions().keys()
    assert {"PIL", "numpy", "cv2", "onnxruntime"} <= others
    base = {"PIL", "numpy", "cv2", "onnxruntime", "click", "defusedxml", "platformdirs", "pipeline"}
    assert others - {"_distutils_hack", "setuptools"} <= base
    slow = {"numpy.ma", "asyncio", "multiprocessing", "ssl", "http.client", "email", "sqlite3"}
    assert slow.isdisjoint(loaded)


@pytest.mark.parametrize(
    "bad", [{"reach": -1}, {"batch_size": 0}, {"max_pixels": 0}, {"roi_threshold": 2}]
)
def test_a_setting_out_of_range_names_itself(bad):
    (name,) = bad
    with pytest.raises(SettingsError, match=name):
        Settings(**bad)


def test_settings_need_a_provider():
    with pytest.raises(SettingsError, match="CPUExecutionProvider"):
        Settings(providers=())
