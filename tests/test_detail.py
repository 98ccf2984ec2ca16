"""What stage 2 makes of a reduced photo, carried back to the photo."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from pipeline import Cutout, Settings, SettingsError, compose, detail, foreground
from pipeline.retouch import Stroke, reach
from tests import networks
from tests.conftest import ellipse
from tests.tiles import covered

FRONT, BEHIND = (200, 60, 40), (30, 90, 160)


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    networks.stage1(folder / "bright.onnx", gain=6.0)
    networks.stage2(folder / "identity.onnx")
    networks.constant_stage2(folder / "half.onnx", 0.5)
    return folder


def cutter(nets: Path, stage2: str, longest: int) -> Cutout:
    model, refiner = (str(nets / f"{name}.onnx") for name in ("bright", stage2))
    return Cutout(Settings(model=model, refiner=refiner, detail=longest))


def two_tone(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse of one colour before another: the photo, and its alpha."""
    alpha = ellipse(2 * shape[0], 2 * shape[1])
    inside = (alpha > 0.5).astype(np.float32)
    alpha = np.asarray(cv2.resize(inside, shape[::-1], interpolation=cv2.INTER_AREA), np.float32)
    front = np.full((*shape, 3), FRONT, np.uint8)
    return compose.over(front, alpha, BEHIND), alpha


def test_a_photo_is_reduced_where_it_is_much_larger_alone():
    assert detail.size((1000, 1440), 1440) == (1000, 1440)
    assert detail.size((1080, 1790), 1440) == (1080, 1790)  # less is not worth the way back
    assert detail.size((3000, 4000), 1440) == (1080, 1440)
    assert detail.size((1600, 8000), 1440) == (720, 3600)  # a panorama keeps half of that in height
    assert detail.size((20000, 10), 1440) == (20000, 10)
    photo, mask = data.astronaut(), ellipse(512, 512)
    shown = detail.show(photo, mask, 512)
    assert shown.image is photo and shown.mask is mask


def test_what_stage_2_leaves_is_left_bit_for_bit(nets):
    result = cutter(nets, "identity", 256)(data.astronaut())
    assert 0 < result.tiles.max() < 256
    assert np.array_equal(result.alpha, result.coarse)
    assert np.array_equal(result.foreground, data.astronaut())


def test_outside_the_tiles_nothing_changes(nets):
    photo = data.rocket()
    result = cutter(nets, "half", 256)(photo)
    rows, columns = detail.size(result.alpha.shape, 256)
    tiles = covered(result.tiles, rows, columns).astype(np.uint8)
    # A change fades in over 8 px around it, and stage 2's own fades within its tiles.
    near = cv2.dilate(tiles, np.ones((19, 19), np.uint8))
    outside = cv2.resize(near, photo.shape[1::-1], interpolation=cv2.INTER_NEAREST) == 0
    assert 0.05 < outside.mean() < 0.95
    assert np.array_equal(result.alpha[outside], result.coarse[outside])
    assert np.array_equal(result.foreground[outside], photo[outside])
    assert not np.array_equal(result.alpha, result.coarse)


def test_a_large_photo_takes_fewer_tiles(nets):
    own, reduced = (cutter(nets, "half", side)(data.astronaut()) for side in (512, 256))
    assert len(reduced.tiles) < 0.5 * len(own.tiles)


def test_an_edge_comes_back_as_sharp_as_the_photo_has_it():
    photo, truth = two_tone((900, 1200))
    coarse = np.asarray(cv2.GaussianBlur(truth, (0, 0), 12), np.float32)
    shown = detail.show(photo, coarse, 400)
    size = shown.mask.shape[::-1]
    small = np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_AREA), np.float32)
    colours = np.full((*shown.mask.shape, 3), FRONT, np.uint8)
    alpha, made = detail.carried(photo, coarse, shown, small, colours)
    plain = cv2.resize(small, truth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(alpha - truth).mean() < 0.4 * np.abs(plain - truth).mean()
    seen = alpha > 0.1
    assert np.abs(made[seen].astype(int) - FRONT).mean() < 3


def test_nothing_appears_that_stage_2_did_not_draw():
    """A thing of the subject's colour beside it, where stage 2 says that there is none."""
    photo, truth = two_tone((600, 800))
    photo[20:60, 20:60] = FRONT
    coarse = np.full(truth.shape, 0.4, np.float32)
    shown = detail.show(photo, coarse, 256)
    size = shown.mask.shape[::-1]
    small = np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_AREA), np.float32)
    alpha, _ = detail.carried(photo, coarse, shown, small, shown.image)
    assert alpha[:70, :70].max() == 0
    low, high = (
        cv2.resize(change(small, np.ones((5, 5), np.uint8)), truth.shape[::-1])
        for change in (cv2.erode, cv2.dilate)
    )
    assert (alpha >= low - 1e-5).all() and (alpha <= high + 1e-5).all()


def test_one_thread_or_several_make_the_same():
    photo, truth = two_tone((900, 1200))
    shown = detail.show(photo, truth, 400)
    flat = np.full_like(shown.mask, 0.5)
    one, more = (detail.carried(photo, truth, shown, flat, shown.image, n) for n in (1, 3))
    assert np.array_equal(one[0], more[0]) and np.array_equal(one[1], more[1])


def test_colours_are_those_that_explain_the_photo():
    photo, alpha = two_tone((120, 160))
    said = np.full_like(photo, (180, 80, 60))  # a network that is 20 levels off
    made = foreground.explained(photo, alpha, said)
    inside = (alpha > 0.5) & (alpha < 1)
    before, after = (np.abs(c[inside].astype(int) - FRONT).mean() for c in (said, made))
    assert after < 0.75 * before
    assert np.array_equal(made[alpha == 1], photo[alpha == 1])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(128, 400), st.integers(0, 99))
def test_any_size_comes_back_whole(height, width, longest, seed):
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = rng.random((height, width), np.float32)
    shown = detail.show(photo, mask, longest)
    alpha, colours = rng.random(shown.mask.shape, np.float32), np.roll(shown.image, 7, 2)
    matte, made = detail.carried(photo, mask, shown, alpha, colours)
    assert matte.shape == mask.shape and made.shape == photo.shape and made.dtype == np.uint8
    assert np.isfinite(matte).all() and matte.min() >= 0 and matte.max() <= 1


def test_a_stroke_on_a_large_photo_changes_what_it_reaches_alone(nets):
    cutout = cutter(nets, "half", 256)
    result = cutout(data.astronaut())
    stroke = Stroke(((0.3, 0.8), (0.4, 0.8)), 0.08, restore=True)
    after = cutout.retouch(result, stroke)
    box = reach(stroke, (512, 512), result.cells, cutout.settings)
    apart = np.ones((512, 512), bool)
    apart[box.area] = False
    assert np.array_equal(after.alpha[apart], result.alpha[apart])
    assert np.array_equal(after.foreground[apart], result.foreground[apart])
    assert after.alpha[410, 180] == 1 > result.alpha[410, 180]
    assert after.tiles.max() < 256


def test_detail_is_at_least_a_tile():
    with pytest.raises(SettingsError, match="detail"):
        replace(Settings(), detail=100)
