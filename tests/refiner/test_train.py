"""Training and export on tiny settings, and one way from folders to a cutout."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
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
from pipeline.foreground import explained
from refiner import export, losses, phases
from refiner import validate as validation
from refiner.dataset import Shards
from refiner.fake_quant import FakeQuantize
from refiner.network import Generator, Shape
from refiner.settings import Settings as Training
from refiner.validate import validate
from refiner.weights import load_generator, model_soup
from tests import networks
from tests.refiner.test_network import trained
from tests.tiles import covered
from training import checkpoint, recipe

TINY = Training(
    shape=Shape(width=8, middle=1, bottom=1), steps=8, batch=4, warmup=2, validate_every=4,
    validate_on=8, precision="32-true",
)  # fmt: skip


def run(shards: Path, out: Path, s: Training = TINY, resume: bool = False) -> dict:
    train_refiner.train(s, shards, out, resume=resume, quiet=True)
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
    onnx.save(export.fp16_weights(export.to_onnx(grown, tmp_path / "full.onnx")), str(file))
    back = load_generator(file)
    assert back.shape == TINY.shape
    for name, value in back.state_dict().items():
        torch.testing.assert_close(value, grown.state_dict()[name], atol=1e-3, rtol=1e-3)
    train_refiner.train(replace(TINY, lr=0.0), shards, tmp_path / "run", init=file, quiet=True)
    state = torch.load(tmp_path / "run/last.pt", map_location="cpu", weights_only=True)
    assert_equal(dict(state["ema"]), dict(back.state_dict()))
    with pytest.raises(SettingsError, match="another shape"):
        other = replace(TINY, shape=Shape(width=16, middle=1, bottom=1))
        train_refiner.train(other, shards, tmp_path / "other", init=file, quiet=True)
    with pytest.raises(ModelInvalid, match="no export of a plain generator"):
        load_generator(networks.stage2(tmp_path / "strange.onnx"))


def test_a_run_adds_attention_and_depth_to_a_generator(shards: Path, tmp_path: Path) -> None:
    plain = trained(replace(TINY.shape, attention=False))
    file = tmp_path / "refiner.onnx"
    onnx.save(export.to_onnx(plain, file), str(file))
    assert not load_generator(file).shape.attention
    larger = replace(TINY, shape=replace(TINY.shape, bottom=3), lr=0.0)
    train_refiner.train(larger, shards, tmp_path / "run", init=file, quiet=True)
    grown = load_generator(tmp_path / "run/last.pt")
    assert grown.shape.attention and len(grown.bottom) == 3
    patches = torch.from_numpy(export.probe())
    torch.testing.assert_close(grown(patches), plain(patches), atol=1e-5, rtol=0)
    with pytest.raises(SettingsError, match="another shape"):  # there is no way back
        smaller = replace(TINY, shape=replace(TINY.shape, bottom=0))
        train_refiner.train(smaller, shards, tmp_path / "other", init=file, quiet=True)


@pytest.mark.parametrize(
    ("phase", "consistency"),
    [("reconstruction", 0.0), ("reconstruction", 1.0), ("adversarial", 0.0), ("adversarial", 1.0)],
)
def test_a_resumed_run_is_the_run_that_was_not_interrupted(
    shards: Path, tmp_path: Path, phase: str, consistency: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = losses.Weights(consistency=consistency)
    s = replace(TINY, phase=phase, steps=6, perceptual=0.0, validate_every=3, weights=weights)
    s = replace(s, discriminator_warmup=2)
    whole = run(shards, tmp_path / "whole", s)

    class Interrupted(Exception):
        pass

    def stop(*args: Any) -> None:
        write(*args)
        raise Interrupted

    write = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", stop)
    with pytest.raises(Interrupted):
        run(shards, tmp_path / "parts", s)
    monkeypatch.setattr(checkpoint, "save", write)
    assert torch.load(tmp_path / "parts/last.pt", weights_only=True)["step"] == s.validate_every
    assert_equal(whole, run(shards, tmp_path / "parts", s, resume=True))
    assert not list((tmp_path / "parts").glob("*.part"))


def test_training_on_a_few_patches_beats_the_coarse_mask(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "valid"):  # the same patches: whether it can learn, not how well
        data = (shards / "train-000.npy").read_bytes()
        (tmp_path / "data" / f"{split}-000.npy").write_bytes(data)
    s = replace(TINY, steps=60, lr=4e-3, ema=0.9, validate_every=60)
    figures = train_refiner.train(s, tmp_path / "data", tmp_path / "run", quiet=True)
    assert figures["psnr"] > figures["coarse psnr"] + 0.3
    assert figures["sad ratio"] < 0.97
    assert list((tmp_path / "run").glob("events.*"))


def test_the_adversarial_phase_uses_the_perceptual_loss(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LPIPS(torch.nn.Module):
        def __init__(self, **settings: Any) -> None:
            super().__init__()

        def forward(self, ours: torch.Tensor, true: torch.Tensor, normalize: bool) -> torch.Tensor:
            return (ours - true).square().mean((1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=LPIPS))
    s = replace(TINY, phase="adversarial", steps=3, discriminator_warmup=0)
    a = run(shards, tmp_path / "with", s)
    b = run(shards, tmp_path / "without", replace(s, perceptual=0.0))
    assert any(not torch.equal(a["model"][k], b["model"][k]) for k in a["model"])
    assert "discriminator" in a
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(SettingsError, match="needs lpips"):
        run(shards, tmp_path / "missing", s)


def test_the_discriminator_is_not_heard_before_it_has_learned(shards: Path, tmp_path: Path) -> None:
    s = replace(TINY, phase="adversarial", steps=3, perceptual=0.0)
    plain = run(shards, tmp_path / "plain", replace(TINY, steps=3))
    silent = run(shards, tmp_path / "silent", replace(s, discriminator_warmup=3))
    heard = run(shards, tmp_path / "heard", replace(s, discriminator_warmup=2))
    assert_equal(plain["model"], silent["model"])
    assert any(not torch.equal(plain["model"][k], heard["model"][k]) for k in plain["model"])
    once = run(shards, tmp_path / "once", replace(s, steps=1))
    assert any(
        not torch.equal(once["discriminator"][k], v) for k, v in silent["discriminator"].items()
    )


def test_the_discriminators_pictures_agree_outside_the_roi(shards: Path) -> None:
    held = Shards(shards, "train")
    batch = held.batch(held.index()[:4])
    refined = trained()(batch.patches)
    fake, real = phases.pictures(refined, batch, np.random.default_rng(0))
    inside = torch.nn.functional.max_pool2d((batch.weight > 0).float(), 3, 1, 1)  # as far as Sobel
    outside = (inside == 0).expand_as(fake)
    assert torch.equal(fake[outside], real[outside])
    assert not torch.equal(fake[:, :3], real[:, :3]), "composites"
    assert torch.equal(fake[:, 3:6], batch.image) and torch.equal(real[:, 3:6], batch.image)
    assert not torch.equal(fake[:, 6:], real[:, 6:]), "gradients of alpha"


def test_resuming_says_what_is_wrong(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Nothing to resume"):
        run(shards, tmp_path, resume=True)
    run(shards, tmp_path, replace(TINY, steps=1))
    with pytest.raises(SettingsError, match=r"other settings \(shape, steps\)"):
        run(shards, tmp_path, replace(TINY, shape=Shape(width=16)), resume=True)
    with pytest.raises(SettingsError, match="no phase 'luck'"):
        run(shards, tmp_path, replace(TINY, phase="luck"))


def test_a_loss_of_consistency_steadies_the_answer(shards: Path, tmp_path: Path) -> None:
    moved = {}
    for consistency, twins in ((0.0, 1.0), (30.0, 1.0), (30.0, 0.5)):
        weights = losses.Weights(consistency=consistency)
        s = replace(
            TINY, steps=40, lr=4e-3, ema=0.8, validate_every=40, weights=weights, twins=twins
        )
        out = tmp_path / f"{consistency}-{twins}"
        moved[consistency, twins] = train_refiner.train(s, shards, out, quiet=True)["unsteady"]
    assert moved[30.0, 1.0] < 0.8 * moved[0.0, 1.0]
    assert moved[30.0, 0.5] < 0.8 * moved[0.0, 1.0]


def test_validation_of_identity_is_coarse(shards: Path) -> None:
    figures, picture = validate(Generator(TINY.shape), Shards(shards, "valid"), 8)
    assert figures["psnr"] == pytest.approx(figures["coarse psnr"])
    assert figures["sad ratio"] == 1 and figures["worse"] == 0
    assert picture.shape == (3, 2 * 128, 5 * 128)


def test_colours_are_measured_as_a_cutout_gets_them(shards: Path) -> None:
    held = Shards(shards, "valid")
    batch = held.batch(held.index()[:4])
    refined = torch.cat([batch.coarse, batch.image.flip(1)], 1)
    used = validation.used_colours(batch, refined)
    for photo, answer, made in zip(batch.image, refined, used, strict=True):
        levels = [
            (255 * part.permute(1, 2, 0)).round().byte().numpy() for part in (photo, answer[1:])
        ]
        expected = explained(levels[0], answer[0].numpy(), levels[1])
        assert np.array_equal((255 * made.permute(1, 2, 0)).round().byte().numpy(), expected)
    assert not torch.allclose(used, refined[:, 1:], atol=0.01)


@pytest.mark.parametrize("smoothing", [2.0, 4.0])
def test_the_global_generators_change_is_used_as_the_pipeline_uses_it(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 128, 128), np.float32)
    refined = torch.from_numpy(np.stack([after, *rng.random((3, 128, 128), np.float32)]))[None]
    changed = validation.smooth_change(refined, torch.from_numpy(before)[None, None], smoothing)
    expected = before + cv2.GaussianBlur(after - before, (0, 0), smoothing)
    np.testing.assert_allclose(changed[0, 0].numpy(), expected.clip(0, 1), atol=2e-3)
    assert torch.equal(changed[:, 1:], refined[:, 1:])
    assert validation.smooth_change(refined, refined[:, :1], 0.0) is refined


def test_the_colours_stand_beside_multi_level_estimation(shards: Path) -> None:
    ours, theirs = validation.colours_beside_multilevel(
        Generator(TINY.shape).eval(), Shards(shards, "valid"), 3
    )
    assert 0 < theirs < ours < 255  # a generator that changes nothing leaves the background in


def saved(path: Path, generator: Generator) -> Path:
    """Write a checkpoint that holds a generator."""
    parts = {"ema": generator}
    checkpoint.save(path, 1, replace(TINY, shape=generator.shape), parts)
    return path


@pytest.fixture
def trained_file(tmp_path: Path) -> Path:
    return saved(tmp_path / "last.pt", trained(TINY.shape))


@pytest.mark.parametrize("half", [False, True])
def test_fp16_differs_from_fp32_by_two_grey_levels_at_most(
    trained_file: Path, tmp_path: Path, half: bool
) -> None:
    path = tmp_path / "refiner.onnx"
    worst = export.export([trained_file], path, half=half)
    patches = np.random.default_rng(1).random((3, 4, 128, 128), np.float32)
    assert worst <= 2 / 255
    session = onnxruntime.InferenceSession(path)
    assert export.difference(session, load_generator(trained_file), patches).max() <= 2 / 255
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
        g.state_dict() for g in (*map(load_generator, files[:2]), model_soup(files[:2]))
    )
    assert not torch.equal(first["stem.0.weight"], second["stem.0.weight"])
    for name, value in both.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    with pytest.raises(ModelInvalid, match="different shapes"):
        model_soup(files)


@pytest.mark.parametrize("half", [False, True])
def test_one_file_holds_two_generators(tmp_path: Path, half: bool) -> None:
    shapes = replace(TINY.shape, guided_filter=True), replace(TINY.shape, bottom=2)
    nets = [trained(shape) for shape in shapes]
    torch.nn.init.normal_(nets[1].head.weight, std=0.1)
    files = [saved(tmp_path / f"{k}.pt", net) for k, net in enumerate(nets)]
    both = tmp_path / "refiner.onnx"
    assert export.export(files[:1], both, files[1:], half) <= 2 / 255
    opened = models.open_refiner(models.refiner_model(str(both)), ("CPUExecutionProvider",), 1)
    patches = export.probe()
    answers = [
        generator.run(session, patches)
        for session in (opened.local_generator, opened.global_generator)
    ]
    assert np.abs(answers[0] - answers[1]).max() > 0.1
    for answer, net, is_global in zip(answers, nets, (False, True), strict=True):
        with torch.no_grad():
            assert np.abs(answer - net(torch.from_numpy(patches)).numpy()).max() <= 2 / 255
        if not half:
            back = load_generator(both, is_global)
            assert back.shape == net.shape
            for name, value in back.state_dict().items():
                torch.testing.assert_close(value, net.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_an_int8_export_computes_in_int8(tmp_path: Path, shards: Path) -> None:
    shape = replace(TINY.shape, guided_filter=True)
    net = trained(shape)
    files, path = [saved(tmp_path / "last.pt", net)], tmp_path / "refiner.onnx"
    fp32 = export.export(files, path, files)
    size = path.stat().st_size
    assert 0 < export.export(files, path, files, int8=[shards]) <= 2 / 255
    assert fp32 <= 2 / 255 and path.stat().st_size != size
    opened = models.open_refiner(models.refiner_model(str(path)), ("CPUExecutionProvider",), 1)
    probe = export.probe()
    for session in (opened.local_generator, opened.global_generator):
        assert export.difference(session, net, probe).mean() <= 2 / 255
    local = onnx.load(path).graph.node[0].attribute[0].g
    bytes_ = [w for w in local.initializer if w.data_type == onnx.TensorProto.INT8 and w.dims]
    assert sum(len(w.dims) == 4 for w in bytes_) == 2 + 2 * (2 * shape.middle + shape.bottom)
    # Processors without VNNI add pairs of products in 16 bits.
    assert max(np.abs(onnx.numpy_helper.to_array(w)).max() for w in bytes_) <= 63
    with pytest.raises(ModelInvalid, match="no export of a plain generator"):
        load_generator(path)


def test_ranges_cut_off_outliers() -> None:
    quantise = FakeQuantize().train()
    for most in [2.0] * 50 + [30.0] + [2.0] * 50:
        quantise(torch.tensor([-1.0, most]))
    assert -1.001 < quantise.low < -0.999 and 2 < quantise.high < 3
    values = torch.linspace(-1, 2, 1000)
    rounded = quantise.eval()(values)
    assert len(rounded.unique()) < 256 and (rounded - values).abs().max() < 0.007
    assert quantise(torch.tensor([9.0])) < 3


def test_an_exported_identity_is_bit_for_bit(tmp_path: Path) -> None:
    file = saved(tmp_path / "last.pt", Generator(TINY.shape))
    export.export([file], tmp_path / "refiner.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "refiner.onnx")
    for count in (1, 3):
        patches = np.random.default_rng(count).random((count, 4, 128, 128), np.float32)
        refined = generator.run(session, patches)
        np.testing.assert_array_equal(refined[:, 0], patches[:, 3])
        np.testing.assert_array_equal(refined[:, 1:], patches[:, :3])


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ModelInvalid, match="no checkpoint"):
        load_generator(tmp_path / "other.pt")


def test_an_inexact_export_is_refused(trained_file: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ModelInvalid, match="not exported"):
        export.export([trained_file], tmp_path / "refiner.onnx")
    assert not (tmp_path / "refiner.onnx").exists()


def test_a_recipe_from_pictures_to_a_cutout(folders: Path, tmp_path: Path) -> None:
    """The commands as a user runs them, then the pipeline with what came out."""
    options = ["--recipe", "tiny", "--data", str(folders), "--out", str(tmp_path), "--quiet"]
    done = CliRunner().invoke(train_refiner.main, [*options, "--set", "weights.gradient=0"])
    assert done.exit_code == 0, (done.output, done.exception)
    again = CliRunner().invoke(train_refiner.main, options)
    assert again.exit_code == 1 and "--resume" in again.output
    path = tmp_path / "refiner.onnx"
    exported = CliRunner().invoke(export.main, [str(tmp_path / "local/last.pt"), str(path)] + [
        "--global", str(tmp_path / "global/last.pt")])  # fmt: skip
    assert exported.exit_code == 0 and "of 255 of FP32" in exported.output
    assert (tmp_path / "refiner_int8.onnx").is_file()
    for smoothing, figure in (("0", "multi-level estimation"), ("2", "sad ratio")):
        options = ["--data", str(tmp_path / "data/global"), "--smoothing", smoothing]
        measured = CliRunner().invoke(validation.main, [str(path), *options])
        assert measured.exit_code == 0 and figure in measured.output
    y, x = np.mgrid[:180, :240]
    disc = np.clip((60 - np.hypot(y - 90, x - 120)) / 3, 0, 1)
    photo = Image.fromarray(np.repeat((disc * 255).astype(np.uint8)[..., None], 3, 2))
    stage1 = networks.stage1(tmp_path / "stage1.onnx", gain=4, offset=-8)
    result = Cutout(Settings(model=str(stage1), refiner=str(path)))(photo)
    assert len(result.tiles) and result.roi.any()
    assert (result.alpha != result.coarse)[result.roi].any()
    beyond = ~covered(result.tiles, *result.alpha.shape)
    np.testing.assert_array_equal(result.alpha[beyond], result.coarse[beyond])


def test_the_further_recipe_goes_on_from_the_bundled_weights() -> None:
    first, second = recipe.load("refiner", "further", Training()).phases.values()
    for s in (first, second):
        assert s.shape == load_generator(models.REFINERS["wisp-fp32"].path).shape
        assert s.weights.worse and s.weights.thin and s.data.clutter
    assert (first.init, second.init) == ("", "local") and first.data == second.data


@pytest.mark.parametrize("name", ["bundled", "permissive"])
def test_a_whole_recipe_trains_what_ships(name: str) -> None:
    phases = recipe.load("refiner", name, Training()).phases
    assert [s.smoothing > 0 for s in phases.values()] == [True, False]
    assert phases["local"].data.corrector == "global"
    shipped = models.REFINERS[{"bundled": "wisp", "permissive": "wisp-permissive"}[name]]
    file = models.REFINERS[shipped.fp32_variant].path
    for s in phases.values():
        shape = load_generator(file, is_global=s.smoothing > 0).shape
        assert replace(shape, hidden=()) == s.shape  # before it is pruned
        assert all(a <= b for a, b in zip(shape.inside, s.shape.inside, strict=True))


def test_the_permissive_recipe_learns_from_no_other_weights() -> None:
    for s in recipe.load("refiner", "permissive", Training()).phases.values():
        assert not s.init and s.data.stage1 == ("u2netp",) and s.data.corrector in ("", "global")


def test_the_adversarial_recipe_has_two_phases_that_differ_by_the_discriminator_alone() -> None:
    phases = recipe.load("refiner", "gan", Training()).phases
    assert phases["with"].phase == "adversarial" and phases["with"].discriminator_warmup < 400
    assert replace(phases["with"], phase="reconstruction", perceptual=0.0) == replace(
        phases["without"], perceptual=0.0
    )


def test_the_bundled_weights_come_back_and_are_exported_alike(tmp_path: Path) -> None:
    """From the shipped file to two generators and to a file again: the same answers."""
    shipped, again = models.REFINERS["wisp-fp32"].path, tmp_path / "again.onnx"
    export.export([shipped], again, [shipped])
    before, after = (
        models.open_refiner(models.refiner_model(str(path)), ("CPUExecutionProvider",), 1)
        for path in (shipped, again)
    )
    patches = export.probe()[:2]
    for ours, theirs in (
        (before.local_generator, after.local_generator),
        (before.global_generator, after.global_generator),
    ):
        one, two = (generator.run(session, patches) for session in (ours, theirs))
        np.testing.assert_allclose(one, two, atol=1e-4)
