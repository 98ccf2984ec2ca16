"""A brush stroke changes what it covers and its edge, and nothing else by a single bit."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from pipeline import Cutout, patches
from pipeline.errors import SettingsError
from pipeline.retouch import MAX_POINTS, Stroke, copied, put, reach
from pipeline.snap import _blurred
from pipeline.views import Box
from tests import networks

PHOTO = np.ascontiguousarray(data.astronaut()[:400, :480])
SHAPE = (400, 480)
ERASE = Stroke(((0.45, 0.4), (0.55, 0.45)), 0.1, restore=False)
RESTORE = Stroke(((0.1, 0.1), (0.2, 0.3)), 0.08, restore=True)
ARRAYS = ("alpha", "foreground", "coarse", "roi")


@pytest.fixture(scope="module")
def cutout(tmp_path_factory) -> Cutout:
    folder = tmp_path_factory.mktemp("nets")
    return Cutout(
        model=str(networks.stage1(folder / "tiny.onnx", gain=3.0)),
        refiner=str(networks.constant_stage2(folder / "grey.onnx", 0.4)),
        threads=1,
    )


@pytest.fixture(scope="module")
def result(cutout):
    return cutout(PHOTO)


def outside(stroke, cutout, result) -> np.ndarray:
    rest = np.ones(SHAPE, bool)
    rest[reach(stroke, SHAPE, result.cells, cutout.settings).area] = False
    return rest


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("stroke", [ERASE, RESTORE], ids=["erase", "restore"])
def test_outside_of_its_reach_nothing_changes_bit_for_bit(cutout, result, stroke, exact, refine):
    stroke = replace(stroke, exact=exact)
    rest = outside(stroke, cutout, result)
    assert 0.3 < rest.mean() < 0.99
    before = {name: getattr(result, name).copy() for name in ARRAYS}
    after = cutout.retouch(result, stroke, refine=refine)
    for name in ARRAYS:
        assert np.array_equal(getattr(result, name), before[name]), "the first one is left alone"
        assert np.array_equal(getattr(after, name)[rest], before[name][rest])
    assert not np.array_equal(after.alpha, result.alpha)


def test_what_lies_along_the_middle_is_certain_whatever_stage_2_says(cutout, result):
    gone = cutout.retouch(result, ERASE)
    back = cutout.retouch(result, RESTORE)
    assert gone.alpha[170, 240] == 0 and gone.coarse[170, 240] == 0
    assert back.alpha[80, 72] == 1 and back.coarse[80, 72] == 1
    assert np.array_equal(back.foreground[80, 72], PHOTO[80, 72])


def test_stage_2_redraws_the_edge_of_a_stroke_unless_it_is_exact(cutout, result):
    drawn = cutout.retouch(result, replace(RESTORE, exact=True))
    redrawn = cutout.retouch(result, RESTORE)
    assert len(redrawn.tiles) > len(result.tiles)
    cover = RESTORE.cover(SHAPE, RESTORE.box(SHAPE))
    under = drawn.alpha[RESTORE.box(SHAPE).area]
    assert np.array_equal(
        under, np.maximum(result.alpha[RESTORE.box(SHAPE).area], cover).astype(np.float32)
    )
    assert np.array_equal(drawn.tiles, result.tiles)
    assert not np.array_equal(drawn.alpha, redrawn.alpha)


def test_outside_of_all_tiles_the_alpha_is_the_coarse_mask(cutout, result):
    after = cutout.retouch(result, ERASE, RESTORE, replace(RESTORE, exact=True))
    free = np.ones(SHAPE, bool)
    for y, x in after.tiles:
        free[y : y + patches.TILE, x : x + patches.TILE] = False
    assert free.any()
    assert np.array_equal(after.alpha[free], after.coarse[free])


def test_what_was_copied_undoes_a_stroke(cutout, result):
    box = reach(ERASE, SHAPE, result.cells, cutout.settings)
    kept = copied(result, box)
    again = put(cutout.retouch(result, ERASE), kept)
    for name in (*ARRAYS, "tiles"):
        assert np.array_equal(getattr(again, name), getattr(result, name))
    assert 0 < kept.size < result.alpha.nbytes * 3


def test_a_generator_that_changes_nothing_leaves_the_matte_that_was_drawn(tmp_path, result):
    cutout = Cutout(
        model=str(networks.stage1(tmp_path / "tiny.onnx", gain=3.0)),
        refiner=str(networks.stage2(tmp_path / "same.onnx")),
        threads=1,
    )
    assert np.array_equal(
        cutout.retouch(result, ERASE).alpha, cutout.retouch(result, ERASE, refine=False).alpha
    )


def test_a_stroke_at_the_border_and_one_outside(cutout, result):
    at_the_corner = Stroke(((1.0, 1.0),), 0.05, restore=True)
    assert cutout.retouch(result, at_the_corner).alpha[-1, -1] == 1
    off = Stroke(((1.4, 1.4),), 0.01, restore=True)
    assert cutout.stroked(result, off) is None and cutout.retouch(result, off) is result


def test_what_is_transparent_already_stays_so(cutout):
    clear = np.dstack([PHOTO, np.full(SHAPE, 255, np.uint8)])
    clear[:, :100, 3] = 0
    result = cutout(clear)
    after = cutout.retouch(result, RESTORE)
    assert not after.alpha[:, :100].any()


def test_what_is_half_transparent_keeps_its_colours(cutout):
    glass = np.dstack([PHOTO, np.full(SHAPE, 255, np.uint8)])
    glass[40:130, 40:110] = 255, 0, 0, 128
    result = cutout(glass)
    for stroke in (RESTORE, replace(RESTORE, restore=False), replace(RESTORE, exact=True)):
        after = cutout.retouch(result, stroke)
        half = glass[..., 3] == 128
        assert np.array_equal(after.foreground[half], glass[half][:, :3])


@pytest.mark.parametrize("restore", [True, False])
def test_alpha_stays_within_its_range(cutout, result, restore):
    for width in (0.003, 0.02, 0.07, 0.3):
        after = cutout.retouch(result, replace(ERASE, width=width, restore=restore))
        assert after.alpha.min() >= 0 and after.alpha.max() <= 1


def test_a_wide_blur_in_a_smaller_picture_is_the_same():
    for shape, most in (((900, 1200), 0.34), ((90, 120), 3), ((3, 700), 3), ((700, 1), 3)):
        line = Stroke(((0.4, 0.35), (0.6, 0.6)), 0.1, restore=True)
        cover = line.cover(shape, Box(0, 0, *shape))
        for deviation in (2.0, 11.0, 30.0):
            whole = cv2.GaussianBlur(cover, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
            difference = np.abs(_blurred(cover, deviation) - whole.reshape(shape))
            assert difference.max() < most / 255


def test_a_brush_as_wide_as_a_very_long_photo():
    shape = (20, 40_000)
    drawn = Stroke(((0.2, 0.5), (0.8, 0.5)), 1.0, restore=True).cover(shape, Box(0, 0, *shape))
    assert drawn.min() == 1


@pytest.mark.parametrize(
    ("points", "width"),
    [
        ((), 0.1),
        (((0.5, 0.5),), 0.0),
        (((0.5, 0.5),), 1.5),
        (((0.5, 0.5),), float("nan")),
        (((0.5, 3.0),), 0.1),
        (((float("nan"), 0.5),), 0.1),
        (((0.5, 0.5, 0.5),), 0.1),
        (((0.5, 0.5),) * (MAX_POINTS + 1), 0.1),
    ],
)
def test_what_is_no_stroke_is_refused(points, width):
    with pytest.raises(SettingsError, match="stroke"):
        Stroke(points, width, restore=True)


def test_a_stroke_that_covers_more_than_a_thing_takes_the_thing(cutout):
    """A bar of 24 px under a brush of 60: GrabCut decides by the colours."""
    photo = np.random.default_rng(0).integers(200, 220, (300, 300, 3), dtype=np.uint8)
    photo[:, 140:164] -= 150
    empty = replace(cutout(photo), alpha=np.zeros((300, 300), np.float32))
    empty = replace(empty, coarse=empty.alpha)
    stroke = Stroke(((0.507, 0.2), (0.507, 0.8)), 0.2, restore=True)
    row = cutout.retouch(empty, stroke, refine=False).alpha[150]
    assert row[144:160].min() == 1 and row[125] < 0.01 and row[179] < 0.01
    whole = Stroke(stroke.points, stroke.width, restore=True, exact=True)
    assert cutout.retouch(empty, whole).alpha[150, 125] == 1
    full = replace(empty, alpha=1 - empty.alpha, coarse=1 - empty.coarse)
    row = cutout.retouch(full, replace(stroke, restore=False), refine=False).alpha[150]
    assert row[144:160].max() == 0 and row[125] > 0.99 and row[179] > 0.99
