"""What the package promises as a whole: its public names, its errors, and how little it loads."""

import subprocess
import sys

import pytest

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
