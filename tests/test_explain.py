"""A look inside: reading ONNX without the onnx package, exposing inner nodes, and the figure."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from PIL import Image
from skimage import data

from pipeline import Cutout, ModelInvalid, Settings, coarse, models
from pipeline.cli.explain import explain
from pipeline.explain import blocks, inspect, onnx_file
from pipeline.explain.figure import WIDTH, draw
from pipeline.explain.pictures import blend
from tests import networks
from tests.tiny_u2net import tiny_u2net


def test_the_graph_is_read_as_the_onnx_package_reads_it(tmp_path):
    for path in (tiny_u2net(tmp_path / "a.onnx"), networks.stage2(tmp_path / "b.onnx")):
        expected = onnx.load(path).graph
        graph = onnx_file.read(path.read_bytes())
        assert graph.outputs == tuple(value.name for value in expected.output)
        assert [(node.op, node.inputs, node.outputs) for node in graph.nodes] == [
            (node.op_type, tuple(node.input), tuple(node.output)) for node in expected.node
        ]
        assert graph.constants == {tensor.name for tensor in expected.initializer}


@pytest.mark.parametrize("name", ["x", "n" * 300, "Größe/²"])
def test_an_inner_tensor_is_exposed(tmp_path, name):
    path = networks.save(
        tmp_path / "a.onnx",
        [helper.make_node("Add", ["input", "one"], [name]), helper.make_node("Neg", [name], ["d"])],
        [networks.value("input", [2])],
        [networks.value("d", [2])],
        {"one": np.array(1, np.float32)},
    )
    changed = onnx_file.expose(path.read_bytes(), [name])
    assert [value.name for value in onnx.load_from_string(changed).graph.output] == ["d", name]
    session = onnxruntime.InferenceSession(changed, providers=["CPUExecutionProvider"])
    answer, inner = session.run(["d", name], {"input": np.array([3, 4], np.float32)})
    assert inner.tolist() == [4, 5]
    assert answer.tolist() == [-4, -5]


@pytest.mark.parametrize("content", [b"", b"not onnx at all", bytes(64), b"\x3a\xff\xff\xff\x7f"])
def test_what_is_no_onnx_file(content):
    with pytest.raises(ModelInvalid, match="no ONNX file"):
        onnx_file.read(content)


@pytest.mark.parametrize("only_fused", [False, True])
def test_the_blocks_are_found(tmp_path, only_fused):
    path = tiny_u2net(tmp_path / "a.onnx", only_fused=only_fused)
    names, logits = blocks(models.coarse_model(str(path)))
    assert names[:6] == [f"en{k}" for k in range(1, 7)]
    assert names[6:11] == [f"de{k}" for k in range(5, 0, -1)]
    assert logits == only_fused
    assert len(names) == 17


@pytest.mark.parametrize("name", models.COARSE)
def test_the_blocks_of_the_bundled_models_are_found(name):
    names, _ = blocks(models.coarse_model(name))
    assert len(names) == len(set(names)) == 17


def test_side_outputs_are_the_same_whether_the_file_gives_them_out_or_not(tmp_path):
    seven = inspect(
        data.chelsea(), Cutout(Settings(model=str(tiny_u2net(tmp_path / "7.onnx")), refine=False))
    )
    one = tiny_u2net(tmp_path / "1.onnx", only_fused=True)
    alone = inspect(data.chelsea(), Cutout(Settings(model=str(one), refine=False)))
    for a, b in zip(seven.sides, alone.sides, strict=True):
        assert a.shape == (64, 64)
        assert np.allclose(a, b, atol=1e-6)


def test_a_network_of_another_shape_is_refused(tmp_path):
    path = networks.stage1(tmp_path / "a.onnx")
    with pytest.raises(ModelInvalid, match="needs a U²-Net: 6 blocks that encode"):
        inspect(data.chelsea(), Cutout(Settings(model=str(path), refine=False)))


def test_what_is_seen_is_what_the_cutout_did(tmp_path):
    model = str(tiny_u2net(tmp_path / "a.onnx"))
    refiner = str(networks.constant_stage2(tmp_path / "r.onnx", 0.25))
    inside = inspect(
        data.astronaut(), Cutout(Settings(model=model, refiner=refiner, roi_threshold=0.01))
    )
    sizes = [(4, 64 >> k, 64 >> k) for k in range(6)]
    assert [maps.shape for maps in inside.encoder] == sizes
    assert [maps.shape for maps in inside.decoder] == sizes[:5]
    assert len(inside.result.tiles) == len(inside.seconds) == len(inside.after) > 0
    assert (inside.after == 0.25).all()
    assert (inside.seconds > 0).all()
    expected = [
        np.abs(0.25 - before[roi]).mean()
        for before, roi in zip(inside.before, inside.inside, strict=True)
    ]
    assert inside.change == pytest.approx(expected, abs=1e-6)
    assert inside.confidence == pytest.approx(1)  # its mirror image says the same
    whole = Image.fromarray(data.astronaut())
    lanczos = Image.Resampling.LANCZOS
    view = np.asarray(whole.resize((64, 64), lanczos, reducing_gap=coarse.GAP), int)
    assert np.abs(inside.view - view * (255 / view.max())).max() <= 1


def test_progress_is_told_and_calls_the_work_off(tmp_path):
    model = str(tiny_u2net(tmp_path / "a.onnx"))
    refiner = str(networks.stage2(tmp_path / "r.onnx"))
    cutout = Cutout(Settings(model=model, refiner=refiner, roi_threshold=0.01))
    steps: list[tuple[str, float]] = []
    inside = inspect(data.astronaut(), cutout, progress=lambda *at: steps.append(at))
    stages = list(dict.fromkeys(stage for stage, _ in steps))
    assert stages == [*inside.result.timings, "blocks", "tiles"]
    shares = [share for stage, share in steps if stage == "tiles"]
    assert len(shares) == len(inside.seconds) and shares == sorted(shares)

    def stop(stage: str, share: float) -> None:
        if stage == "blocks":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        inspect(data.astronaut(), cutout, progress=stop)


def test_confidence_falls_where_the_mirror_image_differs(tmp_path):
    from dataclasses import replace

    model = str(tiny_u2net(tmp_path / "a.onnx"))
    refiner = str(networks.stage2(tmp_path / "r.onnx"))
    inside = inspect(
        data.astronaut(), Cutout(Settings(model=model, refiner=refiner, roi_threshold=0.01))
    )
    assert inside.confidence == pytest.approx(1, abs=1e-6)  # the identity has no sides
    assert inside.change == pytest.approx(0, abs=1e-6)
    other = replace(inside, mirrored=np.clip(inside.after - 0.5, 0, 1))
    assert (other.confidence < inside.confidence).any()


def test_the_figure(tmp_path):
    model = str(tiny_u2net(tmp_path / "a.onnx"))
    refiner = str(networks.constant_stage2(tmp_path / "r.onnx", 0.25))
    settings = Settings(model=model, refiner=refiner, roi_threshold=0.01)
    figure = draw(inspect(data.astronaut(), Cutout(settings)), "astronaut.jpg")
    assert figure.width == WIDTH
    without = draw(inspect(data.astronaut(), Cutout(Settings(model=model, refine=False))))
    assert without.height < figure.height  # no tiles, no close-ups
    assert len(set(map(tuple, np.asarray(figure)[::40, ::40].reshape(-1, 3)))) > 100


@pytest.mark.parametrize("side", [400, 420, 500, 625])
def test_a_photo_that_stage_2_sees_reduced_is_explained_at_that_size(tmp_path, side):
    model = str(tiny_u2net(tmp_path / "a.onnx"))
    refiner = str(networks.stage2(tmp_path / "r.onnx"))
    cutout = Cutout(Settings(model=model, refiner=refiner, roi_threshold=0.01, detail=320))
    photo = np.asarray(Image.fromarray(data.astronaut()).resize((side, side)))
    inside = inspect(photo, cutout)
    assert inside.result.coarse.shape == inside.result.alpha.shape == inside.result.roi.shape
    assert inside.result.alpha.shape == cutout(photo).coarse.shape < (side, side)
    draw(inside)


@pytest.mark.parametrize("shape", [(1, 1, 3), (40, 900, 3), (700, 30, 3)])
def test_odd_photos(tmp_path, shape):
    photo = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    model = str(tiny_u2net(tmp_path / "a.onnx"))
    refiner = str(networks.stage2(tmp_path / "r.onnx"))
    draw(inspect(photo, Cutout(Settings(model=model, refiner=refiner, roi_threshold=0.01))))


def test_blended_maps_show_form_and_ignore_sign():
    y, x = np.mgrid[:32, :32].astype(np.float32)
    disc = (np.hypot(x - 16, y - 16) < 6).astype(np.float32)
    maps = np.stack([disc, 0.5 * disc, np.zeros_like(disc)])
    picture = blend(maps).astype(int)
    assert picture[16, 16].sum() > picture[2, 2].sum() + 300
    assert np.abs(blend(-maps).astype(int) - picture).max() <= 1
    assert len(np.unique(blend(np.ones((5, 8, 8), np.float32)))) <= 3  # nothing to see, no noise


def test_command(tmp_path):
    photo = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).save(photo)
    model = tiny_u2net(tmp_path / "a.onnx")
    refiner = networks.stage2(tmp_path / "r.onnx")
    arguments = [str(photo), "--model", str(model), "--refiner", str(refiner)]
    assert CliRunner().invoke(explain, arguments).exit_code == 0
    with Image.open(tmp_path / "cat-inside.png") as figure:
        assert (figure.format, figure.width) == ("PNG", WIDTH)


def test_kinds_are_those_of_onnx():
    """The field numbers that are read, against the package's own description of the format."""
    fields = {f.name: f.number for f in onnx.GraphProto.DESCRIPTOR.fields}
    assert (fields["node"], fields["initializer"], fields["output"]) == (1, 5, 12)
    assert onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number == 7
    assert TensorProto.DESCRIPTOR.fields_by_name["name"].number == 8


def test_a_look_inside_never_takes_the_photos_place(tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64)).save(photo)
    before = photo.read_bytes()
    told = CliRunner().invoke(explain, [str(photo), "-o", str(photo)])
    assert told.exit_code == 2 and "is the photo itself" in told.output
    assert photo.read_bytes() == before
    (tmp_path / "there.png").write_bytes(b"precious")
    for name, says in (("there.png", "--overwrite"), ("a.jpg", "name it .png")):
        told = CliRunner().invoke(explain, [str(photo), "-o", str(tmp_path / name)])
        assert told.exit_code == 2 and says in told.output
    assert (tmp_path / "there.png").read_bytes() == b"precious"
