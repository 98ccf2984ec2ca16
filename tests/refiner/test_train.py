"""Training and export on tiny settings, and one way from folders to a cutout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import train_refiner
from pipeline import Cutout, Settings, generator, models
from pipeline.errors import ModelInvalid, SettingsError
from refiner import export
from refiner import validate as validation
from refiner.dataset import Shards
from refiner.eight import Rounded
from refiner.network import Generator, Shape
from refiner.validate import validate
from tests import networks
from tests.refiner.test_network import squeezenet, trained
from tests.tiles import covered

TINY = train_refiner.PRESETS["tiny"]


def run(shards: Path, out: Path, s: train_refiner.Settings = TINY, resume: bool = False) -> dict:
    train_refiner.train(shards, out, s, resume=resume, quiet=True)
    return torch.load(out / "last.pt", weights_only=True)


def assert_equal(one: Any, two: Any) -> None:
    """Every number of two checkpoints is the same."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert_equal(value, two[key])
    elif isinstance(one, list | tuple):
        for pair in zip(one, two, strict=True):
            assert_equal(*pair)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    else:
        assert one == two


def test_a_run_goes_on_from_an_exported_file(shards: Path, tmp_path: Path) -> None:
    grown = trained(TINY.shape)
    file = tmp_path / "refiner.onnx"
    onnx.save(export.halve_weights(export.to_onnx(grown, tmp_path / "full.onnx")), str(file))
    back = export.restore(file)
    assert back.shape == TINY.shape
    for name, value in back.state_dict().items():
        torch.testing.assert_close(value, grown.state_dict()[name], atol=1e-3, rtol=1e-3)
    train_refiner.train(shards, tmp_path / "run", replace(TINY, rate=0.0), init=file, quiet=True)
    state = torch.load(tmp_path / "run/last.pt", map_location="cpu", weights_only=True)
    assert_equal(dict(state["average"]), dict(back.state_dict()))
    with pytest.raises(SettingsError, match="another shape"):
        other = replace(TINY, shape=Shape(width=16, middle=1, bottom=1))
        train_refiner.train(shards, tmp_path / "other", other, init=file, quiet=True)
    with pytest.raises(ModelInvalid, match="no export of a plain generator"):
        export.restore(networks.stage2(tmp_path / "strange.onnx"))


def test_a_run_adds_attention_and_depth_to_a_generator(shards: Path, tmp_path: Path) -> None:
    plain = trained(replace(TINY.shape, attention=False))
    file = tmp_path / "refiner.onnx"
    onnx.save(export.to_onnx(plain, file), str(file))
    assert not export.restore(file).shape.attention
    larger = replace(TINY, shape=replace(TINY.shape, bottom=3), rate=0.0)
    train_refiner.train(shards, tmp_path / "run", larger, init=file, quiet=True)
    grown = export.restore(tmp_path / "run/last.pt")
    assert grown.shape.attention and len(grown.bottom) == 3
    patches = torch.from_numpy(export.probe())
    torch.testing.assert_close(grown(patches), plain(patches), atol=1e-5, rtol=0)
    with pytest.raises(SettingsError, match="another shape"):  # there is no way back
        smaller = replace(TINY, shape=replace(TINY.shape, bottom=0))
        train_refiner.train(shards, tmp_path / "other", smaller, init=file, quiet=True)


