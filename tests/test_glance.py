"""The whole photo as one patch, before its edge is redrawn."""

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


def test_a_photo_that_patches_show_well_enough_is_not_looked_at() -> None:
    session = Function(same)
    image, mask = photo(255, 200)
    assert glance.guide(session, image, mask) is mask
    assert session.batches == []


@pytest.mark.parametrize("shape", [(256, 300), (900, 400), (5000, 3), (1, 4000)])
def test_the_whole_photo_is_one_patch_and_no_change_is_none(shape: tuple[int, int]) -> None:
    seen = []

    def watch(patches: np.ndarray) -> np.ndarray:
        seen.append(patches)
        return same(patches)

    session = Function(watch)
    image, mask = photo(*shape)
    guided = glance.guide(session, image, mask)
    np.testing.assert_array_equal(guided, mask)
    assert session.batches == [1] * glance.LOOKS and seen[0].shape == (1, 4, 128, 128)
    if min(shape) > 128:
        assert abs(seen[0][0, 3].mean() - 4 / 9) < 0.1  # all of the subject
        assert abs(seen[0][0, :3].mean() - image.mean() / 255) < 0.02


def test_a_second_look_begins_where_the_first_one_ended() -> None:
    image, mask = photo(512, 512)

    def further(patches: np.ndarray) -> np.ndarray:
        answer = same(patches).copy()
        answer[:, 0] = np.minimum(answer[:, 0] + 0.25, 1)
        return answer

    guided = glance.guide(Function(further), image, mask)
    assert abs(guided[10, 10] - 0.25 * glance.LOOKS) < 1e-6


def test_a_change_lands_where_it_was_seen_without_its_details() -> None:
    image, mask = photo(512, 512)

    def mend(patches: np.ndarray) -> np.ndarray:
        answer = same(patches).copy()
        answer[:, 0, :30, 90:] = 1.0  # what stage 1 left out: top right
        answer[:, 0, 100, 100] = 0.0  # a single pixel: a detail
        return answer

    guided = glance.guide(Function(mend), image, mask)
    assert guided.dtype == np.float32 and guided.shape == mask.shape
    assert guided[20, 490] > 0.9 and guided[20, 20] == 0
    assert guided[100 * 4 + 2, 100 * 4 + 2] > 0.9
    assert guided.min() >= 0 and guided.max() <= 1
