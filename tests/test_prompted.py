"""A network in two halves is told points and a box; where nothing is said, stage 1 looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline import Cutout, ModelInvalid, ModelMissing, models, prompted
from pipeline.cli.models import models as models_command
from pipeline.looks import Looks
from pipeline.models import Network, store
from pipeline.models.catalogue import PUBLIC
from pipeline.selection import Selection
from pipeline.views import Box
from tests import networks

NAME, HALF = "mobile-sam", "mobile-sam-decoder"


def photo() -> np.ndarray:
    """Two bright squares on black, 300×600: around (150, 150) and (450, 150), (x, y)."""
    image = np.zeros((300, 600, 3), np.uint8)
    image[100:200, 100:200] = image[100:200, 400:500] = 255
    return image


@pytest.fixture
def sam(tmp_path, monkeypatch) -> Path:
    """The two halves as if they were fetched; returns where they lie."""
    monkeypatch.setenv("WISP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "rembg"))
    folder = tmp_path / "home" / "models"
    folder.mkdir(parents=True)
    networks.sam(folder / f"{NAME}.onnx", folder / f"{HALF}.onnx")
    for name in (NAME, HALF):
        path = store.model_path(name)
        facts: dict[str, Any] = {"sha256": store.checksum(path), "length": path.stat().st_size}
        monkeypatch.setitem(PUBLIC, name, replace(PUBLIC[name], **facts))
    return folder


def test_the_thing_under_a_point_is_cut_out(sam):
    result = Cutout(model=NAME, refine=False)(photo(), points=[(150, 150)])
    truth = np.zeros((300, 600))
    truth[100:200, 100:200] = 1
    assert np.abs(result.alpha - truth).mean() < 0.02
    assert result.cells == (128, 256)


def test_a_point_to_drop_alone_leaves_the_rest(sam):
    stage1 = Cutout(refine=False)(photo()).alpha
    rest = Cutout(model=NAME, refine=False)(photo(), not_points=[(450, 150)]).alpha
    assert rest[110:190, 410:490].max() < 0.01
    assert np.array_equal(rest[:, :300], stage1[:, :300])


def test_where_nothing_is_said_the_bundled_network_looks(sam):
    plain, asked = (Cutout(model=name, refine=False)(photo()) for name in ("wisp", NAME))
    assert np.array_equal(plain.alpha, asked.alpha)


def test_removed_with_all_that_was_fetched_for_it(sam):
    assert store.usable(NAME) == store.model_path(NAME)  # verified, which is noted
    part = store.model_path(HALF).with_name(f"{HALF}.onnx.part")
    part.write_bytes(b"half of a half")
    gone = store.remove(NAME)
    assert set(gone) == {store.model_path(NAME), store.model_path(HALF), part}
    left = [path for path in store.home().rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []
    with pytest.raises(ModelMissing, match=NAME):
        store.remove(NAME)


class Asked:
    """Remembers what it was asked, and answers with the same arrays."""

    def __init__(self, *answers: np.ndarray) -> None:
        self.answers = list(answers)
        self.inputs: list[dict[str, Any]] = []

    def run(self, outputs: Any, inputs: dict[str, Any]) -> list[np.ndarray]:
        self.inputs.append(inputs)
        return self.answers


def test_what_is_said_is_told_in_the_networks_pixels():
    encoder = Asked(np.zeros((1, 256, 64, 64), np.float32))
    low = np.stack([np.full((256, 256), level, np.float32) for level in (-9.0, 9.0)])[None]
    decoder = Asked(np.array([[0.1, 0.8]], np.float32), low)
    network = models.Prompted(Asked(), encoder, decoder)
    image = np.full((300, 512, 3), 7, np.uint8)
    sight = prompted.see(network, image, Box(10, 20, 100, 200), [(50, 60)], [(1, 2)])
    seen, asked = encoder.inputs[-1]["input_image"], decoder.inputs[-1]
    assert seen.shape == (600, 1024, 3) and seen.dtype == np.float32 and (seen == 7).all()
    assert asked["point_coords"].tolist() == [[[100, 120], [2, 4], [40, 20], [400, 200]]]
    assert asked["point_labels"].tolist() == [[1, 0, 2, 3]]
    assert asked["orig_im_size"].tolist() == [300, 512]
    assert sight.mask.shape == (300, 512) and sight.mask.min() > 0.99  # the surer of two answers
    prompted.see(network, image, None, [(50, 60)], [])
    assert decoder.inputs[-1]["point_labels"].tolist() == [[1, -1]]  # as without a box it has to


def test_the_photo_is_seen_once_for_all_clicks(sam, monkeypatch):
    cutout, looks, runs = Cutout(model=NAME, refine=False), Looks(10**8), []
    run = Network.run

    def counted(network, outputs, inputs):
        runs.extend(outputs)
        return run(network, outputs, inputs)

    monkeypatch.setattr(Network, "run", counted)
    for place in ((150, 150), (450, 150)):
        cutout.cut(photo(), Selection(points=(place,)), looks=looks)
    assert runs.count("image_embeddings") == 1 and runs.count("low_res_masks") == 2


def test_half_a_model_is_no_model(sam):
    with pytest.raises(ModelInvalid, match="stage 1 needs"):
        Cutout(model=HALF)
    assert store.usable(NAME) == sam / f"{NAME}.onnx" and store.usable(HALF) is None
    (sam / f"{HALF}.onnx").unlink()
    assert store.usable(NAME) is None
    with pytest.raises(ModelMissing, match=f"download {HALF}"):
        Cutout(model=str(sam / f"{NAME}.onnx"))


def test_another_network_in_a_halfs_place_is_refused(sam, tmp_path):
    card = models.coarse_model(NAME)
    stage1 = networks.stage1(tmp_path / "other.onnx")
    for changed in (replace(card, path=stage1), replace(card, decoder=str(stage1))):
        with pytest.raises(ModelInvalid, match=r"other\.onnx: this half of a SAM"):
            models.open_coarse(changed, ("CPUExecutionProvider",), 1)


def test_the_command_shows_it_and_fetches_both(sam):
    shown = CliRunner().invoke(models_command, ["show", NAME]).output
    assert "input_image" in shown and "Apache-2.0" in shown
    fetched = CliRunner().invoke(models_command, ["download", NAME]).output
    assert fetched.split() == [str(sam / f"{name}.onnx") for name in (NAME, HALF)]