@pytest.mark.parametrize("gan_steps", [0, 2])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(
    shards: Path, tmp_path: Path, gan_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = replace(TINY, steps=6 - gan_steps, gan_steps=gan_steps, perceptual=0.0, validate_every=3)
    if gan_steps:
        s = replace(s, validate_every=5)  # interrupted within the adversarial phase
    whole = run(shards, tmp_path / "whole", s)

    class Interrupted(Exception):
        pass

    def stop(*args: Any) -> None:
        write(*args)
        raise Interrupted

    write = train_refiner.save
    monkeypatch.setattr(train_refiner, "save", stop)
    with pytest.raises(Interrupted):
        run(shards, tmp_path / "parts", s)
    monkeypatch.setattr(train_refiner, "save", write)
    assert torch.load(tmp_path / "parts/last.pt", weights_only=True)["step"] == s.validate_every
    assert_equal(whole, run(shards, tmp_path / "parts", s, resume=True))
    assert not list((tmp_path / "parts").glob("*.part"))


def test_training_on_a_few_patches_beats_the_coarse_mask(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "valid"):  # the same patches: whether it can learn, not how well
        data = (shards / "train-000.npy").read_bytes()
        (tmp_path / "data" / f"{split}-000.npy").write_bytes(data)
    s = replace(TINY, steps=60, rate=4e-3, ema=0.9, validate_every=60)
    figures = train_refiner.train(tmp_path / "data", tmp_path / "run", s, quiet=True)
    assert figures["psnr"] > figures["coarse psnr"] + 0.3
    assert figures["sad ratio"] < 0.97
    assert list((tmp_path / "run").glob("events.*"))


def test_the_adversarial_phase_uses_the_perceptual_distance(shards: Path, tmp_path: Path) -> None:
    s = replace(TINY, steps=1, gan_steps=1)
    weights = squeezenet(tmp_path / "squeezenet.pth")
    train_refiner.train(shards, tmp_path / "with", s, perceptual_weights=weights, quiet=True)
    train_refiner.train(shards, tmp_path / "none", replace(s, perceptual=0.0), quiet=True)
    a, b = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("with", "none"))
    assert any(not torch.equal(a["generator"][k], b["generator"][k]) for k in a["generator"])


def test_the_discriminators_pictures_agree_outside_the_roi(shards: Path) -> None:
    held = Shards(shards, "train")
    batch = held.batch(held.index()[:4])
    refined = trained()(batch.patches)
    fake, real = train_refiner.pictures(refined, batch, np.random.default_rng(0))
    outside = (batch.weight == 0).expand_as(fake)
    assert torch.equal(fake[outside], real[outside]) and not torch.equal(fake, real)


def test_the_rate_rises_falls_and_changes_with_the_phase() -> None:
    s = replace(TINY, steps=100, gan_steps=10, warmup=10)
    rates = [train_refiner.rate_at(step, s) for step in range(110)]
    assert rates[0] == pytest.approx(s.rate / 10) and max(rates) == rates[9] == s.rate
    assert rates[10:100] == sorted(rates[10:100], reverse=True)
    assert rates[99] == pytest.approx(0.02 * s.rate, rel=0.1)
    assert rates[100] == s.gan_rate and 0 < rates[109] < rates[100]


def test_resuming_says_what_is_wrong(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing to resume"):
        run(shards, tmp_path, resume=True)
    run(shards, tmp_path, replace(TINY, steps=1))
    with pytest.raises(SettingsError, match="another shape"):
        run(shards, tmp_path, replace(TINY, shape=Shape(width=16)), resume=True)


def test_validation_of_identity_is_coarse(shards: Path) -> None:
    figures, picture = validate(Generator(TINY.shape), Shards(shards, "valid"), 8)
    assert figures["psnr"] == pytest.approx(figures["coarse psnr"])
    assert figures["sad ratio"] == figures["colour ratio"] == 1 and figures["worse"] == 0
    assert picture.shape == (3, 2 * 128, 5 * 128)


@pytest.mark.parametrize("spread", [2.0, 4.0])
def test_what_use_is_made_of_a_look_is_what_the_pipeline_makes(spread: float) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 128, 128), np.float32)
    refined = torch.from_numpy(np.stack([after, *rng.random((3, 128, 128), np.float32)]))[None]
    mended = validation.mended(refined, torch.from_numpy(before)[None, None], spread)
    expected = before + cv2.GaussianBlur(after - before, (0, 0), spread)
    np.testing.assert_allclose(mended[0, 0].numpy(), expected.clip(0, 1), atol=2e-3)
    assert torch.equal(mended[:, 1:], refined[:, 1:])
    assert validation.mended(refined, refined[:, :1], 0.0) is refined


