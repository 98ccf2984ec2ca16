"""The photo seen from farther off, before its edge is redrawn."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import glance
from tests.networks import Function


def photo(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.float32)
    mask[height // 3 :, width // 3 :] = 1
    return image, mask


def same(patches: np.ndarray) -> np.ndarray:
    return patches[:, [3, 0, 1, 2]]


def everywhere(mask: np.ndarray) -> np.ndarray:
    return np.ones(mask.shape, bool)


@pytest.mark.parametrize("roi", [np.zeros((900, 900), bool), np.ones((204, 180), bool)])
def test_a_small_photo_and_one_without_an_edge_are_not_looked_at(roi: np.ndarray) -> None:
    session = Function(same)
    image, mask = photo(*roi.shape)
    assert glance.guide(session, image, mask, roi) is mask
    assert session.batches == []


def test_photos_are_looked_at_from_as_far_off_as_they_are_large() -> None:
    whole, nearer = glance.LOOKS[0], glance.LOOKS[-1]
    assert glance.looks(204, 100) == ()
    assert glance.looks(205, 100) == (whole,) == glance.looks(614, 614)
    assert glance.looks(100, 615) == (whole, nearer)
    assert (whole.side, nearer.side) == (128, 384)


@pytest.mark.parametrize(
    ("shape", "batches"),
    [
        ((256, 330), [1]),
        ((900, 400), [1, 8]),
        ((5000, 3), [1, 4]),
        ((1, 4000), [1, 4]),
    ],
)
def test_the_whole_photo_is_one_patch_and_no_change_is_none(
    shape: tuple[int, int], batches: list[int]
) -> None:
    seen = []

    def watch(patches: np.ndarray) -> np.ndarray:
        seen.append(patches)
        return same(patches)

    session = Function(watch)
    image, mask = photo(*shape)
    guided = glance.guide(session, image, mask, everywhere(mask))
    np.testing.assert_array_equal(guided, mask)
    assert session.batches == batches and seen[0].shape == (1, 4, 128, 128)
    if min(shape) > 128:
        assert abs(seen[0][0, 3].mean() - 4 / 9) < 0.1  # all of the subject
        assert abs(seen[0][0, :3].mean() - image.mean() / 255) < 0.02


def test_patches_from_nearer_by_lie_on_the_edge_and_come_in_batches() -> None:
    image, mask = photo(1200, 1200)
    roi = np.zeros(mask.shape, bool)
    roi[380:420, 400:] = roi[400:, 380:420] = True
    session = Function(same)
    glance.guide(session, image, mask, roi, batch=2)
    assert max(session.batches) == 2
    assert 3 <= sum(session.batches) - 1 <= 6  # of the 16 that the whole would take


def test_a_look_begins_where_the_one_before_ended() -> None:
    image, mask = photo(1024, 1024)

    def further(patches: np.ndarray) -> np.ndarray:
        answer = same(patches).copy()
        answer[:, 0] = np.minimum(answer[:, 0] + 0.25, 1)
        return answer

    guided = glance.guide(Function(further), image, mask, everywhere(mask))
    assert abs(guided[10, 10] - 0.25 * len(glance.LOOKS)) < 1e-6


def test_a_change_lands_where_it_was_seen_without_its_details() -> None:
    image, mask = photo(512, 512)

    def mend(patches: np.ndarray) -> np.ndarray:
        answer = same(patches).copy()
        answer[:, 0, :30, 90:] = 1.0  # what stage 1 left out: top right
        answer[:, 0, 100, 100] = 0.0  # a single pixel: a detail
        return answer

    guided = glance.guide(Function(mend), image, mask, everywhere(mask))
    assert guided.dtype == np.float32 and guided.shape == mask.shape
    assert guided[20, 490] > 0.9 and guided[20, 20] == 0
    assert guided[100 * 4 + 2, 100 * 4 + 2] > 0.9
    assert guided.min() >= 0 and guided.max() <= 1
