"""The guided phase learns from targets on disk and from hints; its network can be told them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs the train extra")
onnx = pytest.importorskip("onnx", reason="training needs the train extra")

import train_u2net  # noqa: E402
from u2net import cases, export, samples, weights  # noqa: E402
from u2net.dataset import Prepared  # noqa: E402
from u2net.evaluate import open_network  # noqa: E402
from u2net.network import DEEP, SMALL, TINY, U2Net, with_hints  # noqa: E402
from u2net.prepare import find_held, held, read_pieces, tenth  # noqa: E402
from u2net.samples import Pool  # noqa: E402
from u2net.settings import Data, Settings  # noqa: E402
from u2net.widths import mean, widened  # noqa: E402

GUIDED = Settings(
    phase="guided", folded=True, hinted=0.7, size=64, steps=2, batch=4, warmup=1, validate_every=2
)


@pytest.fixture(scope="module")
def pool(prepared: Path) -> Pool:
    return Pool(prepared, "train", Data(sampling={"scene:hair": 0.0}, trust={"people": 0.5}))


def test_samples_are_a_function_of_seed_step_and_place(pool):
    first, second = (pool.draw(3, 7, GUIDED) for _ in range(2))
    assert all(np.array_equal(a.photo, b.photo) for a, b in zip(first, second, strict=True))
    assert all(np.array_equal(a.hints, b.hints) for a, b in zip(first, second, strict=True))
    other = pool.draw(3, 8, GUIDED)
    assert not np.array_equal(first[0].photo, other[0].photo)


def test_samples_have_what_their_source_says(pool):
    s = replace(GUIDED, batch=60)
    drawn = pool.draw(0, 0, s)
    for sample in drawn:
        assert sample.photo.shape == (64, 64, 3) and sample.hints.shape == (2, 64, 64)
        assert 0 <= float(sample.target.min()) <= float(sample.target.max()) <= 1
    assert {float(sample.weight.max()) for sample in drawn} == {0.5, 1.0}
    hinted = sum(bool(sample.hints.any()) for sample in drawn)
    assert 10 < hinted < 55
    assert not any(sample.hints.any() for sample in pool.draw(0, 0, replace(s, hinted=0.0)))
    # Photos without truth, which no teacher has looked at, are not drawn.
    assert "photos" not in pool.sources
    assert pool.probs[pool.sources.index("scene:hair")] == 0


def test_the_share_that_is_corrected_is_one_of_the_hinted(pool):
    drawn = {
        share: pool.draw(0, 0, replace(GUIDED, batch=60, corrected=share)) for share in (0.0, 1.0)
    }
    assert not any(sample.corrections for sample in drawn[0.0])
    for sample in drawn[1.0]:
        assert 1 <= sample.corrections <= 3 if sample.hints.any() else not sample.corrections


def test_crops_keep_photo_and_target_together():
    y, x = np.mgrid[:96, :96]
    inside = ((y - 40) ** 2 + (x - 50) ** 2 < 300).astype(np.uint8) * 255
    layers = np.dstack([inside] * 5)
    for seed in range(20):
        cropped = samples.cropped(np.random.default_rng(seed), layers, 64, 1.0)
        assert cropped.shape == (64, 64, 5)
        assert (
            np.abs(np.diff(cropped.astype(int), axis=2)).max() <= 8
        )  # rounding; apart it would be 255


def test_hints_begin_without_an_effect():
    model = U2Net(SMALL, norm=False).eval()
    hinted = with_hints(model).eval()
    x, planes = torch.randn(1, 3, 64, 64), torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model(x)[0], hinted(x, planes)[0], atol=1e-5)
        hinted.get_parameter("encoder.1.cin.conv.weight")[:, -2:] = 0.1
        assert not torch.allclose(hinted(x)[0], hinted(x, planes)[0], atol=1e-3)
        assert torch.allclose(model(x)[0], hinted(x)[0], atol=1e-5)


def test_a_guided_run_goes_on_from_plain_weights(prepared, tmp_path):
    begin = tmp_path / "begin.onnx"
    torch.manual_seed(0)
    export.write_fp32(U2Net(SMALL, norm=False), begin, size=64)
    last = train_u2net.train(GUIDED, prepared, begin, tmp_path / "run", init=begin, quiet=True)
    model = weights.load(last)
    assert model.hints
    before, after = weights.load(begin).state_dict(), model.state_dict()
    first, last_one = "encoder.0.cin.conv.weight", "decoder.4.cin.conv.weight"
    assert torch.equal(before[first], after[first])
    assert not torch.equal(before[last_one], after[last_one])
    assert after["encoder.1.cin.conv.weight"][:, -2:].any()
    export.write_fp32(model, tmp_path / "after.onnx", size=64)
    assert weights.load(tmp_path / "after.onnx").hints


def test_exports_can_be_told_hints(tmp_path):
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    torch.manual_seed(0)
    model = U2Net(TINY, norm=False, hints=True).eval()
    export.write_fp32(model, fp32, size=64)
    photos = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    export.write_int8(fp32, int8, photos)
    planes = np.ones((1, 2, 64, 64), np.float32)
    x = export.network_input(photos[:1])
    with torch.no_grad():
        expected = model(torch.from_numpy(x), torch.from_numpy(planes))[0].sigmoid().numpy()
    maps = []
    for path in (fp32, int8):
        session = open_network(path)
        assert [i.name for i in session.get_inputs()] == ["input", "hints"]
        hinted = session.run(["d0"], {"input": x, "hints": planes})[0]
        plain = session.run(["d0"], {"input": x, "hints": 0 * planes})[0]
        assert np.abs(hinted - plain).max() > 1e-3
        wide = {"input": np.zeros((2, 3, 64, 96)), "hints": np.zeros((2, 2, 64, 96))}
        wide = {name: value.astype(np.float32) for name, value in wide.items()}
        assert session.run(["d0"], wide)[0].shape == (2, 1, 64, 96)
        maps.append(hinted)
    assert np.allclose(maps[0], expected, atol=1e-5)
    assert np.abs(maps[1] - expected).mean() < 0.05


def test_held_out_cases_are_measured_plain_and_by_hints(prepared):
    chosen = [*cases.photo_cases(Prepared(prepared, "held"), 1), *cases.scene_cases(prepared, 6)]
    assert {case.source for case in chosen} >= {"people", "scene:products", "scene:empty"}

    def oracle(photo, planes):  # finds what it is told, and else nothing
        return (planes[0] > 0).astype(np.float32)

    lines = cases.table({"oracle": (oracle, True), "blind": (oracle, False)}, chosen).splitlines()
    assert any("| scene:products | box | 6 | oracle |" in line for line in lines)
    assert not any("| box |" in line and "blind" in line for line in lines)
    empty = next(line for line in lines if "scene:empty" in line)
    assert "| – | 0.0000 | 100% |" in empty
    assert sum("| scene:several products | plain |" in line for line in lines) in (0, 2)
    photos = [line for line in lines if line.startswith("| all photos |")]
    assert len(photos) == sum(line.startswith("| people |") for line in lines) > 1


def test_photos_are_measured_as_they_are_with_two_looks(folder, prepared):
    whole, squares = cases.whole_photos(folder, 1), cases.photo_cases(Prepared(prepared, "held"), 1)
    pairs = list(zip(whole, squares, strict=True))
    assert [(one.source, other.source) for one, other in pairs] == [
        (s, s) for s in ("film", "people")
    ]
    for one, other in pairs:
        assert one.photo.shape[:2] == one.truth.shape == (90, 70)
        assert one.truth.mean() == pytest.approx(other.truth.mean(), abs=0.02)
        once, twice = (cases.asker("wisp", n)[0](one.photo, one.truth) for n in (1, 2))
        assert once.shape == twice.shape == (90, 70) and not np.array_equal(once, twice)
    many = ["--data", str(folder), "--looks", "2", "--prepared", str(prepared)]
    refused = CliRunner().invoke(cases.main, ["coarse.onnx", *many])
    assert refused.exit_code == 2 and "once" in refused.output
    done = CliRunner().invoke(cases.main, ["wisp", *many, "--most", "1", "--scenes", "0"])
    assert done.exit_code == 0 and "| all photos | plain | 2 | wisp |" in done.output, done.output


def test_what_is_held_out_can_be_named(folder, prepared):
    from u2net.prepare import find

    items, cutouts, _ = find(folder)
    named = held(items, Data(held_out={"people": "^p[01]$"}))
    chosen = {i.path.stem for i, h in zip(items, named, strict=True) if h and i.source == "people"}
    assert chosen == {"p0", "p1"}
    unseen, few, grounds = find_held(folder)
    assert {item.path for item in unseen} == {
        item.path for item, out in zip(items, held(items, Data()), strict=True) if out
    }  # the recipe names none of these sources
    kept = {p.name for p in tenth(cutouts)}
    assert {p.name for p in few} == kept and len(grounds) == 1
    assert len(read_pieces(prepared, "held").cutouts) == len(kept) == 1
    assert len(read_pieces(prepared, "train").cutouts) == len(cutouts) - 1


def test_a_tiny_network_has_hints_too():
    assert U2Net(TINY, hints=True)(torch.zeros(1, 3, 64, 64))[0].shape == (1, 1, 64, 64)


def test_deep_blocks_begin_wider_from_narrow_ones_and_a_file_says_which_they_are(tmp_path):
    torch.manual_seed(0)
    narrow = U2Net(SMALL, norm=False, hints=True).eval()
    deep = widened(narrow, DEEP).eval()
    assert widened(deep, DEEP) is deep
    x, planes = torch.randn(1, 3, 64, 96), torch.rand(1, 2, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(deep(x, planes), narrow(x, planes), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)
    # What the new channels find counts nothing yet, and learns to at once.
    torch.stack([d.square().mean() for d in deep(x, planes)]).sum().backward()
    weights_by_name = dict(deep.named_parameters())
    for name in ("encoder.5.dec.2.conv.weight", "decoder.0.dec.0.conv.weight"):
        weight = weights_by_name[name]
        assert weight.grad is not None
        new, grads = (t.unflatten(1, (2, -1))[:16, :, 16:] for t in (weight, weight.grad))
        assert not new.any() and grads.any()
    for name, model in (("narrow", narrow), ("deep", deep)):
        export.write_fp32(model, tmp_path / f"{name}.onnx", size=64)
        read = weights.load(tmp_path / f"{name}.onnx")
        assert read.widths == model.widths and read.hints
        for key, weight in read.state_dict().items():
            assert torch.equal(weight, model.state_dict()[key])


def test_a_mean_of_weights_lies_between_and_keeps_what_only_the_newer_one_has():
    torch.manual_seed(0)
    elder, start = U2Net(SMALL, norm=False, hints=True), torch.Generator().manual_seed(1)
    newer = widened(elder, DEEP)
    with torch.no_grad():
        for weight in newer.parameters():
            weight.add_(torch.randn(weight.shape, generator=start), alpha=0.01)
    joined = mean(elder, newer, 0.75)
    x, planes = torch.randn(1, 3, 64, 64), torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        whole, none = (mean(elder, newer, share)(x, planes)[0] for share in (1.0, 0.0))
        assert torch.equal(whole, newer(x, planes)[0])
        assert torch.allclose(none, elder(x, planes)[0], atol=1e-4)
    for at in ("encoder.0.cin.conv.weight", "encoder.5.dec.0.conv.bias"):
        old, new, both = (net.state_dict()[at] for net in (elder, newer, joined))
        assert torch.allclose(both[:16], 0.25 * old[:16] + 0.75 * new[:16], atol=1e-6)
        assert torch.equal(both[64:], new[64:])
    layer = "encoder.5.dec.0.conv.weight"
    old, new, both = (net.state_dict()[layer] for net in (elder, newer, joined))
    assert torch.equal(both[16:], new[16:])  # new channels find what they learned to
    assert torch.allclose(both[:16, 16:64], 0.75 * new[:16, 16:64])
    assert torch.allclose(both[:16, 64:80], 0.25 * old[:, 16:] + 0.75 * new[:16, 64:80], atol=1e-6)


@pytest.mark.parametrize("words", [["--share", "0.5"], ["--share", "2"]])
def test_a_share_that_means_nothing_is_refused(words, prepared, tmp_path):
    (tmp_path / "last.pt").touch()
    paths = [str(tmp_path / "last.pt"), "--prepared", str(prepared), "--out", str(tmp_path)]
    done = CliRunner().invoke(export.main, [*paths, *words])
    assert done.exit_code == 2 and "--share" in done.output