def test_the_colours_stand_beside_multi_level_estimation(shards: Path) -> None:
    ours, theirs = validation.colours_beside_multilevel(
        Generator(TINY.shape).eval(), Shards(shards, "valid"), 3
    )
    assert 0 < theirs < ours < 255  # a generator that changes nothing leaves the background in


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    s = replace(TINY, shape=Shape(8, 1, 1, "batch", gates=True, aspp=True))
    model = trained(s.shape)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_var is not None:
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    train_refiner.save(tmp_path / "last.pt", {"average": model}, s, 1)
    return tmp_path / "last.pt"


@pytest.mark.parametrize("half", [False, True])
def test_fp16_differs_from_fp32_by_two_grey_levels_at_most(
    checkpoint: Path, tmp_path: Path, half: bool
) -> None:
    path = tmp_path / "refiner.onnx"
    worst = export.export(checkpoint, path, half)
    patches = np.random.default_rng(1).random((3, 4, 128, 128), np.float32)
    assert worst <= 2 / 255
    session = onnxruntime.InferenceSession(path)
    assert export.difference(session, export.restore(checkpoint), patches).max() <= 2 / 255
    graph = onnx.load(path).graph
    big = [w for w in graph.initializer if np.prod(w.dims) > 16 and w.data_type != 7]
    assert big and all(w.data_type == onnx.TensorProto.FLOAT16 for w in big)
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)
    assert not list(tmp_path.glob("*.part"))


