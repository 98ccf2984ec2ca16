"""What procedural foregrounds are drawn with: noise, colours, surfaces, outlines and strands.

Everything is ``SCALE`` times too large: see :mod:`refiner.procedural`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SCALE = 4  # sub-pixels a side: a strand of 0.25 px is one sub-pixel wide

Random = np.random.Generator
Floats = NDArray[Any]  # float32 or float64, whatever NumPy makes of it
Layer = tuple[Floats, Floats]  # colour (h, w, 3) 0..255 and alpha (h, w) 0..1, enlarged


def noise(shape: tuple[int, int], grain: float, rng: Random) -> Floats:
    """Smooth noise of mean 0 and standard deviation about 1; ``grain`` is its wavelength, px."""
    h, w = (max(2, int(np.ceil(side / grain)) + 1) for side in shape)
    field = rng.standard_normal((h, w)).astype(np.float32)
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)


def random_colour(rng: Random, natural: bool = False) -> Floats:
    """Any colour, or one of hair: black over brown and red to blond and grey."""
    if not natural:
        return rng.uniform(5, 250, 3).astype(np.float32)
    light = rng.beta(1.2, 2.0)
    warm = rng.uniform(0, 1)
    tint = np.array([1.0, 1 - 0.45 * warm, 1 - 0.75 * warm])
    return np.clip(12 + 235 * light * tint, 3, 252).astype(np.float32)


def surface(shape: tuple[int, int], base: Floats, rng: Random) -> Floats:
    """A paint: colour, a gradient of light, patches and fine texture, (h, w, 3) float32."""
    big = max(shape)
    light = 1 + 0.25 * rng.uniform(0, 1) * noise(shape, big / 2, rng)
    light += 0.12 * rng.uniform(0, 1) * noise(shape, big / 24, rng)
    light += 0.10 * rng.uniform(0, 1) * noise(shape, SCALE * 2.0, rng)
    paint = light[..., None] * base
    if rng.random() < 0.5:  # a pattern of a second colour
        where = noise(shape, big / rng.uniform(3, 30), rng) > rng.uniform(-0.3, 1)
        paint[where] = light[where][:, None] * random_colour(rng)
    return np.clip(paint, 0, 255).astype(np.float32)


def outline(shape: tuple[int, int], rng: Random, rough: float = 0.15) -> Floats:
    """A closed outline around the middle, (128, 2) float32 of x, y: an ellipse with waves on it."""
    h, w = shape
    angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    radius = np.ones(128)
    for wave in range(1, 7):
        swing = rough * rng.standard_normal() / wave
        radius += swing * np.cos(wave * angle + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.4, 1.4) * rng.uniform(0.22, 0.36)
    x = w * (rng.uniform(0.42, 0.58) + radius * rng.uniform(0.8, 1.2) * np.cos(angle))
    y = h * (rng.uniform(0.45, 0.6) + radius * rng.uniform(0.8, 1.2) * np.sin(angle))
    return np.stack([x, y], 1).astype(np.float32)


def polygon(shape: tuple[int, int], points: Floats) -> Floats:
    area = np.zeros(shape, np.uint8)
    cv2.fillPoly(area, [np.round(points).astype(np.int32)], 1)
    return area.astype(np.float32)


def strands(
    colour: Floats,
    alpha: Floats,
    roots: Floats,
    headings: Floats,
    lengths: Floats,
    widths: Floats,
    paints: Floats,
    curl: float,
    bend: float,
    rng: Random,
) -> None:
    """Draw tapering strands in place; lengths and widths in sub-pixels, headings in radians."""
    steps = 14
    t = np.linspace(0, 1, steps, dtype=np.float32)
    for root, heading, length, width, paint in zip(
        roots, headings, lengths, widths, paints, strict=True
    ):
        turn = bend * rng.standard_normal() * t
        turn += curl * np.sin(t * rng.uniform(3, 12) + rng.uniform(0, 6.3))
        step = length / steps
        path = np.stack([np.cos(heading + turn), np.sin(heading + turn)], 1) * step
        points = np.round(root + np.cumsum(path, 0)).astype(np.int32)
        shade = (paint * rng.uniform(0.75, 1.3)).clip(0, 255).tolist()
        # Thick at the root, thin at the tip: three stretches of falling width.
        for first, last, part in ((0, 6, 1.0), (5, 10, 0.75), (9, steps, 0.5)):
            thick = max(1, round(width * part))
            cv2.polylines(colour, [points[first:last]], False, shade, thick)
            cv2.polylines(alpha, [points[first:last]], False, 1.0, thick)


def hairy(
    shape: tuple[int, int],
    rng: Random,
    count: int,
    length: tuple[float, float],
    width: tuple[float, float],
    spread: float,
    curl: float,
    bend: float,
    clumps: int,
    strays: int,
) -> Layer:
    """A body with strands all around; lengths as a part of the height, widths in px."""
    base = random_colour(rng, natural=rng.random() < 0.8)
    border = outline(shape, rng)
    alpha = polygon(shape, border)
    colour = surface(shape, base, rng)
    centre = border.mean(0)
    second = np.clip(base * rng.uniform(0.5, 1.6), 0, 255)

    def draw_strands(number: int, spread: float, scale: float, thin: float) -> None:
        at = rng.uniform(0, len(border), number)
        if clumps:  # strands gather where their clump begins, and follow its heading
            heart = rng.uniform(0, len(border), clumps)
            at = heart[rng.integers(0, clumps, number)] + rng.standard_normal(number) * 0.8
        index = at.astype(int) % len(border)
        out = border[index] - centre
        common = np.repeat(rng.standard_normal(1 + len(border) // 8), 8)[: len(border)]
        heading = np.arctan2(out[:, 1], out[:, 0]) + spread * rng.standard_normal(number)
        heading += 0.6 * common[index]  # neighbours lean the same way
        inset = rng.uniform(0.8, 1.0, (number, 1))  # rooted a little inside
        roots = centre + out * inset + rng.standard_normal((number, 2)) * SCALE * 2
        mix = rng.uniform(0, 1, (number, 1))
        lengths = rng.uniform(*length, number) * shape[0] * scale
        widths = rng.uniform(*width, number) * SCALE * thin
        paints = base * mix + second * (1 - mix)
        roots = roots.astype(np.float32)
        strands(colour, alpha, roots, heading, lengths, widths, paints, curl, bend, rng)

    draw_strands(count, spread, 1.0, 1.0)
    draw_strands(strays, spread * 2.5, 1.3, 0.6)
    return colour, alpha


def lattice(shape: tuple[int, int], rng: Random) -> Layer:
    """Posts and crossed braces: towers, fences, scaffolds, wire shelves."""
    h, w = shape
    colour, alpha = surface(shape, random_colour(rng), rng), np.zeros(shape, np.float32)
    wide, high = w * rng.uniform(0.15, 0.7), h * rng.uniform(0.6, 1.0)
    left, top = (w - wide) * rng.random(), (h - high) * rng.random()
    posts, floors = int(rng.integers(2, 6)), int(rng.integers(3, 16))
    narrow = rng.uniform(0.2, 1.0)  # of the width, at the top
    down = np.linspace(0, 1, floors + 1)
    half = wide / 2 * (narrow + (1 - narrow) * down)
    across = np.linspace(-1, 1, posts)
    joints = np.stack(
        [
            left + wide / 2 + half[:, None] * across,
            np.broadcast_to(top + high * down[:, None], (floors + 1, posts)),
        ],
        2,
    )
    lines = [(joints[i, j], joints[i + 1, j]) for i in range(floors) for j in range(posts)]
    lines += [(joints[i, 0], joints[i, -1]) for i in range(floors + 1)]
    if rng.random() < 0.8:
        for i in range(floors):
            for j in range(posts - 1):
                lines.append((joints[i, j], joints[i + 1, j + 1]))
                lines.append((joints[i, j + 1], joints[i + 1, j]))
    thick = max(1, round(SCALE * rng.uniform(0.4, 4)))
    for a, b in lines:
        start, end = (tuple(int(v) for v in np.round(p)) for p in (a, b))
        cv2.line(alpha, start, end, 1.0, thick)
    return colour, alpha
