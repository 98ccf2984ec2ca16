"""The coarse mask is corrected at smaller scales before its edge is redrawn."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import multiscale
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
def test_a_small_photo_and_one_without_an_edge_need_no_correction(roi: np.ndarray) -> None:
    session = Function(same)
    image, mask = photo(*roi.shape)
    assert multiscale.correct(session, image, mask, roi) is mask
    assert session.batches == []


def test_a_larger_photo_is_seen_at_more_scales() -> None:
    whole, near = multiscale.SCALES[0], multiscale.SCALES[-1]
    assert multiscale.scales(204, 100) == ()
    assert multiscale.scales(205, 100) == (whole,) == multiscale.scales(614, 614)
    assert multiscale.scales(100, 615) == (whole, near)
    assert (whole.side, near.side) == (128, 384)


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
    corrected = multiscale.correct(session, image, mask, everywhere(mask))
    np.testing.assert_array_equal(corrected, mask)
    assert session.batches == batches and seen[0].shape == (1, 4, 128, 128)
    if min(shape) > 128:
        assert abs(seen[0][0, 3].mean() - 4 / 9) < 0.1  # all of the subject
        assert abs(seen[0][0, :3].mean() - image.mean() / 255) < 0.02


def test_patches_of_the_second_scale_lie_on_the_edge_and_come_in_batches() -> None:
    image, mask = photo(1200, 1200)
    roi = np.zeros(mask.shape, bool)
    roi[380:420, 400:] = roi[400:, 380:420] = True
    session = Function(same)
    multiscale.correct(session, image, mask, roi, batch=2)
    assert max(session.batches) == 2
    assert 3 <= sum(session.batches) - 1 <= 6  # of the 16 that the whole would take


def test_a_scale_begins_where_the_one_before_ended() -> None:
    image, mask = photo(1024, 1024)

    def further(patches: np.ndarray) -> np.ndarray:
        answer = same(patches).copy()
        answer[:, 0] = np.minimum(answer[:, 0] + 0.25, 1)
        return answer

    corrected = multiscale.correct(Function(further), image, mask, everywhere(mask))
    assert abs(corrected[10, 10] - 0.25 * len(multiscale.SCALES)) < 1e-6


def test_a_change_lands_where_it_was_seen_without_its_details() -> None:
    image, mask = photo(512, 512)

    def mend(patches: np.ndarray) -> np.ndarray:
        answer = same(patches).copy()
        answer[:, 0, :30, 90:] = 1.0  # what stage 1 left out: top right
        answer[:, 0, 100, 100] = 0.0  # a single pixel: a detail
        return answer

    corrected = multiscale.correct(Function(mend), image, mask, everywhere(mask))
    assert corrected.dtype == np.float32 and corrected.shape == mask.shape
    assert corrected[20, 490] > 0.9 and corrected[20, 20] == 0
    assert corrected[100 * 4 + 2, 100 * 4 + 2] > 0.9
    assert corrected.min() >= 0 and corrected.max() <= 1