def test_the_mean_of_two_lies_between_them(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.onnx" for name in "abc"]
    for number, (file, width) in enumerate(zip(files, (8, 8, 16), strict=True)):
        net = trained(Shape(width=width, bottom=1))
        torch.nn.init.normal_(next(net.stem.parameters()), std=0.1 * (1 + number))
        onnx.save(export.to_onnx(net, file), str(file))
    first, second, both = (
        g.state_dict() for g in (*map(export.restore, files[:2]), export.mean(files[:2]))
    )
    assert not torch.equal(first["stem.0.weight"], second["stem.0.weight"])
    for name, value in both.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    with pytest.raises(ModelInvalid, match="different shapes"):
        export.mean(files)


@pytest.mark.parametrize("half", [False, True])
def test_one_file_holds_two_generators(tmp_path: Path, half: bool) -> None:
    shapes = replace(TINY.shape, lines=True), replace(TINY.shape, bottom=2)
    nets = [trained(shape) for shape in shapes]
    torch.nn.init.normal_(nets[1].head.weight, std=0.1)
    files = [tmp_path / "near.pt", tmp_path / "afar.pt"]
    for file, net, shape in zip(files, nets, shapes, strict=True):
        train_refiner.save(file, {"average": net}, replace(TINY, shape=shape), 1)
    both = tmp_path / "refiner.onnx"
    assert export.export(files[0], both, half, afar=files[1:]) <= 2 / 255
    opened = models.open_refiner(models.refiner_model(str(both)), ("CPUExecutionProvider",), 1)
    patches = export.probe()
    answers = [
        generator.run(session, patches)
        for session in (opened.local_generator, opened.global_generator)
    ]
    assert np.abs(answers[0] - answers[1]).max() > 0.1
    for answer, net, afar in zip(answers, nets, (False, True), strict=True):
        with torch.no_grad():
            assert np.abs(answer - net(torch.from_numpy(patches)).numpy()).max() <= 2 / 255
        if not half:
            back = export.restore(both, afar)
            assert back.shape == net.shape
            for name, value in back.state_dict().items():
                torch.testing.assert_close(value, net.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_an_export_in_8_bits_computes_in_them(tmp_path: Path, shards: Path) -> None:
    shape = replace(TINY.shape, lines=True)
    net = trained(shape)
    file, path = tmp_path / "last.pt", tmp_path / "refiner.onnx"
    train_refiner.save(file, {"average": net}, replace(TINY, shape=shape), 1)
    exact = export.export(file, path, afar=[file])
    size = path.stat().st_size
    assert 0 < export.export(file, path, afar=[file], eight=shards) <= 2 / 255
    assert exact <= 2 / 255 and path.stat().st_size != size
    opened = models.open_refiner(models.refiner_model(str(path)), ("CPUExecutionProvider",), 1)
    probe = export.probe()
    for session in (opened.local_generator, opened.global_generator):
        assert export.difference(session, net, probe).mean() <= 2 / 255
    near = onnx.load(path).graph.node[0].attribute[0].g
    bytes_ = [w for w in near.initializer if w.data_type == onnx.TensorProto.INT8 and w.dims]
    assert sum(len(w.dims) == 4 for w in bytes_) == 2 + 2 * (2 * shape.middle + shape.bottom)
    # Processors without VNNI add pairs of products in 16 bits.
    assert max(np.abs(onnx.numpy_helper.to_array(w)).max() for w in bytes_) <= 63
    with pytest.raises(ModelInvalid, match="no export of a plain generator"):
        export.restore(path)


def test_ranges_cut_off_outliers() -> None:
    rounding = Rounded().train()
    for most in [2.0] * 50 + [30.0] + [2.0] * 50:
        rounding(torch.tensor([-1.0, most]))
    assert -1.001 < rounding.low < -0.999 and 2 < rounding.high < 3
    values = torch.linspace(-1, 2, 1000)
    rounded = rounding.eval()(values)
    assert len(rounded.unique()) < 256 and (rounded - values).abs().max() < 0.007
    assert rounding(torch.tensor([9.0])) < 3


def test_an_exported_identity_is_bit_for_bit(tmp_path: Path) -> None:
    train_refiner.save(tmp_path / "last.pt", {"average": Generator(TINY.shape)}, TINY, 0)
    export.export(tmp_path / "last.pt", tmp_path / "refiner.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "refiner.onnx")
    for count in (1, 3):
        patches = np.random.default_rng(count).random((count, 4, 128, 128), np.float32)
        refined = generator.run(session, patches)
        np.testing.assert_array_equal(refined[:, 0], patches[:, 3])
        np.testing.assert_array_equal(refined[:, 1:], patches[:, :3])


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ModelInvalid, match="no checkpoint"):
        export.restore(tmp_path / "other.pt")


def test_an_inexact_export_is_refused(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ModelInvalid, match="not exported"):
        export.export(checkpoint, tmp_path / "refiner.onnx")
    assert not (tmp_path / "refiner.onnx").exists()


def test_from_shards_to_a_cutout(shards: Path, tmp_path: Path) -> None:
    """The commands as a user runs them, then the pipeline with what came out."""
    near, afar, path = tmp_path / "near", tmp_path / "afar", tmp_path / "refiner.onnx"
    for out, kind in ((near, ["--lines"]), (afar, ["--spread", "2"])):
        options = ["--preset", "tiny", "--steps", "4", "--weigh", "gradient", "0", "--quiet"]
        trained = CliRunner().invoke(
            train_refiner.main, ["--data", str(shards), "--out", str(out), *options, *kind]
        )
        assert trained.exit_code == 0, (trained.output, trained.exception)
    files = [str(out / "last.pt") for out in (near, afar)]
    exported = CliRunner().invoke(export.main, [files[0], str(path), "--afar", files[1]])
    assert exported.exit_code == 0 and "of 255 of FP32" in exported.output
    for spread, told in (("0", "multi-level estimation"), ("2", "sad ratio")):
        options = ["--data", str(shards), "--spread", spread]
        measured = CliRunner().invoke(validation.main, [str(path), *options])
        assert measured.exit_code == 0 and told in measured.output
    y, x = np.mgrid[:180, :240]
    disc = np.clip((60 - np.hypot(y - 90, x - 120)) / 3, 0, 1)
    photo = Image.fromarray(np.repeat((disc * 255).astype(np.uint8)[..., None], 3, 2))
    stage1 = networks.stage1(tmp_path / "stage1.onnx", gain=4, offset=-8)
    result = Cutout(Settings(model=str(stage1), refiner=str(path)))(photo)
    assert len(result.tiles) and result.roi.any()
    assert (result.alpha != result.coarse)[result.roi].any()
    beyond = ~covered(result.tiles, *result.alpha.shape)
    np.testing.assert_array_equal(result.alpha[beyond], result.coarse[beyond])


def test_an_unknown_loss_term_is_refused(shards: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        train_refiner.main,
        ["--data", str(shards), "--out", str(tmp_path), "--weigh", "luck", "1"],
    )
    assert result.exit_code == 2 and "luck" in result.output
