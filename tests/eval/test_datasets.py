"""Every layout in miniature; every way in which a data set can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval import datasets, scenes
from eval.datasets import find
from eval.layouts import LAYOUTS
from eval.scenes import Composite, DatasetError
from tests.eval.conftest import draw, soft_disc

#: What a download of each set holds, in the names of its own archive: (path, mode).
MINIATURES: dict[str, list[tuple[str, str]]] = {
    "alphamatting": [
        ("input_training_lowres/GT01.png", "RGB"),
        ("gt_training_lowres/GT01.png", "L"),
        ("trimap_training_lowres/Trimap1/GT01.png", "L"),
        ("trimap_training_lowres/Trimap2/GT01.png", "L"),
    ],
    "aim-500": [
        ("AIM-500/original/o_0a5cbd5a.jpg", "RGB"),
        ("AIM-500/mask/o_0a5cbd5a.png", "L"),
        ("AIM-500/trimap/o_0a5cbd5a.png", "L"),
        ("AIM-500/usr/o_0a5cbd5a.png", "L"),
    ],
    "ppm-100": [
        ("PPM-100/image/6146816_427dd8e6ce_o.jpg", "RGB"),
        ("PPM-100/matte/6146816_427dd8e6ce_o.jpg", "L"),
    ],
    "p3m-500-p": [
        ("P3M-10k/validation/P3M-500-P/blurred_image/p_00c4bc7d.jpg", "RGB"),
        ("P3M-10k/validation/P3M-500-P/mask/p_00c4bc7d.png", "L"),
        ("P3M-10k/validation/P3M-500-P/trimap/p_00c4bc7d.png", "L"),
    ],
    "p3m-500-np": [
        ("P3M-10k/validation/P3M-500-NP/original_image/p_01dd3ea8.jpg", "RGB"),
        ("P3M-10k/validation/P3M-500-NP/mask/p_01dd3ea8.png", "L"),
        ("P3M-10k/validation/P3M-500-NP/trimap/p_01dd3ea8.png", "L"),
    ],
    "am-2k": [
        ("AM-2k/validation/original/m_0ba91d4e.jpg", "RGB"),
        ("AM-2k/validation/mask/m_0ba91d4e.png", "L"),
        ("AM-2k/validation/trimap/m_0ba91d4e.png", "L"),
        ("AM-2k/train/original/m_1.jpg", "RGB"),
    ],
    "dis5k-vd": [
        ("DIS5K/DIS-VD/im/7#Electrical#1#Cable#31424.jpg", "RGB"),
        ("DIS5K/DIS-VD/gt/7#Electrical#1#Cable#31424.png", "L"),
        ("DIS5K/DIS-TE1/im/1.jpg", "RGB"),
    ],
}


@pytest.mark.parametrize("name", MINIATURES)
def test_photos_of_published_layouts(name: str, tmp_path: Path) -> None:
    for path, mode in MINIATURES[name]:
        draw(tmp_path / path, mode=mode)
    dataset = find(str(tmp_path), layout=name)
    assert dataset.name == name and not dataset.problems and dataset.where and dataset.terms
    (sample,) = dataset.samples
    scene = sample.load()
    assert scene.name == Path(MINIATURES[name][0][0]).stem
    assert scene.image.shape == (30, 40, 3) and scene.alpha.shape == (30, 40)
    assert (scene.trimap is not None) == (LAYOUTS[name].trimaps is not None)
    assert np.abs(scene.alpha - soft_disc(30, 40, 10)).max() < 0.05  # JPEG, for some
    # The folder itself may be given as well.
    inner = tmp_path / LAYOUTS[name].roots[-1]
    assert len(find(str(inner), layout=name).samples) == 1


def test_every_layout_has_a_miniature() -> None:
    composited = {name for name, layout in LAYOUTS.items() if layout.per_foreground}
    parts = {f"dis5k-te{number}" for number in range(1, 5)}  # named as dis5k-vd is
    assert set(MINIATURES) | composited | parts == set(LAYOUTS)
    assert composited == {"distinctions-646", "composition-1k"}


def backgrounds(root: Path, count: int) -> Path:
    for number in range(count):
        draw(root / f"2008_{number:06}.jpg", size=(25, 20), seed=number)
    return root


def test_composition_1k(tmp_path: Path) -> None:
    """Twenty composites a foreground, in the order of the published lists, each its trimap."""
    root = tmp_path / "Combined_Dataset" / "Test_set"
    inner = root / "Adobe-licensed images"
    for name in ("boy.png", "cat.png"):
        draw(inner / "fg" / name, seed=len(name))
        draw(inner / "alpha" / name, mode="L")
        for number in range(20):
            draw(inner / "trimaps" / name.replace(".png", f"_{number}.png"), mode="L")
    behind = backgrounds(tmp_path / "VOC", 40)
    names = sorted(path.name for path in behind.iterdir())
    (root / "test_fg_names.txt").write_text("cat.png\nboy.png\n")
    (root / "test_bg_names.txt").write_text("\n".join(reversed(names)) + "\n")
    dataset = find(str(tmp_path), layout="composition-1k", backgrounds=behind)
    assert len(dataset.samples) == 40 and not dataset.problems
    first, later = dataset.samples[0], dataset.samples[20]
    assert isinstance(first, Composite) and isinstance(later, Composite)
    assert first.name == "cat_0" and first.background.name == names[-1]
    assert later.name == "boy_0" and later.background.name == names[19]
    scene = first.load()
    assert scene.foreground is not None
    background = scenes.cover(Image.open(behind / names[-1]), scene.alpha.shape)
    a = scene.alpha[..., None].astype(np.float64)
    exact = a * scene.foreground + (1 - a) * background
    assert np.abs(scene.image - exact).max() <= 0.5
    assert scene.trimap is not None


def test_distinctions_646(tmp_path: Path) -> None:
    draw(tmp_path / "Distinctions-646/Test/FG/x.png")
    draw(tmp_path / "Distinctions-646/Test/GT/x.png", mode="L")
    behind = backgrounds(tmp_path / "VOC", 3)
    dataset = find(str(tmp_path), layout="distinctions-646", backgrounds=behind)
    assert [sample.name for sample in dataset.samples] == [f"x_{n}" for n in range(20)]
    assert dataset.samples[19].load().foreground is not None
    with pytest.raises(DatasetError, match="--backgrounds"):
        find(str(tmp_path), layout="distinctions-646")


def test_a_folder(pairs: Path) -> None:
    dataset = find(str(pairs))
    assert [sample.name for sample in dataset.samples] == ["a", "b", "c"]
    scene = dataset.samples[0].load()
    assert scene.data == (pairs / "images" / "a.png").read_bytes()
    assert scene.trimap is None and scene.foreground is None


def test_a_folder_with_everything(pairs: Path) -> None:
    (pairs / "alphas").rename(pairs / "masks")
    for name in "abc":
        draw(pairs / "trimaps" / f"{name}.png", mode="L")
        draw(pairs / "foregrounds" / f"{name}.jpg")
    scene = find(str(pairs)).samples[1].load()
    assert scene.trimap is not None and scene.foreground is not None


def test_cutouts_are_composited_by_seed(tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "cut" / f"{number}.png", mode="RGBA", seed=number)
    draw(tmp_path / "cut" / "opaque.png")
    behind = backgrounds(tmp_path / "behind", 5)
    dataset, again = (find(str(tmp_path / "cut"), backgrounds=behind) for _ in range(2))
    assert dataset.samples == again.samples and len(dataset.samples) == 3
    assert len(dataset.problems) == 1 and "no alpha channel" in dataset.problems[0]
    other = datasets.cutouts(tmp_path / "cut", behind, seed=3)
    assert other.samples != dataset.samples
    assert dataset.samples[0].load().data == again.samples[0].load().data


def test_gaps_are_problems(pairs: Path) -> None:
    (pairs / "alphas" / "a.png").unlink()
    draw(pairs / "alphas" / "z.png", mode="L")
    dataset = find(str(pairs))
    assert [sample.name for sample in dataset.samples] == ["b", "c"]
    assert len(dataset.problems) == 2
    assert any("z.png has no image" in problem for problem in dataset.problems)


@pytest.mark.parametrize("how", ["missized", "truncated", "empty", "no picture"])
def test_bad_files_are_one_clear_error(pairs: Path, how: str) -> None:
    alpha = pairs / "alphas" / "a.png"
    if how == "missized":
        draw(alpha, size=(41, 30), mode="L")
    elif how == "truncated":
        alpha.write_bytes(alpha.read_bytes()[:200])
    else:
        alpha.write_bytes(b"" if how == "empty" else b"not a picture")
    with pytest.raises(DatasetError, match=r"a\.png"):
        find(str(pairs)).samples[0].load()


def test_bad_folders_are_one_clear_error(tmp_path: Path, pairs: Path) -> None:
    with pytest.raises(DatasetError, match="neither 'builtin' nor a folder"):
        find(str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="no images/"):
        find(str(tmp_path))
    with pytest.raises(DatasetError, match="there are alphamatting"):
        find(str(pairs), layout="imagenet")
    with pytest.raises(DatasetError, match=r"to be had from http"):
        find(str(pairs), layout="alphamatting")
    draw(pairs / "images" / "a.jpg")
    with pytest.raises(DatasetError, match="have one name"):
        find(str(pairs))
    for path in (pairs / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no pictures"):
        find(str(pairs))


def test_alphas_of_every_kind(tmp_path: Path) -> None:
    truth = soft_disc(30, 40, 10)
    grey = np.round(truth * 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([np.zeros((30, 40, 3), np.uint8), grey])).save(tmp_path / "rgba.png")
    opaque = np.full((30, 40, 1), 255, np.uint8)
    Image.fromarray(np.dstack([grey] * 3 + [opaque])).save(tmp_path / "opaque.png")
    Image.fromarray(np.round(truth * 65535).astype(np.uint16)).save(tmp_path / "deep.png")
    for path in tmp_path.iterdir():
        assert np.abs(scenes.read_alpha(path) - truth).max() < 1e-4, path.name


def test_photos_are_turned_upright(pairs: Path) -> None:
    path = pairs / "images" / "a.png"
    turned = Image.open(path).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90° clockwise to view"
    turned.save(path, exif=exif)
    assert find(str(pairs)).samples[0].load().image.shape == (30, 40, 3)
