"""Features prepared for the blocks of low resolution, and the phase that learns from them."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard", reason="training needs the train extra")

import train_u2net  # noqa: E402
from pipeline.errors import SettingsError  # noqa: E402
from training.sampling import sampling_probs  # noqa: E402
from u2net import collage, dataset, export, inner, weights  # noqa: E402
from u2net.network import U2Net, normalise  # noqa: E402
from u2net.settings import Settings  # noqa: E402

SIZE = 64
SETTINGS = Settings(
    phase="inner", folded=True, size=SIZE, steps=4, batch=3, lr=1.5e-2, warmup=1,
    optimizer="soap", weight_decay=0.0, hint=30.0, teacher_gain=1.5, overlap=1.0, ema=0.99,
    feature_samples=8, validate_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def student_file(tmp_path_factory):
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("student") / "coarse.onnx"
    export.write_fp32(U2Net(norm=False).eval(), path, SIZE)
    return path


@pytest.fixture(scope="module")
def features(prepared, student_file, teacher_file, tmp_path_factory):
    """Two files of four rows."""
    out = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inner, "SHARD", 4)
        write(prepared, student_file, teacher_file, out, 8)
    return out


def write(prepared, student_file, teacher_file, out, samples, seed=0):
    photos = dataset.Prepared(prepared, "train")
    networks = weights.load_onnx(student_file), weights.load_onnx(teacher_file)
    probs = sampling_probs(photos.sources, {})
    inner.prepare(photos, probs, *networks, out, samples, seed, size=SIZE, quiet=True)


def test_a_row_is_what_both_networks_say_of_its_picture(
    features, prepared, student_file, teacher_file
):
    student, teacher = weights.load_onnx(student_file), weights.load_onnx(teacher_file)
    rows = inner.Rows(features, SIZE, student)
    assert rows.ends.tolist() == [4, 8]
    photos = dataset.Prepared(prepared, "train")
    image, truth, has_truth = collage.draw(
        photos, sampling_probs(photos.sources, {}), 0, 5, SIZE, 0.7
    )
    x = normalise(torch.from_numpy(image[None].copy()))
    ours, theirs = student.features(x), teacher.features(x)
    maps = inner.side_maps(teacher, theirs[3:8])
    expected = [student.block_input(3, x, ours), *theirs[3:8], *maps]
    flat = torch.from_numpy(np.array(rows.files[1][1])).float()
    parts = flat.split([int(np.prod(s)) for s in rows.shapes])
    for part, shape, wanted in zip(parts, rows.shapes, expected, strict=False):
        torch.testing.assert_close(part.reshape(shape), wanted[0], atol=2e-3, rtol=2e-3)
    assert parts[-2].mean() == pytest.approx(truth.mean(), abs=2e-3)
    assert float(parts[-1]) == has_truth


def test_the_inner_blocks_answer_as_in_the_whole_network(student_file):
    student = weights.load_onnx(student_file)
    x = torch.randn(2, 3, SIZE, SIZE)
    every = student.features(x)
    answers = inner.answers(student, student.block_input(3, x, every))
    for a, b in zip(answers, every[3:8], strict=True):
        assert torch.equal(a, b)
    logits = student.heads(every)
    for small, large in zip(inner.side_maps(student, answers), logits[4:], strict=True):
        whole = torch.nn.functional.interpolate(small, (SIZE, SIZE), mode="bilinear")
        torch.testing.assert_close(whole, large, atol=1e-5, rtol=1e-5)


def test_a_stopped_command_goes_on(
    features, prepared, student_file, teacher_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(inner, "SHARD", 4)
    write(prepared, student_file, teacher_file, tmp_path, 4)
    first = tmp_path / "000-0000.npy"
    before = first.stat().st_mtime_ns
    write(prepared, student_file, teacher_file, tmp_path, 8)
    assert first.stat().st_mtime_ns == before
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["000-0000.npy", "000-0001.npy", "front.txt"]
    for name in names[:2]:
        assert (tmp_path / name).read_bytes() == (features / name).read_bytes()
    write(prepared, student_file, teacher_file, tmp_path, 4, seed=1)  # adds to it
    assert not np.array_equal(np.load(tmp_path / "001-0000.npy"), np.load(first))


def test_only_the_inner_blocks_learn_and_a_resumed_run_equals_the_unbroken_one(
    features, prepared, student_file, teacher_file, tmp_path
):
    def run(name, **options):
        path = train_u2net.train(
            SETTINGS, prepared, teacher_file, tmp_path / name, features=features, **options
        )
        return torch.load(path, weights_only=True)

    run("first", init=student_file, quiet=True)  # a process's first decomposition rounds otherwise
    whole = run("a", init=student_file, quiet=True)
    run("b", init=student_file, quiet=True, stop=2)
    rest = run("b", resume=True, quiet=True)
    before = weights.load_onnx(student_file).state_dict()
    for name, value in whole["model"].items():
        torch.testing.assert_close(value, rest["model"][name], atol=1e-6, rtol=1e-5, msg=name)
        torch.testing.assert_close(whole["ema"][name], rest["ema"][name], atol=1e-6, rtol=1e-5)
    inside = [f"encoder.{k}." for k in (3, 4, 5)] + [f"decoder.{k}." for k in (0, 1)]
    inside += [f"side.{k}." for k in (3, 4, 5)]
    moved = {n for n, v in whole["model"].items() if not torch.equal(v, before[n])}
    assert moved and all(n.startswith(tuple(inside)) for n in moved)
    assert all(any(n.startswith(part) for n in moved) for part in inside)


def test_the_deep_blocks_learn_alone(features, prepared, student_file, teacher_file, tmp_path):
    settings = replace(SETTINGS, deepest_only=True)
    run = train_u2net.train(
        settings, prepared, teacher_file, tmp_path, init=student_file, features=features, quiet=True
    )
    after = torch.load(run, weights_only=True)["model"]
    before = weights.load_onnx(student_file).state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    inside = ("encoder.4.", "encoder.5.", "decoder.0.", "side.4.", "side.5.")
    assert all(name.startswith(inside) for name in moved)
    assert all(any(name.startswith(part) for name in moved) for part in inside)


def test_the_deep_blocks_answer_as_among_the_others(features, student_file):
    student = weights.load_onnx(student_file)
    fed = inner.Rows(features, SIZE, student).draw(0, 0, 2)[0]
    every = inner.answers(student, fed)
    deep = inner.answers(student, fed, inner.DEEPEST)
    assert len(deep) == 4 and all(map(torch.equal, deep, every))
    sides = inner.side_maps(student, deep)
    assert len(sides) == 2 and all(map(torch.equal, sides, inner.side_maps(student, every)[1:]))


def test_learning_lowers_the_loss(features, prepared, student_file):
    student = weights.load_onnx(student_file).requires_grad_(True)
    rows = inner.Rows(features, SIZE, student)
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    pictures = dataset.Prepared(prepared, "train")
    phase = inner.Inner(
        student, student, pictures, np.ones(len(pictures)), replace(SETTINGS, workers=1)
    )
    hints = []
    for step in range(12):
        optimizer.zero_grad()
        hints.append(phase.step(step, rows.draw(0, 0, 4))["hint"])
        optimizer.step()
    phase.close()
    assert hints[-1] < 0.8 * hints[0]


def test_refusals(features, prepared, student_file, teacher_file, tmp_path):
    other = U2Net(norm=False)
    with pytest.raises(SettingsError, match="first blocks"):
        inner.Rows(features, SIZE, other)
    with pytest.raises(SettingsError, match="another size"):
        inner.Rows(features, 2 * SIZE, weights.load_onnx(student_file))
    with pytest.raises(SettingsError, match="No features"):
        inner.Rows(tmp_path, SIZE, other)
    export.write_fp32(other.eval(), tmp_path / "other.onnx", SIZE)
    with pytest.raises(SettingsError, match="another folder"):
        write(prepared, tmp_path / "other.onnx", teacher_file, features, 4)


def test_pictures_drawn_are_a_function_of_seed_and_number(prepared):
    photos = dataset.Prepared(prepared, "train")
    probs = sampling_probs(photos.sources, {})
    drawn = [collage.draw(photos, probs, 3, i, 48, 0.7) for i in range(24)]
    again = collage.draw(photos, probs, 3, 7, 48, 0.7)
    assert np.array_equal(drawn[7][0], again[0]) and np.array_equal(drawn[7][1], again[1])
    assert all(image.shape == (3, 48, 48) and image.dtype == np.uint8 for image, _, _ in drawn)
    assert {has_truth for _, _, has_truth in drawn} == {0.0, 1.0}


def test_a_subject_put_on_another_picture_leaves_the_rest():
    image = np.full((60, 60, 3), 40, np.uint8)
    other = np.full((60, 60, 3), 200, np.uint8)
    mask = np.zeros((60, 60), np.uint8)
    mask[15:45, 15:45] = 255
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(40):
        merged = collage.merge(rng, image, other, mask)
        assert (image == 40).all()  # not written to
        share = (merged[..., 0] == 200).mean()
        kinds.add("laid over" if np.ptp(merged) == 0 else "put on" if share < 0.2 else "beside")
    assert kinds == {"laid over", "put on", "beside"}


def test_a_tilt_moves_picture_and_mask_together():
    mask = np.zeros((80, 80), np.uint8)
    mask[20:60, 25:50] = 255
    image = np.repeat(mask[..., None], 3, 2)
    rng = np.random.default_rng(1)
    for _ in range(5):
        tilted, after = collage.tilt(rng, image, mask)
        assert not np.array_equal(after, mask)
        assert np.abs(tilted[..., 0].astype(int) - after).max() <= 1
