"""Pictures made of two, for a teacher to answer: far more of them than there are photos.

No such picture is a photo, but every answer of a teacher says something of what it does (function
matching; Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR
2022).
"""

from __future__ import annotations

import cv2
import numpy as np

from u2net.dataset import Prepared, augment


def merge(
    rng: np.random.Generator, image: np.ndarray, other: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Merge two pictures, (S, S, 3) uint8: laid over each other, side by side, or the subject of
    ``other`` (its ``mask`` (S, S) uint8; the whole picture where that is empty) put on ``image``.
    """
    side = len(image)
    way = rng.random()
    if way < 0.35:
        share = rng.uniform(0.5, 1)
        return cv2.addWeighted(image, share, other, 1 - share, 0)
    image = image.copy()
    if way < 0.55:
        cut = rng.integers(side // 4, 3 * side // 4)
        image[:, :cut] = other[:, :cut]
        return image
    h, w = (int(side * rng.uniform(0.25, 0.8)) for _ in range(2))
    y, x = rng.integers(0, side - h + 1), rng.integers(0, side - w + 1)
    small = cv2.resize(other, (w, h), interpolation=cv2.INTER_AREA)
    share = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA)[..., None] / np.float32(255)
    if not mask.any():
        share = np.ones_like(share)
    place = image[y : y + h, x : x + w]
    place[:] = np.rint(share * small + (1 - share) * place)
    return image


def tilt(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a picture (S, S, 3) and its mask (S, S) by up to 25°, shear and shrink them by up
    to three tenths, mirrored beyond the border."""
    side = len(image)
    corners = np.array([(0, 0), (side, 0), (0, side)], np.float32)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-25, 25), rng.uniform(0.7, 1))
    moved = corners @ turn[:, :2].T + turn[:, 2] + rng.normal(0, 0.04 * side, (3, 2))
    matrix = cv2.getAffineTransform(corners, moved.astype(np.float32))
    border = cv2.BORDER_REFLECT
    return (
        cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border),
        cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border),
    )


def draw(
    prepared: Prepared, probs: np.ndarray, seed: int, index: int, size: int, strength: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw a picture (3, size, size) uint8, truth (size, size) float32 0..1, has_truth 0 or 1.

    Half of them are joined from two, and have no truth; a third are tilted. A pure function of its
    arguments; ``probs`` (N,) is the probability of each picture of ``prepared``.
    """
    rng = np.random.default_rng((seed, index))
    chosen = rng.choice(len(prepared), 2, p=probs)
    first, second = (prepared.pack[k] for k in chosen)
    image, mask = augment(rng, first[..., :3], first[..., 3], size, strength)
    has_truth = float(prepared.has_truth[chosen[0]])
    if rng.random() < 0.5:
        other = augment(rng, second[..., :3], second[..., 3], size, strength)
        image, has_truth = merge(rng, image, *other), 0.0
    if rng.random() < 0.33:
        image, mask = tilt(rng, image, mask)
    return image.transpose(2, 0, 1), mask / np.float32(255), has_truth
