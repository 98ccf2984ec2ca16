"""What stage 2 makes of a reduced photo, carried back to the photo."""

import os
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
from wisp.video import CutoutVideo

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


def with_subject(shape: tuple[int, int], subject: tuple[int, int]) -> np.ndarray:
    """A mask with a rectangle of this height and width in its middle."""
    mask = np.zeros(shape, np.float32)
    top, left = (shape[0] - subject[0]) // 2, (shape[1] - subject[1]) // 2
    mask[top : top + subject[0], left : left + subject[1]] = 1
    return mask


def test_a_photo_is_reduced_by_how_large_its_subject_is():
    whole = np.ones
    assert detail.size(whole((1000, 1440), np.float32), 1440) == (1000, 1440)
    assert detail.size(whole((1080, 1790), np.float32), 1440) == (1080, 1790)  # not worth it
    assert detail.size(whole((3000, 4000), np.float32), 1440) == (1229, 1638)
    assert detail.size(np.zeros((3000, 4000), np.float32), 1440) == (1229, 1638)  # nothing found
    # Of a panorama more is left, and of a small subject all.
    assert detail.size(whole((1600, 8000), np.float32), 1440) == (819, 4096)
    assert detail.size(whole((20000, 10), np.float32), 1440) == (20000, 10)
    assert detail.size(with_subject((3000, 4000), (900, 1000)), 1440) == (3000, 4000)
    assert detail.size(with_subject((3000, 4000), (1200, 1500)), 1440) == (2400, 3200)
    assert detail.size(with_subject((5504, 8256), (300, 300)), 1440) == (5504, 8256)
    photo, mask = data.astronaut(), ellipse(512, 512)
    shown = detail.show(photo, mask, (512, 512))
    assert shown.image is photo and shown.mask is mask


def test_from_frame_to_frame_a_photo_is_seen_at_the_same_size():
    sizes = [detail.size(with_subject((2160, 3840), (s, s)), 1440) for s in range(1400, 1440, 4)]
    assert len(set(sizes)) == 1


def test_what_stage_2_leaves_is_left_bit_for_bit(nets):
    result = cutter(nets, "identity", 256)(data.astronaut())
    assert 0 < result.tiles.max() < max(result.coarse.shape) < 512
    assert result.roi.shape == result.coarse.shape
    assert np.array_equal(result.alpha, unrefined(nets, data.astronaut()))
    assert np.array_equal(result.foreground, data.astronaut())


def unrefined(nets: Path, photo: np.ndarray) -> np.ndarray:
    """The alpha without stage 2."""
    return cutter(nets, "identity", 256)(photo, refine=False).alpha


def test_outside_the_tiles_nothing_changes(nets):
    photo = data.rocket()
    result, before = cutter(nets, "half", 256)(photo), unrefined(nets, photo)
    tiles = covered(result.tiles, *result.coarse.shape).astype(np.uint8)
    # A change fades in over 8 px around it, and stage 2's own fades within its tiles.
    near = cv2.dilate(tiles, np.ones((19, 19), np.uint8))
    outside = cv2.resize(near, photo.shape[1::-1], interpolation=cv2.INTER_NEAREST) == 0
    assert 0.05 < outside.mean() < 0.95
    assert np.array_equal(result.alpha[outside], before[outside])
    assert np.array_equal(result.foreground[outside], photo[outside])
    assert not np.array_equal(result.alpha, before)


def test_each_subject_of_a_large_photo_comes_at_its_size(nets):
    photo = np.zeros((300, 900, 3), np.uint8)
    for middle in (200, 700):
        cv2.circle(photo, (middle, 150), 90, (255, 255, 255), -1)
    cutout = cutter(nets, "identity", 128)
    result = cutout(photo)
    left, right = result.each()
    assert result.coarse.shape < left.alpha.shape == right.alpha.shape == (300, 900)
    assert left.alpha[:, 450:].max() == 0 and right.alpha[:, :450].max() == 0
    assert np.array_equal(np.maximum(left.alpha, right.alpha), result.alpha)


