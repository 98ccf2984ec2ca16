from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from pipeline.errors import ModelInvalid, ModelMissing  # noqa: E402
from u2net import dataset, evaluate, export, weights  # noqa: E402
from u2net.network import TINY, U2Net, fused  # noqa: E402

SIZE = 64


def load_fused(path: Path) -> U2Net:
    return fused(weights.load(path))


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Bright squares on noise, (12, 64, 64, 3) uint8."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 60, (12, SIZE, SIZE, 3), np.uint8)
    for photo, (y, x) in zip(photos, rng.integers(8, 30, (12, 2)), strict=True):
        photo[y : y + 24, x : x + 24] = rng.integers(150, 255, 3)
    return photos


@pytest.fixture(scope="module")
def checkpoint(photos: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that has learned the squares: its maps are no longer all the same."""
    torch.manual_seed(0)
    model = U2Net(TINY)
    x = torch.from_numpy(export.network_input(photos))
    truth = torch.from_numpy((photos.max(-1) > 100)[:, None].astype(np.float32))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        maps = model(x)
        sum(torch.nn.functional.binary_cross_entropy_with_logits(d, truth) for d in maps).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("checkpoint") / "last.pt"
    torch.save({"ema": model.state_dict(), "step": 1, "settings": {"widths": "tiny"}}, path)
    return path


@pytest.fixture(scope="module")
def fp32(checkpoint: Path) -> Path:
    path = checkpoint.parent / "coarse.onnx"
    export.write_fp32(load_fused(checkpoint), path, SIZE)
    return path


@pytest.fixture(scope="module")
def int8(fp32: Path, photos: np.ndarray) -> Path:
    path = fp32.parent / "coarse_int8.onnx"
    export.write_int8(fp32, path, photos[:8])
    return path


@pytest.mark.parametrize("batch", [1, 3])
def test_fp32_gives_the_torch_maps_at_any_batch(checkpoint, fp32, photos, batch):
    x = export.network_input(photos[:batch])
    with torch.no_grad():
        expected = [d.sigmoid().numpy() for d in load_fused(checkpoint)(torch.from_numpy(x))]
    maps = onnxruntime.InferenceSession(str(fp32)).run(None, {"input": x})
    assert len(maps) == 7
    for a, b in zip(maps, expected, strict=True):
        assert a.shape == (batch, 1, SIZE, SIZE)
        assert np.abs(a - b).max() < 1e-4


def test_names_opset_and_no_normalisation_left(fp32):
    model = onnx.load(str(fp32))
    assert [i.name for i in model.graph.input] == ["input"]
    assert [o.name for o in model.graph.output] == export.OUTPUTS
    assert model.opset_import[0].version == export.OPSET
    assert "BatchNormalization" not in {n.op_type for n in model.graph.node}


def test_int8_stays_near_fp32_and_is_int8(fp32, int8, photos):
    model = onnx.load(str(int8))
    kinds = {t.data_type for t in model.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    a, b = (
        np.concatenate(
            [
                onnxruntime.InferenceSession(str(p)).run(["d0"], {"input": x[None]})[0]
                for x in export.network_input(photos)
            ]
        )
        for p in (fp32, int8)
    )
    assert a.std() > 0.1  # the maps have a subject in them
    difference = np.abs(a - b).mean()
    assert 0 < difference < 0.05
    assert np.mean((a > 0.5) == (b > 0.5)) > 0.95


def test_int8_takes_any_batch(int8, photos):
    session = onnxruntime.InferenceSession(str(int8))
    assert session.run(["d0"], {"input": export.network_input(photos[:3])})[0].shape[0] == 3


def test_wrong_checkpoints_are_refused(tmp_path):
    with pytest.raises(ModelMissing):
        load_fused(tmp_path / "none.pt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ModelInvalid):
        load_fused(tmp_path / "other.pt")


def test_network_input_is_what_the_pipeline_feeds(photos):
    from pipeline import coarse
    from pipeline.models.catalogue import CoarseModel

    card = CoarseModel(Path("x.onnx"), "none", "a test", "", size=(SIZE, SIZE))
    assert np.allclose(export.network_input(photos[:1]), coarse.prepare(photos[0], card), atol=1e-5)


def test_tables_compare_teacher_and_student(tmp_path, prepared):
    torch.manual_seed(0)
    for name in ("teacher", "student"):
        export.write_fp32(fused(U2Net(TINY)), tmp_path / f"{name}.onnx")
    networks = {"student": tmp_path / "student.onnx", "same": tmp_path / "teacher.onnx"}
    held = dataset.Prepared(prepared, "held")
    lines = evaluate.table(networks, tmp_path / "teacher.onnx", held).splitlines()
    assert len(lines) == 2 + 3 * (len(set(held.sources)) + 1)
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines[2:]]
    for row in cells:
        if row[2] in ("teacher", "same"):
            assert float(row[6]) == 0
    people = {row[2]: row for row in cells if row[0] == "people"}
    assert people["same"][3:] == people["teacher"][3:] != people["student"][3:]
    assert {row[3] for row in cells if row[0] == "photos"} == {"–"}
    taken = evaluate.seconds(networks, threads=1, rounds=1)
    assert taken.keys() == networks.keys() and all(t > 0 for t in taken.values())


def test_examples_table(tmp_path):
    pytest.importorskip("skimage")
    export.write_fp32(fused(U2Net(TINY)), tmp_path / "t.onnx")
    text = evaluate.example_table(
        {"t": tmp_path / "t.onnx"}, tmp_path / "t.onnx", tmp_path / "s.png"
    )
    assert "| astronaut | 1.000 |" in text
    assert (tmp_path / "s.png").is_file()


def test_saturation():
    assert evaluate.saturation(np.array([0, 0.005, 0.5, 0.995])) == 0.75


def test_a_decided_map_is_sharper_about_a_half(checkpoint: Path, photos: np.ndarray) -> None:
    model = load_fused(checkpoint)
    x = torch.from_numpy(export.network_input(photos[:2]))
    plain, sharp = model(x), export.sharpen_map(model, 1.5)(x)
    torch.testing.assert_close(sharp[0], 1.5 * plain[0], atol=1e-5, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(plain[1:], sharp[1:], strict=True))
    assert torch.equal(plain[0], model(x)[0])  # the network given stays as it was


def test_the_table_of_gains_is_that_of_decided_maps(checkpoint, prepared, tmp_path) -> None:
    photos, model = dataset.Prepared(prepared, "train"), load_fused(checkpoint)
    errors = []
    for gain in (1.0, 2.0):
        path = tmp_path / f"{gain}.onnx"
        export.write_fp32(export.sharpen_map(model, gain), path)
        errors.append(evaluate.gain_table(path, photos, (1.0,)).splitlines()[-1].split("|")[2:4])
    rows = evaluate.gain_table(tmp_path / "1.0.onnx", photos, (1.0, 2.0)).splitlines()[2:]
    for row, expected in zip(rows, errors, strict=True):
        for a, b in zip(row.split("|")[2:4], expected, strict=True):
            assert float(a) == pytest.approx(float(b), abs=2e-4)
    assert rows[0].split("|")[2] != rows[1].split("|")[2]
