import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from pipeline.errors import SettingsError
from training.sampling import sampling_probs
from training.split import held_out_scenes
from u2net import dataset, prepare
from u2net.settings import SIZE, Data


def test_folders_are_told_apart_by_what_lies_in_them(folder: Path):
    items, cutouts, backgrounds = prepare.find(folder)
    assert {i.source for i in items} == {"people", "film", "photos"}
    assert all((i.truth is not None) == (i.source != "photos") for i in items)
    assert len(cutouts) == 4 and len(backgrounds) == 4
    assert {i.scene for i in items if i.source == "film"} == set("abcd")


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="No pictures"):
        prepare.find(tmp_path)


def test_whole_scenes_are_held_out_and_always_the_same(folder: Path):
    items, _, _ = prepare.find(folder)
    pairs = [(i.source, i.scene) for i in items]
    held = held_out_scenes(pairs)
    assert held == held_out_scenes(reversed(pairs))
    assert len([s for f, s in held if f == "film"]) == 1  # a quarter of four scenes
    assert len([s for f, s in held if f == "people"]) == 1  # a tenth of six, at least one


def test_prepared_arrays(prepared: Path):
    train, held = dataset.Prepared(prepared, "train"), dataset.Prepared(prepared, "held")
    assert train.pack.shape[1:] == (prepare.ROOM, prepare.ROOM, 4)
    assert held.pack.shape[1:] == (SIZE, SIZE, 4)
    assert (train.sources == "composites").sum() == 6
    assert not (held.sources == "composites").any()
    film = [n[0] for n, f in zip(train.names, train.sources, strict=True) if f == "film"]
    gone = [n[0] for n, f in zip(held.names, held.sources, strict=True) if f == "film"]
    assert len(gone) == 3 and not set(film) & set(gone)
    assert not train.pack[~train.has_truth][..., 3].any()
    assert train.pack[train.has_truth][..., 3].max() == 255
    assert not list(prepared.glob("*.part*"))


def test_preparing_again_gives_the_same(folder: Path, prepared: Path, tmp_path: Path):
    prepare.prepare(folder, tmp_path, Data(composites=6), quiet=True)
    for name in ("train.npy", "held.npy", "train.json"):
        assert (tmp_path / name).read_bytes() == (prepared / name).read_bytes()


def test_unprepared_data_are_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="prepare"):
        dataset.Prepared(tmp_path, "train")


def test_a_composite_is_exact(tmp_path: Path):
    """Where alpha is 0 the background shows untouched, where 1 the cutout's colour."""
    rgba = np.zeros((60, 40, 4), np.uint8)
    rgba[10:50, 10:30] = (200, 30, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "c.png")
    Image.new("RGB", (50, 50), (10, 90, 10)).save(tmp_path / "b.png")
    rng = np.random.default_rng(3)
    image, alpha = prepare.composite(rng, tmp_path / "c.png", tmp_path / "b.png", 96)
    assert (image[alpha == 0] == (10, 90, 10)).all()
    assert (image[alpha == 255] == (200, 30, 30)).all()
    assert 0.02 < (alpha > 127).mean() < 0.95
    # On the soft edge the colours mix in the same proportion: no dark fringe.
    mixed = alpha[..., None] / 255 * (190, -60, 20) + (10, 90, 10)
    assert np.abs(image - mixed).max() <= 2


def test_a_batch_is_a_function_of_seed_and_step(prepared: Path):
    train = dataset.Prepared(prepared, "train")
    probs = sampling_probs(train.sources, {})
    draw = [dataset.draw(train, probs, 0, step, 3, 48, 1.0) for step in (5, 5, 6)]
    for a, b in zip(draw[0], draw[1], strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(draw[0][0], draw[2][0])


def test_batch_shapes_and_ranges(prepared: Path):
    train = dataset.Prepared(prepared, "train")
    images, truth, has_truth = dataset.draw(
        train, sampling_probs(train.sources, {}), 0, 0, 6, 40, 1.0
    )
    assert images.shape == (6, 3, 40, 40) and images.dtype == np.uint8
    assert truth.shape == (6, 1, 40, 40) and 0 <= truth.min() <= truth.max() <= 1
    assert set(has_truth) <= {0.0, 1.0}


def test_augmentation_keeps_photo_and_mask_together():
    """A mask painted as the photo itself still matches after the geometry."""
    rng = np.random.default_rng(0)
    mask = np.zeros((100, 100), np.uint8)
    mask[20:70, 30:90] = 255
    image = np.repeat(mask[..., None], 3, 2)
    for _ in range(5):
        photo, after = dataset.augment(rng, image, mask, 64, 0.0)
        assert np.abs(photo[..., 0].astype(int) - after).max() <= 1


def test_probabilities_share_a_folders_weight_among_its_pictures(prepared: Path):
    train = dataset.Prepared(prepared, "train")
    probs = sampling_probs(train.sources, {"people": 3.0})
    assert probs.sum() == pytest.approx(1)
    per = {f: probs[train.sources == f].sum() for f in ("people", "film", "photos", "composites")}
    assert per["people"] == pytest.approx(3 * per["film"]) == pytest.approx(3 * per["composites"])
    assert json.loads((prepared / "train.json").read_text())[0][0] in per