def test_a_large_photo_takes_fewer_tiles(nets):
    own, reduced = (cutter(nets, "half", side)(data.astronaut()) for side in (512, 256))
    assert len(reduced.tiles) < 0.5 * len(own.tiles)


def test_an_edge_comes_back_as_sharp_as_the_photo_has_it():
    photo, truth = two_tone((900, 1200))
    coarse = np.asarray(cv2.GaussianBlur(truth, (0, 0), 12), np.float32)
    shown = detail.show(photo, coarse, (300, 400))
    size = shown.mask.shape[::-1]
    small = np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_AREA), np.float32)
    colours = np.full((*shown.mask.shape, 3), FRONT, np.uint8)
    alpha, made = detail.carried(photo, coarse.copy(), shown, small, colours)
    plain = cv2.resize(small, truth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(alpha - truth).mean() < 0.4 * np.abs(plain - truth).mean()
    seen = alpha > 0.1
    assert np.abs(made[seen].astype(int) - FRONT).mean() < 3


def test_nothing_appears_that_stage_2_did_not_draw():
    """A thing of the subject's colour beside it, where stage 2 says that there is none."""
    photo, truth = two_tone((600, 800))
    photo[20:60, 20:60] = FRONT
    coarse = np.full(truth.shape, 0.4, np.float32)
    shown = detail.show(photo, coarse, (192, 256))
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
    shown = detail.show(photo, truth, (300, 400))
    flat = np.full_like(shown.mask, 0.5)
    one, more = (detail.carried(photo, truth.copy(), shown, flat, shown.image, n) for n in (1, 3))
    assert np.array_equal(one[0], more[0]) and np.array_equal(one[1], more[1])


def test_where_nothing_changes_nothing_need_be_carried(monkeypatch):
    """A block is carried as far as a change has a say in it; more of it comes out the same."""
    photo, truth = two_tone((900, 1200))
    shown = detail.show(photo, truth, (300, 400))
    alpha = shown.mask.copy()
    alpha[90:110, 130:190] = 0.5
    few = list(detail._blocks(alpha != shown.mask, truth.shape))
    one = detail.carried(photo, truth.copy(), shown, alpha, shown.image)
    monkeypatch.setattr(detail, "_extent", lambda changed, box: box)
    all_ = list(detail._blocks(alpha != shown.mask, truth.shape))
    more = detail.carried(photo, truth.copy(), shown, alpha, shown.image)
    assert np.abs(one[0] - more[0]).max() < 1e-5
    assert np.abs(one[1].astype(int) - more[1]).max() <= 1
    assert (
        sum(np.prod(box.shape) for box, _ in few) < sum(np.prod(box.shape) for box, _ in all_) / 3
    )


def test_the_threads_stay_and_a_forked_child_has_its_own():
    """One that ended would hold a lock of OpenCV's for a moment, which a fork would keep."""
    ours = detail._threads(2)
    assert list(ours.map(abs, [-1, 2])) == [1, 2] and detail._threads(2) is ours
    if not hasattr(os, "fork"):
        return
    child = os.fork()
    if not child:
        fresh = detail._threads(2)
        os._exit(0 if fresh is not ours and list(fresh.map(abs, [-1, 2])) == [1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0


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
    shown = detail.show(photo, mask, detail.size(mask, longest))
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
    assert after.tiles.max() < max(after.coarse.shape) < 512
    assert after.coarse.shape == after.roi.shape == result.coarse.shape
    assert not np.array_equal(after.coarse, result.coarse)


def test_a_frame_of_a_clip_that_was_seen_reduced_can_be_retouched(nets):
    cutout = cutter(nets, "half", 256)
    first, *_, last = CutoutVideo(cutout)([data.astronaut(), data.astronaut()[:, ::-1].copy()])
    stroke = Stroke(((0.3, 0.8), (0.4, 0.8)), 0.08, restore=True)
    for result in (first, last):
        assert result.coarse.shape == result.roi.shape < result.alpha.shape == (512, 512)
        after = cutout.retouch(result, stroke)
        assert after.alpha[410, 180] == 1


def test_detail_is_at_least_a_tile():
    with pytest.raises(SettingsError, match="detail"):
        replace(Settings(), detail=100)
