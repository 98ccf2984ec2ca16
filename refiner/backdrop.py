"""Backgrounds that are drawn: for trainings that may use few photos, or none.

The dead leaves model (Lee, Mumford and Huang, "Occlusion Models for Natural Images", 2001): shapes
of all sizes fall onto the picture, each hiding what lay there. Where their radii follow a power law
the picture has the edges and the spectrum of a photo. Networks that restore images, trained on such
pictures alone, come near to those trained on photos (Achddou et al., "Synthetic Images as a
Regularity Prior for Image Restoration Neural Networks", 2021).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from refiner.drawing import Floats, Random, noise

#: How often the leaves would cover the picture: the bottom is hidden almost everywhere.
COVERAGE = 3.0

#: Radii have the density r⁻³ between the smallest and the largest of a picture, which makes it look
#: alike at every scale. The smallest, px, is drawn from this range: from gravel to rooms.
SMALLEST = (2.5, 40.0)

#: A leaf's area as a part of its radius squared, about: ellipses of a mean flatness of 0.6.
ROUNDNESS = 1.9


def dead_leaves(shape: tuple[int, int], rng: Random) -> NDArray[np.uint8]:
    """Draw a background, (H, W, 3) uint8 RGB; ``shape`` is (height, width) in px."""
    height, width = shape
    paints = [_paint(shape, rng) for _ in range(int(rng.integers(3, 8)))]
    picture = paints[0].copy()
    smallest = np.exp(rng.uniform(*np.log(SMALLEST)))
    largest = smallest + max(shape) * rng.uniform(0.1, 0.4)
    ratio = largest / smallest
    mean_square = 2 * smallest**2 * np.log(ratio) / (1 - ratio**-2.0)
    round_ones = rng.random()  # a scene of leaves, or of furniture
    for _ in range(round(COVERAGE * height * width / (ROUNDNESS * mean_square))):
        # The inverse of the distribution function of r⁻³.
        radius = smallest * (1 - rng.random() * (1 - ratio**-2.0)) ** -0.5
        outline = _shape(radius, rng.random() < round_ones, rng)
        outline += rng.uniform(-radius, (width + radius, height + radius), 2)
        _drop(picture, paints[rng.integers(len(paints))], outline, rng)
    if rng.random() < 0.5:  # light from one side
        light = 1 + 0.3 * rng.random() * noise(shape, max(shape), rng)
        picture *= light[..., None]
    return picture.clip(0, 255).astype(np.uint8)


def _paint(shape: tuple[int, int], rng: Random) -> Floats:
    """A colour of little saturation, as most are, with grain, waves or stripes, (H, W, 3)."""
    grey, tint = rng.uniform(20, 235), rng.standard_normal(3) * rng.choice([6, 20, 60])
    light: Floats = np.ones(shape, np.float32)
    for grain in np.exp(rng.uniform(np.log(1.5), np.log(max(shape) / 2), 3)):
        light += rng.uniform(0, 0.15) * noise(shape, grain, rng)
    if rng.random() < 0.4:
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        angle, length = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(60)))
        along = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / length)
        light += rng.uniform(0.05, 0.3) * np.sin(along + noise(shape, max(shape) / 4, rng))
    return (light[..., None] * (grey + tint)).astype(np.float32)


def _shape(radius: float, is_round: bool, rng: Random) -> Floats:
    """An outline around 0, (n, 2) of x, y: an ellipse, or a polygon of three to seven corners."""
    n = 24 if is_round else int(rng.integers(3, 8))
    angle = (np.arange(n) + (0 if is_round else rng.uniform(-0.3, 0.3, n))) * (2 * np.pi / n)
    points = np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.25, 1)], 1) * radius
    turn = rng.uniform(0, 2 * np.pi)
    turned: Floats = points @ np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    return turned


def _drop(picture: Floats, paint: Floats, outline: Floats, rng: Random) -> None:
    """Let one leaf fall: ``outline`` filled with ``paint`` in a shade of its own, in place."""
    height, width = picture.shape[:2]
    left, top = np.floor(outline.min(0)).astype(int).clip(0, (width, height))
    right, bottom = (np.ceil(outline.max(0)).astype(int) + 1).clip(0, (width, height))
    if left >= right or top >= bottom:
        return
    cover = np.zeros((bottom - top, right - left), np.float32)
    # Corners in sixteenths of a pixel and a smoothed border, as a camera would see it.
    corners = np.round((outline - (left, top)) * 16).astype(np.int32)
    cv2.fillPoly(cover, [corners], 1.0, cv2.LINE_8, 4)
    cover = cv2.blur(cover, (2, 2))[..., None]
    shade = rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    box = np.s_[top:bottom, left:right]
    picture[box] += cover * (paint[box] * shade - picture[box])
