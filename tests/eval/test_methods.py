from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval import methods
from eval.methods import Input, MethodError, Outside, Spec, classic, external, parse
from pipeline import coarse, models
from tests import networks
from tests.eval.conftest import soft_disc


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(networks.stage1(tmp_path_factory.mktemp("models") / "bright.onnx"))


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(networks.stage2(tmp_path_factory.mktemp("models") / "same.onnx"))


@pytest.fixture(scope="module")
def input_() -> Input:
    """A bright disc on a dark ground."""
    alpha = soft_disc(96, 128, 30)[..., None]
    image = np.round(alpha * 250 + (1 - alpha) * 5).repeat(3, 2).astype(np.uint8)
    return Input("disc", b"", image)


def test_a_list_of_methods_is_read() -> None:
    specs = parse("coarse, wisp:refiner=x/a.onnx,model=m.onnx,as=long run,rembg-matting")
    assert [spec.kind for spec in specs] == ["coarse", "wisp", "rembg-matting"]
    assert [spec.label for spec in specs] == ["coarse", "long run", "rembg-matting"]
    assert dict(specs[1].options) == {"refiner": "x/a.onnx", "model": "m.onnx"}
    defaults = {"model": "m.onnx", "refiner": "r.onnx"}
    coarse, wisp = parse("coarse,wisp:refiner=other.onnx", defaults)
    assert dict(coarse.options) == {"model": "m.onnx"}
    assert dict(wisp.options) == {"model": "m.onnx", "refiner": "other.onnx"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photoshop", "no method 'photoshop': there are coarse"),
        ("coarse:speed=9", "takes no 'speed': it takes model"),
        ("wisp:fast", "not METHOD:key=value"),
        ("model=x", "not METHOD:key=value"),
        ("coarse,coarse", "two methods are called 'coarse'"),
    ],
)
def test_a_bad_list_is_refused(text: str, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        parse(text)


@pytest.mark.parametrize("name", ["coarse", "guided", "grabcut"])
def test_methods_from_stage_1(name: str, model: str, input_: Input) -> None:
    (spec,) = parse(name, {"model": model})
    rgba = methods.as_rgba(input_.image, methods.build(spec)(input_))
    truth = soft_disc(96, 128, 30)
    assert rgba.shape == (96, 128, 4)
    assert np.abs(rgba[..., 3] / 255 - truth).mean() < 0.12
    assert (rgba[..., :3] == input_.image).all()


def test_grabcut_of_nothing_is_nothing(model: str) -> None:
    (spec,) = parse("grabcut", {"model": model})
    black = Input("black", b"", np.zeros((40, 50, 3), np.uint8))
    assert np.asarray(methods.build(spec)(black)).max() == 0


@pytest.mark.parametrize("foreground", ["own", "photo", "blur"])
def test_wisp(foreground: str, model: str, refiner: str, input_: Input) -> None:
    (spec,) = parse(f"wisp:foreground={foreground}", {"model": model, "refiner": refiner})
    rgba = np.asarray(methods.build(spec)(input_))
    assert rgba.shape == (96, 128, 4) and rgba.dtype == np.uint8
    (coarse,) = parse("coarse", {"model": model})
    alone = methods.as_rgba(input_.image, methods.build(coarse)(input_))
    assert (rgba[..., 3] == alone[..., 3]).all()  # this refiner gives back what it gets
    if foreground == "photo":
        assert (rgba[..., :3] == input_.image).all()


def test_wisp_with_pymatting(model: str, input_: Input) -> None:
    pytest.importorskip("pymatting")
    specs = parse("wisp:refine=off,foreground=ml,pymatting:refine=off", {"model": model})
    for spec in specs:
        assert np.asarray(methods.build(spec)(input_)).shape == (96, 128, 4)


@pytest.mark.parametrize("how", ["", "-putalpha", "-matting", "-decontaminate"])
def test_rembg(how: str, model: str, input_: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rembg", reason="the real rembg, where installed (extra: peers)")
    monkeypatch.setenv("U2NET_HOME", "")  # put back what the method changes
    (spec,) = parse(f"rembg{how}", {"model": model})
    build = methods.build(spec)
    assert not Path(os.environ["U2NET_HOME"]).exists()  # nothing is left behind
    rgba = np.asarray(build(input_))
    assert rgba.shape == (96, 128, 4)
    session, card = models.open_coarse(models.coarse_model(model), ("CPUExecutionProvider",), 1)
    raw = coarse.predict(session, replace(card, output_range=(0.0, 1.0)), input_.image)
    mask = coarse.upsample(raw, (96, 128))
    if how in ("", "-putalpha", "-decontaminate"):  # it stretches the mask to its extremes
        low, high = mask.min(), mask.max()
        assert np.abs(rgba[..., 3] / 255 - (mask - low) / (high - low)).max() < 0.03


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    (spec,) = parse("rembg", {"model": model})
    with pytest.raises(MethodError, match=r"rembg.*install wispcut\[peers\]"):
        methods.build(spec)


def test_the_guided_filter_agrees_with_sums() -> None:
    rng = np.random.default_rng(0)
    guide, mask = (rng.random((24, 30)).astype(np.float32) for _ in range(2))
    radius, epsilon = 2, 0.01

    def mean(array: np.ndarray) -> np.ndarray:
        wide = np.pad(array.astype(np.float64), radius, mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(wide, (5, 5))
        return windows.mean((2, 3))

    slope = (mean(guide * mask) - mean(guide) * mean(mask)) / (
        mean(guide**2) - mean(guide) ** 2 + epsilon
    )
    second = mean(slope) * guide + mean(mean(mask) - slope * mean(guide))
    mine = classic.guided_filter(guide, mask, radius, epsilon)
    assert mine == pytest.approx(np.clip(second, 0, 1), abs=1e-5)


def test_answers_are_checked(input_: Input) -> None:
    with pytest.raises(MethodError, match="shape"):
        methods.as_rgba(input_.image, np.zeros((3, 3)))
    with pytest.raises(MethodError, match="uint8"):
        methods.as_rgba(input_.image, np.zeros((96, 128, 4)))
    with pytest.raises(MethodError, match="not finite"):
        methods.as_rgba(input_.image, np.full((96, 128), np.nan))


def png(path: Path, image: np.ndarray) -> bytes:
    Image.fromarray(image).save(path)
    return path.read_bytes()


def test_a_command(tmp_path: Path, input_: Input) -> None:
    data = png(tmp_path / "in.png", input_.image)
    run = methods.build(Spec("command", (("run", "cp {in} {out}"),), "cp"))
    answer = run(Input("disc", data, input_.image))
    assert isinstance(answer, Outside)
    assert answer.pixels == pytest.approx(input_.image[..., 0] / 255, abs=0.01)
    assert answer.seconds is not None and 0 < answer.seconds < 30
    assert answer.megabytes is not None and 0 < answer.megabytes < 500


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sh -c 'echo sorry; exit 3' {in} {out}", "ended with 3: sorry"),
        ("true {in} {out}", "wrote no output"),
        ("no-such-tool {in} {out}", "cannot run no-such-tool"),
        ("sh -c 'echo x > $1' {in} {out}", "is no picture"),
    ],
)
def test_a_command_that_fails(tmp_path: Path, input_: Input, line: str, message: str) -> None:
    data = png(tmp_path / "in.png", input_.image)
    with pytest.raises(MethodError, match=message):
        methods.build(Spec("command", (("run", line),), "x"))(Input("a", data, input_.image))


def test_a_command_must_say_where_its_files_go() -> None:
    with pytest.raises(MethodError, match="names its {in} and its {out}"):
        methods.build(Spec("command", (("run", "cp {in}"),), "x"))


def test_a_folder_of_results(tmp_path: Path, input_: Input) -> None:
    rgba = np.dstack([input_.image, input_.image[..., 0]])
    png(tmp_path / "disc.png", rgba)
    run = methods.build(Spec("folder", (("path", str(tmp_path)),), "x"))
    answer = run(input_)
    assert isinstance(answer, Outside) and (answer.pixels == rgba).all()
    assert answer.seconds is None and answer.megabytes is None
    with pytest.raises(MethodError, match="no result for other"):
        run(Input("other", b"", input_.image))
    with pytest.raises(MethodError, match="not a folder"):
        external._folder({"path": str(tmp_path / "nowhere")})
