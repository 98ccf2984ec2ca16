"""Blocks that were narrowed learn what the wide ones drew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")
onnx = pytest.importorskip("onnx", reason="training needs the train extra")

import train_u2net  # noqa: E402
from pipeline.errors import SettingsError  # noqa: E402
from u2net import dataset, export, weights  # noqa: E402
from u2net.dataset import Prepared  # noqa: E402
from u2net.network import DEEP, SLIM, U2Net, Widths, normalise  # noqa: E402
from u2net.relearn import Relearn  # noqa: E402
from u2net.settings import Settings  # noqa: E402
from u2net.widths import narrowed, widened  # noqa: E402

RELEARN = Settings(
    phase="relearn", widths="slim", folded=True, hinted=0.5, size=64, steps=2, batch=4, warmup=1,
    validate_every=2,
)  # fmt: skip

#: De_1 is narrower, and d1 reads it.
LEARN = ("decoder.4.", "side.0.")
#: Narrower in En_1 too, behind which hints are read, and in De_2, which De_1 reads enlarged.
NARROW = Widths(((16, 48), *DEEP.encoder[1:]), (*DEEP.decoder[:-2], (16, 32), (16, 32)))


@pytest.fixture
def wide() -> U2Net:
    torch.manual_seed(0)
    return U2Net(DEEP, norm=False, hints=True).eval()


@pytest.fixture
def photos() -> Any:
    return torch.randn(4, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def doubled(model: U2Net) -> None:
    """Let each second channel that En_1, De_2 and De_1 hand on be twice the one before it."""
    for k in (0, 9, 10):
        for layer in (model.blocks[k].layers[0], model.blocks[k].layers[-1]):
            for values in layer.conv.parameters():
                values[1::2] = 2 * values[::2]


@torch.no_grad()
def test_what_can_be_told_from_the_rest_is_not_missed(wide, photos):
    doubled(wide)
    slim, x, planes = narrowed(wide, NARROW, photos), photos[:2], torch.rand(2, 2, 64, 96)
    for ours, theirs in zip(slim(x, planes)[:3], wide(x, planes)[:3], strict=True):
        assert (ours - theirs).abs().mean() < 0.02 * theirs.std()
    assert [slim.get_parameter(f"side.{k}.weight").shape[1] for k in range(3)] == [32, 32, 64]
    assert slim.get_parameter("encoder.1.cin.conv.weight").shape[1] == 48 + 2


@torch.no_grad()
def test_foretelling_is_better_than_leaving_out(wide, photos):
    slim = narrowed(wide, NARROW, photos)
    cut = U2Net(NARROW, norm=False, hints=True)
    state = {
        name: weight[tuple(slice(n) for n in cut.state_dict()[name].shape)]
        for name, weight in wide.state_dict().items()
    }
    cut.load_state_dict(state)
    wanted = wide(photos)[1]
    ours, theirs = ((model(photos)[1] - wanted).abs().mean() for model in (slim, cut))
    assert ours < theirs / 2


def test_as_wide_as_before_is_the_same(wide, photos):
    same = narrowed(wide, DEEP, photos).state_dict()
    assert all(torch.equal(weight, same[name]) for name, weight in wide.state_dict().items())


@torch.no_grad()
def test_a_last_block_that_begins_early_answers_alike(wide, photos):
    """What is enlarged after a convolution, not before it, is the same where it is smooth."""
    x, planes = photos[:2], torch.rand(2, 2, 64, 96)
    late, early = (
        narrowed(wide, replace(SLIM, early=early), photos).eval() for early in (False, True)
    )
    below, skip = early.block_input(10, x, early.features(x, planes)[:10])
    assert below.shape[2:] == (32, 48) and skip.shape[2:] == (64, 96)
    wanted = late.blocks[-1].cin(late.block_input(10, x, late.features(x, planes)[:10]))
    began = early.blocks[-1].cin((below, skip))
    assert (began - wanted).abs().mean() < 0.2 * wanted.std()
    flat = torch.ones_like(below)  # but for what lies beyond the border
    inner = (..., slice(4, -4), slice(4, -4))
    enlarged = torch.cat((torch.ones(2, 64, 64, 96), skip), 1)
    both = early.blocks[-1].cin((flat, skip)), late.blocks[-1].cin(enlarged)
    torch.testing.assert_close(both[0][inner], both[1][inner], rtol=1e-4, atol=1e-4)
    with pytest.raises(SettingsError, match="narrow the one before it"):
        narrowed(early, replace(SLIM, early=True), photos)
    with pytest.raises(SettingsError, match="has the channels that it has"):
        widened(early, DEEP)
    assert widened(early, SLIM) is early


def test_only_what_is_narrower_or_reads_it_learns(wide, photos, prepared, tmp_path):
    teacher, begin = tmp_path / "wide.onnx", tmp_path / "slim.onnx"
    slim = narrowed(wide, SLIM, photos)
    for model, path in ((wide, teacher), (slim, begin)):
        export.write_fp32(model, path, size=64)
    last = train_u2net.train(RELEARN, prepared, teacher, tmp_path / "run", init=begin, quiet=True)
    before, after = slim.state_dict(), weights.load(last).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(LEARN)}


def test_it_comes_closer_to_the_wide_one(wide, photos, prepared, tmp_path):
    begin = tmp_path / "wide.onnx"
    export.write_fp32(wide, begin, size=64)
    settings = replace(RELEARN, steps=12, lr=2e-3, ema=0.5, validate_every=12)
    last = train_u2net.train(settings, prepared, begin, tmp_path / "run", init=begin, quiet=True)
    pictures = Prepared(prepared, "train")
    alike = np.full(len(pictures), 1 / len(pictures))
    x = normalise(torch.from_numpy(dataset.draw(pictures, alike, 0, 0, 8, 64, 0.0)[0]))
    with torch.no_grad():
        wanted = wide(x)[1].sigmoid()
        first, trained = (
            (model.eval()(x)[1].sigmoid() - wanted).abs().mean()
            for model in (narrowed(wide, SLIM, photos), weights.load(last))
        )
    assert trained < first


def test_a_file_says_how_wide_it_is(wide, photos, tmp_path: Path):
    slim = narrowed(wide, NARROW, photos)
    export.write_fp32(slim, tmp_path / "slim.onnx", size=64)
    read = weights.load(tmp_path / "slim.onnx")
    assert read.widths == NARROW and read.hints
    for name, weight in read.state_dict().items():
        assert torch.equal(weight, slim.state_dict()[name])


def test_a_narrow_one_is_made_wide_again_and_answers_alike(wide, photos):
    slim = narrowed(wide, NARROW, photos)
    again = widened(slim, DEEP).eval()
    x, planes = torch.randn(1, 3, 64, 96), torch.rand(1, 2, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(again(x, planes), slim(x, planes), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_teacher_without_hints_is_refused(wide, prepared, tmp_path):
    begin, plain = tmp_path / "wide.onnx", tmp_path / "plain.onnx"
    export.write_fp32(wide, begin, size=64)
    export.write_fp32(U2Net(norm=False).eval(), plain, size=64)
    with pytest.raises(SettingsError, match="takes no hints"):
        train_u2net.train(RELEARN, prepared, plain, tmp_path / "run", init=begin, quiet=True)


def test_what_is_handed_on_to_blocks_that_stay_is_taught(wide, photos):
    """Of the blocks that read what is narrower, those with all of their channels."""
    slim = narrowed(wide, NARROW, photos)
    phase = Relearn(slim, wide, None, None, RELEARN)
    learn = {name for name, weight in slim.named_parameters() if weight.requires_grad}
    parts = ("encoder.0.", "encoder.1.", "decoder.3.", "decoder.4.", "side.0.", "side.1.")
    assert learn == {name for name in slim.state_dict() if name.startswith(parts)}
    assert phase.alike == [1]
    x, planes = photos[..., :64], torch.zeros(4, 2, 64, 64)
    log = phase.part(slim, x, x, x, planes, torch.zeros(4))
    phase.close()
    assert log["handed_on"] > 0
    assert all((weight.grad is not None) == weight.requires_grad for weight in slim.parameters())
