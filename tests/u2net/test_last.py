"""De_1 made narrower learns alone what the wide one drew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")
onnx = pytest.importorskip("onnx", reason="training needs the train extra")

import train_u2net  # noqa: E402
from pipeline.errors import SettingsError  # noqa: E402
from u2net import export, weights  # noqa: E402
from u2net.network import DEEP, SLIM, U2Net, narrowed, widened  # noqa: E402
from u2net.settings import Settings  # noqa: E402

LAST = Settings(
    phase="last", widths="slim", folded=True, hinted=0.5, size=64, steps=2, batch=4, warmup=1,
    validate_every=2,
)  # fmt: skip

LEARN = ("decoder.4.", "side.0.")


@pytest.fixture
def wide() -> U2Net:
    torch.manual_seed(0)
    return U2Net(DEEP, norm=False, hints=True).eval()


def test_the_channels_stay_that_count(wide):
    assert narrowed(wide, DEEP).state_dict().keys() == wide.state_dict().keys()
    x, planes = torch.randn(2, 3, 64, 96), torch.rand(2, 2, 64, 96)
    with torch.no_grad():
        for layer in (wide.blocks[-1].cin, wide.blocks[-1].dec[-1]):  # half of them say nothing
            layer.conv.weight[::2] = 0
            layer.conv.bias[::2] = 0
        same, slim = (narrowed(wide, widths).eval() for widths in (DEEP, SLIM))
        for ours, also, theirs in zip(*(n(x, planes) for n in (slim, same, wide)), strict=True):
            assert torch.equal(also, theirs)
            assert torch.allclose(ours, theirs, atol=1e-5)
    assert [slim.get_parameter(f"side.{k}.weight").shape[1] for k in range(2)] == [32, 64]


def test_only_the_last_block_and_its_map_learn(wide, prepared, tmp_path):
    begin = tmp_path / "wide.onnx"
    export.write_fp32(wide, begin, size=64)
    last = train_u2net.train(LAST, prepared, begin, tmp_path / "run", init=begin, quiet=True)
    before, after = narrowed(wide, SLIM).state_dict(), weights.load(last).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(LEARN)} == moved


def test_it_comes_closer_to_the_wide_one(wide, prepared, tmp_path):
    begin = tmp_path / "wide.onnx"
    export.write_fp32(wide, begin, size=64)
    settings = replace(LAST, steps=12, lr=4e-3, ema=0.5, validate_every=12)
    last = train_u2net.train(settings, prepared, begin, tmp_path / "run", init=begin, quiet=True)
    x, planes = torch.randn(2, 3, 64, 64), torch.zeros(2, 2, 64, 64)
    with torch.no_grad():
        wanted = wide(x, planes)[1]
        first, trained = (
            (model.eval()(x, planes)[1] - wanted).abs().mean()
            for model in (narrowed(wide, SLIM), weights.load(last))
        )
    assert trained < first


def test_a_file_says_how_wide_it_is(wide, tmp_path: Path):
    slim = narrowed(wide, SLIM)
    export.write_fp32(slim, tmp_path / "slim.onnx", size=64)
    read = weights.load(tmp_path / "slim.onnx")
    assert read.widths == SLIM and read.hints
    for name, weight in read.state_dict().items():
        assert torch.equal(weight, slim.state_dict()[name])


def test_a_narrow_one_is_made_wide_again_and_answers_alike(wide):
    slim = narrowed(wide, SLIM).eval()
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
        train_u2net.train(LAST, prepared, plain, tmp_path / "run", init=begin, quiet=True)
