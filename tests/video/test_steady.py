"""Alpha that holds still, follows what moves, and forgets a scene that is over."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from pipeline import Result
from pipeline.selection import Selection
from tests.conftest import ellipse, fake_cutout
from wisp.video import CutoutVideo, Frame
from wisp.video.motion import Motion, link, moved, reduced
from wisp.video.steady import Steady

SIZE = 192


def scene(photo: np.ndarray, shift: float = 0.0, noise: int | None = None) -> np.ndarray:
    """A photo as a camera sees it, moved to the left by ``shift`` px."""
    move = np.array([[1, 0, -shift], [0, 1, 0]], np.float32)
    seen = cv2.warpAffine(photo, move, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT).astype(float)
    if noise is not None:
        seen += np.random.default_rng(noise).normal(0, 2, seen.shape)
    return np.clip(seen, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return cv2.resize(data.astronaut(), (SIZE + 40, SIZE), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    return cv2.resize(data.coffee(), (SIZE + 40, SIZE), interpolation=cv2.INTER_AREA)


def flickering(frames: int, shift: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """True alphas that move, and what a network may say of them."""
    draw = np.random.default_rng(0)
    true, measured = [], []
    for number in range(frames):
        move = np.array([[1, 0, -shift * number], [0, 1, 0]], np.float32)
        alpha = cv2.warpAffine(ellipse(SIZE, SIZE), move, (SIZE, SIZE))
        true.append(alpha)
        soft = (alpha > 0) & (alpha < 1)
        wrong = cv2.GaussianBlur(
            np.float32(1.5) * draw.standard_normal(alpha.shape, np.float32), (0, 0), 3
        )
        measured.append(np.clip(alpha + soft * wrong, 0, 1).astype(np.float32))
    return true, measured


def steadied(images: list[np.ndarray], alphas: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    steady, motion = Steady(), Motion()
    done = [
        steady.push(alpha, motion.next(image)) for image, alpha in zip(images, alphas, strict=True)
    ]
    return [alpha for alpha in [*done, steady.last()] if alpha is not None], motion.cuts


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_flicker_is_halved_and_the_error_is_less(photo, shift):
    images = [scene(photo, shift * number, number) for number in range(10)]
    true, measured = flickering(10, shift)
    done, cuts = steadied(images, measured)
    assert cuts == 0

    def flicker(alphas):
        wrong = [alpha - truth for alpha, truth in zip(alphas, true, strict=True)]
        return np.mean([np.abs(b - a).mean() for a, b in zip(wrong, wrong[1:], strict=False)])

    def error(alphas):
        return np.mean([np.abs(a - t).mean() for a, t in zip(alphas, true, strict=True)])

    assert flicker(done) < 0.5 * flicker(measured)
    assert error(done) < error(measured)


def test_a_perfect_alpha_that_stands_still_stays_as_it_is(photo):
    images = [scene(photo, 0, number) for number in range(4)]
    done, _ = steadied(images, [ellipse(SIZE, SIZE)] * 4)
    for alpha in done:
        assert np.abs(alpha - ellipse(SIZE, SIZE)).max() < 0.05
        assert np.abs(alpha - ellipse(SIZE, SIZE)).mean() < 1e-3


def test_a_cut_forgets_the_scene_before(photo, other):
    images = [scene(photo, 0, n) for n in range(4)] + [scene(other, 0, n) for n in range(4)]
    first, second = ellipse(SIZE, SIZE), np.zeros((SIZE, SIZE), np.float32)
    second[:, : SIZE // 2] = 1
    done, cuts = steadied(images, [first] * 4 + [second] * 4)
    assert cuts == 1
    assert np.abs(done[3] - first).mean() < 1e-3
    assert (done[4] == second).all()


def test_a_pan_and_a_change_of_light_are_no_cut(photo):
    for number in range(1, 4):
        assert not link(scene(photo, 0), scene(photo, 4 * number)).cut
    darker = (scene(photo).astype(int) - 5).clip(0).astype(np.uint8)
    assert not link(scene(photo), darker).cut


def test_the_flow_leads_back(photo):
    before, now = scene(photo, 0), scene(photo, 3)
    linked = link(before, now)
    inner = np.s_[30:-30, 30:-30]
    assert abs(float(np.median(linked.back[inner][..., 0])) - 3) < 0.2
    assert np.abs(moved(before, linked.back)[inner].astype(int) - now[inner]).mean() < 3
    assert linked.trust[inner].mean() > 0.8


def test_frames_are_reduced_to_what_motion_needs():
    assert reduced(np.zeros((1080, 1920, 3), np.uint8)).shape == (270, 480, 3)
    assert reduced(np.zeros((48, 64, 3), np.uint8)).shape == (48, 64, 3)
    assert reduced(np.zeros((1, 1, 3), np.uint8)).shape == (16, 16, 3)
    assert reduced(np.zeros((30, 3000, 3), np.uint8)).shape == (240, 480, 3)


def test_a_result_for_each_frame_and_nothing_twice(photo):
    asked = []

    def counting(image, **_) -> Result:
        asked.append(image)
        return fake_cutout(image)

    images = [scene(photo, 0, n) for n in (0, 0, 1, 2)]
    frames: list[np.ndarray | Frame] = [*images, Frame(images[3], 4, damaged=True)]
    results = list(CutoutVideo(counting)(frames))
    assert len(results) == 5
    # Not for a frame that is the same, nor for a damaged one, nor for one that follows from others.
    assert [int(np.flatnonzero([image is i for i in images])[0]) for image in asked] == [0, 3]
    assert not len(results[2].tiles) and not results[2].timings
    assert results[4].alpha is results[3].alpha
    asked.clear()
    alone = list(CutoutVideo(counting, steady=False)(iter(images)))
    assert len(asked) == 3
    assert (alone[2].alpha == ellipse(SIZE, SIZE)).all()


def test_what_was_said_of_the_first_frame_is_followed(photo):
    """The box of what was found there, with room to move in; where nothing is found, the last."""
    asked = []

    def cutout(image, box, points, not_points, **_) -> Result:
        asked.append((box, points, not_points))
        result = fake_cutout(image)
        alpha = np.zeros((SIZE, SIZE), np.float32)
        if len(asked) != 3:
            alpha[40:140, 10 * len(asked) : 10 * len(asked) + 50] = 1
        return replace(result, alpha=alpha)

    video = CutoutVideo(cutout, wanted=Selection(points=((0.3, 0.4),), not_points=((0.9, 0.9),)))
    frames = [scene(photo, 0, number) for number in range(5)]
    assert len(list(video(frames))) == 5
    assert asked[0] == (None, ((0.3, 0.4),), ((0.9, 0.9),))
    assert asked[1] == ((2, 32, 68, 148), (), ())
    assert asked[2] == asked[3] == ((12, 32, 78, 148), (), ())
    assert asked[4] == ((32, 32, 98, 148), (), ())
    asked.clear()
    list(video(frames[:1]))  # another clip begins anew
    list(video(frames[:1], following=Selection(box=(1, 2, 3, 4))))
    assert [box for box, _, _ in asked] == [None, (1, 2, 3, 4)]


def test_what_cannot_follow_is_cut_out(photo, other):
    """A frame at a scene's end or beginning, and one whose neighbours disagree where all moved."""
    asked = []

    def counting(image, **_) -> Result:
        asked.append(image)
        result = fake_cutout(image)
        left = np.roll(result.alpha, -30 * len(asked), 1)
        return replace(result, alpha=left, foreground=image)

    first, second = ([scene(p, 0, n) for n in range(3)] for p in (photo, other))
    frames = [first[0], first[1], second[0], second[1], second[2]]
    assert len(list(CutoutVideo(counting)(frames))) == 5
    assert [next(n for n, f in enumerate(frames) if f is i) for i in asked] == [0, 1, 2, 4]

    asked.clear()
    strange = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    middle = first[1].copy()
    middle[30:-30, 30:-30] = strange[30:-30, 30:-30]  # too little for another scene
    frames = [first[0], middle, first[2], scene(photo, 0, 3)]
    assert len(list(CutoutVideo(counting)(frames))) == 4
    assert [next(n for n, f in enumerate(frames) if f is i) for i in asked] == [0, 2, 1, 3]


def test_a_result_is_two_frames_late_at_most(photo):
    given = 0

    def frames():
        for number in range(12):
            assert given >= number - 2
            yield scene(photo, 0.5 * number, number)

    for _ in CutoutVideo(fake_cutout)(frames()):
        given += 1
    assert given == 12


def test_no_frame_and_one_frame(photo):
    assert list(CutoutVideo(fake_cutout)([])) == []
    (result,) = CutoutVideo(fake_cutout)([scene(photo)])
    assert (result.alpha == ellipse(SIZE, SIZE)).all()
    for tiny in ((1, 1, 3), (3, 200, 3), (300, 20, 3)):
        results = list(CutoutVideo(fake_cutout)([np.zeros(tiny, np.uint8) + n for n in range(3)]))
        assert [result.alpha.shape for result in results] == [tiny[:2]] * 3
