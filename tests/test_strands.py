"""Strands are followed out of the tiles, and what hangs on nothing is taken back."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import blend, patches, strands
from pipeline.patches import TILE
from tests.tiles import covered

SIZE = (500, 900)
LINE = ((150, 250), (420, 240))  # a whisker, from the subject on
WIRE = ((150, 250), (899, 240))


def subject() -> np.ndarray:
    """A coarse mask that knows the body, and nothing of its whisker."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (100, 250), 60, 255, -1)
    return cv2.GaussianBlur(mask, (0, 0), 3).astype(np.float32) / 255


def truth(*lines: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    drawn = np.rint(subject() * 255).astype(np.uint8)
    for start, end in lines:
        cv2.line(drawn, start, end, 255, 2, cv2.LINE_AA)
    return drawn.astype(np.float32) / 255


class Stage2:
    """Draws the truth, and the photo's colours, and counts what it was asked for."""

    def __init__(self, alpha: np.ndarray) -> None:
        self.alpha, self.asked = alpha, 0

    def __call__(self, image, mask, origins):
        self.asked += 1
        answers = patches.extract(image, self.alpha, origins)[:, [3, 0, 1, 2]]
        yield from answers


def followed(alpha: np.ndarray, mask: np.ndarray | None = None):
    """Blend the tiles along the edge of the mask, and follow what leaves them."""
    mask = subject() if mask is None else mask
    stage2, image = Stage2(alpha), np.full((*SIZE, 3), 90, np.uint8)
    edge = cv2.dilate(((mask > 0.05) & (mask < 0.95)).view(np.uint8), np.ones((9, 9), np.uint8))
    tiles = patches.tile_origins(edge > 0)
    everywhere = np.ones(SIZE, bool)
    first = blend.blend(image, mask, everywhere, tiles, stage2(image, mask, tiles))
    return (
        *strands.follow(image, mask, everywhere, tiles, *first, stage2),
        tiles,
        first[0],
        stage2,
    )


def test_a_whisker_is_followed_to_its_end():
    alpha, colours, tiles, before, cut_off, _ = followed(truth(LINE))
    assert 0 < len(tiles) - len(before) <= len(before)
    assert np.abs(cut_off - truth(LINE)).max() > 0.9  # the tiles end before
    assert np.abs(alpha - truth(LINE)).max() < 0.02
    assert np.array_equal(colours, np.full((*SIZE, 3), 90, np.uint8))


def test_a_wire_that_never_ends_is_left_where_the_first_tiles_end():
    alpha, colours, tiles, before, cut_off, _ = followed(truth(WIRE))
    assert len(tiles) > len(before)
    assert alpha[:, 200:].max() < 0.01 and np.array_equal(alpha[:, :170], cut_off[:, :170])
    assert np.array_equal(colours, np.full((*SIZE, 3), 90, np.uint8))


def test_outside_of_all_tiles_nothing_changes():
    alpha, _, tiles, *_ = followed(truth(LINE))
    outside = ~covered(tiles, *SIZE)
    assert np.array_equal(alpha[outside], subject()[outside])


def test_where_nothing_leaves_no_tile_is_added():
    alpha, _, tiles, before, first, stage2 = followed(truth())
    assert np.array_equal(tiles, before) and stage2.asked == 1
    assert np.array_equal(alpha, first)


def test_what_stands_beside_the_subject_is_neither_followed_nor_kept():
    tower = ((174, 60), (174, 440))
    alpha, _, tiles, before, first, _ = followed(truth(tower))
    beside = np.s_[200:300, 171:177]
    assert first[beside].max() > 0.9 and alpha[beside].max() < 0.01
    assert np.array_equal(tiles, before)
    assert np.array_equal(alpha[:, :160], first[:, :160])


def test_a_strand_with_gaps_hangs_together():
    dashed = truth()
    for x in range(150, 215, 13):
        cv2.line(dashed, (x, 250), (x + 9, 250), 1.0, 1)
    assert not strands.loose(dashed, subject()).any()
    far = dashed.copy()
    far[40:44, 300:320] = 1
    apart = strands.loose(far, subject())
    assert apart[40:44, 300:320].all() and not apart[100:].any()


def test_where_nothing_was_found_nothing_is_added():
    faint = subject() * np.float32(0.2)
    alpha, colours, *_ = followed(truth(), faint)
    assert (alpha - faint).max() < 0.15  # what is as faint as that is no thing
    assert alpha.max() < 0.5 and np.array_equal(colours, np.full((*SIZE, 3), 90, np.uint8))


def test_a_fence_is_not_followed_for_ever():
    """More strands than the subject has edge are the background's: the photo costs what it did."""
    posts = [((160, y), (899, y)) for y in range(200, 300, 12)]
    alpha, _, tiles, before, _, stage2 = followed(truth(*posts))
    assert len(tiles) <= 1.5 * len(before) + 1
    assert stage2.asked <= 4


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_any_photo_comes_back_whole(height, width, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask, alpha = rng.random((2, height, width), np.float32)
    tiles = patches.tile_origins(rng.random((height, width)) > 0.9999)

    def redraw(image, mask, origins):
        return rng.random((len(origins), 4, TILE, TILE), np.float32)

    everywhere = np.ones(mask.shape, bool)
    made, colours, _ = strands.follow(image, mask, everywhere, tiles, alpha, image, redraw)
    assert made.shape == mask.shape and made.dtype == np.float32 and colours.shape == image.shape
    assert np.isfinite(made).all() and made.min() >= 0 and made.max() <= 1
