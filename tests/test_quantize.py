"""INT8 and FP16 variants: made, measured on other photos, and used by name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

from pipeline import (
    Cutout,
    ModelError,
    ModelInvalid,
    Settings,
    SettingsError,
    models,
)
from pipeline.cli.models import models as command
from pipeline.models import own, store
from pipeline.models.quantize import quantize
from tests import networks
from tests.tiny_u2net import tiny_u2net


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "rembg"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).resize((96, 96)).save(folder / f"{name}.png")
    (folder / "zebra.png").write_bytes(b"no picture")  # passed by, not fatal
    return sorted(folder.iterdir())


def test_int8(tmp_path, photos):
    model = tiny_u2net(tmp_path / "mine.onnx", 64)
    report = quantize(str(model), photos)
    assert (report.name, report.calibrated, report.measured) == ("mine-int8", 3, 1)
    assert report.path == store.model_path("mine-int8")
    assert report.bytes_before == model.stat().st_size
    assert report.bytes_after == report.path.stat().st_size
    assert report.seconds_before > 0 and report.seconds_after > 0
    ops = {node.op_type for node in onnx.load(report.path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= ops
    # Weights of 7 bits: two products of theirs fit into 16, on processors without VNNI too.
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(report.path).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims
    ]
    assert {int(np.abs(values.astype(int)).max()) for values in weights if values.any()} == {64}
    # The variant is used by its name, and says what it said, but for rounding.
    assert 0 < report.difference <= report.worst < 8
    alphas = [
        Cutout(Settings(model=name, refine=False))(data.coffee()).alpha
        for name in (str(model), "mine-int8")
    ]
    assert 0 < np.abs(alphas[0] - alphas[1]).mean() < 0.04
    assert models.coarse_model("mine-int8").purpose == f"INT8 variant of {model}"
    with pytest.raises(SettingsError, match="exists already: `wisp models remove mine-int8`"):
        quantize(str(model), photos)


def test_the_variant_of_an_imported_model_is_fed_like_it(tmp_path, photos):
    own.take_in(tiny_u2net(tmp_path / "a.onnx", 64), "isnet-general-use", "mine", "MIT")
    report = quantize("mine", photos, "fp16")
    card = models.coarse_model("mine-fp16")
    assert (card.mean, card.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    assert card.licence == "MIT"
    weights = onnx.load(report.path).graph.initializer
    assert {w.data_type for w in weights if w.name.endswith(".w")} == {onnx.TensorProto.FLOAT16}
    assert 0 < report.difference < 0.5
    ends = onnx.load(report.path).graph.input[0].type.tensor_type.elem_type
    assert ends == onnx.TensorProto.FLOAT


def test_what_cannot_be_made(tmp_path, photos, monkeypatch):
    model = str(tiny_u2net(tmp_path / "a.onnx", 64))
    with pytest.raises(SettingsError, match="int8, fp16"):
        quantize(model, photos, "int4")
    for few in (photos[:0], photos[:1]):
        with pytest.raises(SettingsError, match="at least two photos"):
            quantize(model, few)
    with pytest.raises(SettingsError, match="kept back"):
        quantize(model, photos[-1:] + photos[:2])
    with pytest.raises(ModelInvalid, match="stage 1"):
        quantize(str(networks.stage2(tmp_path / "r.onnx")), photos)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"pip install 'wispcut\[models\]'"):
        quantize(model, photos)
    assert not store.model_path("a-int8").exists()


def test_command(tmp_path, photos):
    model = tiny_u2net(tmp_path / "mine.onnx", 64)
    arguments = ["quantize", str(model), "--calibration", str(photos[0].parent)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    assert result.output.startswith("mine-int8: ")
    assert "times as fast" in result.output
    assert "calibrated with 3 photos, measured on 1 others" in result.output
    assert '"mine-int8"' in CliRunner().invoke(command, ["--json"]).output
