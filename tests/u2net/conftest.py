"""Generated pictures to prepare, and a stand-in teacher of the student's shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the train extra")
pytest.importorskip("onnx", reason="training needs the train extra")


def picture(rng: np.random.Generator, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ellipse on a dark gradient, (h, w, 3) uint8, and its mask (h, w) uint8."""
    y, x = np.mgrid[:h, :w]
    cy, cx = h * rng.uniform(0.3, 0.7), w * rng.uniform(0.3, 0.7)
    mask = ((y - cy) / (h * 0.25)) ** 2 + ((x - cx) / (w * 0.2)) ** 2 < 1
    image = np.stack((x * 100 // w, y * 100 // h, 0 * x), -1) + rng.integers(0, 20, (h, w, 3))
    image[mask] = rng.integers(150, 255, 3)
    return image.astype(np.uint8), (mask * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one of everything that can be in it."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for sub in ("people/images", "people/masks", "film/images", "film/masks"):
        (root / sub).mkdir(parents=True)
    for sub in ("cutouts", "backgrounds", "photos"):
        (root / sub).mkdir()
    names = [("people", f"p{i}") for i in range(6)]
    names += [("film", f"{scene}_{i:05d}") for scene in "abcd" for i in range(3)]
    for kind, name in names:
        image, mask = picture(rng, 90, 70)
        Image.fromarray(image).save(root / kind / "images" / f"{name}.jpg")
        Image.fromarray(mask).save(root / kind / "masks" / f"{name}.png")
    for i in range(4):
        image, mask = picture(rng, 80, 60)
        Image.fromarray(image).save(root / "photos" / f"{i}.png")
        Image.fromarray(np.dstack((image, mask))).save(root / "cutouts" / f"{i}.png")
        Image.fromarray(rng.integers(0, 90, (50, 50, 3), np.uint8)).save(
            root / "backgrounds" / f"{i}.png"
        )
    return root


@pytest.fixture(scope="session")
def prepared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, prepared once."""
    from u2net.prepare import prepare
    from u2net.settings import Data

    out = tmp_path_factory.mktemp("prepared")
    prepare(folder, out, Data(composites=6), quiet=True)
    return out


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published file's names; only the names and shapes matter here."""
    import onnx
    from onnx import helper, numpy_helper

    from u2net.network import SMALL, U2Net

    torch.manual_seed(1)
    theirs = {"encoder.": "n.e.", "decoder.": "n.d."}
    weights = []
    for name, value in U2Net(SMALL, norm=False).state_dict().items():
        prefix = next((p for p in theirs if name.startswith(p)), "")
        onnx_name = theirs.get(prefix, "n.") + name.removeprefix(prefix)
        weights.append(numpy_helper.from_array(value.numpy(), onnx_name))
    graph = helper.make_graph([], "teacher", [], [], weights)
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    onnx.save(helper.make_model(graph), str(path))
    return path
