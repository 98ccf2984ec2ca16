"""Procedural foregrounds with exact alpha: what no folder of cutouts holds enough of.

Everything is drawn ``SCALE`` times too large without anti-aliasing, and averaged down: the alpha of
a pixel is the part of it that is covered, and its colour the mean of what covers it. Strands of a
third of a pixel, meshes, glass and defocused rims thus have the alpha that a camera would record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refiner.composite import blur

SCALE = 4  # sub-pixels a side: a strand of 0.25 px is one sub-pixel wide

Random = np.random.Generator
Floats = NDArray[Any]  # float32 or float64, whatever NumPy makes of it
Layer = tuple[Floats, Floats]  # colour (h, w, 3) 0..255 and alpha (h, w) 0..1, enlarged


def sample(
    kind: str, size: tuple[int, int], rng: Random
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw a foreground.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    size
        (height, width) in px, at least 32 each.
    rng
        Source of all randomness: the same generator state draws the same picture.

    Returns
    -------
    foreground : (H, W, 3) uint8 straight RGB, defined (as a plain colour) where alpha is 0, too.
    alpha : (H, W) float32 in 0..1.

    Raises
    ------
    KeyError
        ``kind`` is not in :data:`KINDS`.
    """
    draw = _DRAW[kind]
    large = (size[0] * SCALE, size[1] * SCALE)
    colour, alpha = draw(large, rng)
    return _reduce(colour, alpha, size)


def _reduce(
    colour: Floats, alpha: Floats, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Average colour (weighted by alpha) and alpha over SCALE × SCALE sub-pixels."""
    to = size[::-1]
    small = cv2.resize(alpha, to, interpolation=cv2.INTER_AREA)
    paint = cv2.resize(colour * alpha[..., None], to, interpolation=cv2.INTER_AREA)
    plain = cv2.resize(colour, to, interpolation=cv2.INTER_AREA)
    straight = np.where(small[..., None] > 1e-3, paint / np.maximum(small, 1e-3)[..., None], plain)
    return np.clip(straight + 0.5, 0, 255).astype(np.uint8), np.clip(small, 0, 1).astype(np.float32)


# -- building blocks -------------------------------------------------------------------------------


def _noise(shape: tuple[int, int], grain: float, rng: Random) -> Floats:
    """Smooth noise of mean 0 and standard deviation about 1; ``grain`` is its wavelength, px."""
    h, w = (max(2, int(np.ceil(side / grain)) + 1) for side in shape)
    field = rng.standard_normal((h, w)).astype(np.float32)
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _colour(rng: Random, natural: bool = False) -> Floats:
    """Any colour, or one of hair: black over brown and red to blond and grey."""
    if not natural:
        return rng.uniform(5, 250, 3).astype(np.float32)
    light = rng.beta(1.2, 2.0)
    warm = rng.uniform(0, 1)
    tint = np.array([1.0, 1 - 0.45 * warm, 1 - 0.75 * warm])
    return np.clip(12 + 235 * light * tint, 3, 252).astype(np.float32)


def _fill(shape: tuple[int, int], base: Floats, rng: Random) -> Floats:
    """A surface: colour, a gradient of light, patches and fine texture, (h, w, 3) float32."""
    big = max(shape)
    light = 1 + 0.25 * rng.uniform(0, 1) * _noise(shape, big / 2, rng)
    light += 0.12 * rng.uniform(0, 1) * _noise(shape, big / 24, rng)
    light += 0.10 * rng.uniform(0, 1) * _noise(shape, SCALE * 2.0, rng)
    surface = light[..., None] * base
    if rng.random() < 0.5:  # a pattern of a second colour
        where = _noise(shape, big / rng.uniform(3, 30), rng) > rng.uniform(-0.3, 1)
        surface[where] = light[where][:, None] * _colour(rng)
    return np.clip(surface, 0, 255).astype(np.float32)


def _outline(shape: tuple[int, int], rng: Random, rough: float = 0.15) -> Floats:
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


def _polygon(shape: tuple[int, int], points: Floats) -> Floats:
    area = np.zeros(shape, np.uint8)
    cv2.fillPoly(area, [np.round(points).astype(np.int32)], 1)
    return area.astype(np.float32)


def _strands(
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


def _hairy(
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
    base = _colour(rng, natural=rng.random() < 0.8)
    outline = _outline(shape, rng)
    alpha = _polygon(shape, outline)
    colour = _fill(shape, base, rng)
    centre = outline.mean(0)
    second = np.clip(base * rng.uniform(0.5, 1.6), 0, 255)

    def strands(number: int, spread: float, scale: float, thin: float) -> None:
        at = rng.uniform(0, len(outline), number)
        if clumps:  # strands gather where their clump begins, and follow its heading
            heart = rng.uniform(0, len(outline), clumps)
            at = heart[rng.integers(0, clumps, number)] + rng.standard_normal(number) * 0.8
        index = at.astype(int) % len(outline)
        out = outline[index] - centre
        common = np.repeat(rng.standard_normal(1 + len(outline) // 8), 8)[: len(outline)]
        heading = np.arctan2(out[:, 1], out[:, 0]) + spread * rng.standard_normal(number)
        heading += 0.6 * common[index]  # neighbours lean the same way
        inset = rng.uniform(0.8, 1.0, (number, 1))  # rooted a little inside
        roots = centre + out * inset + rng.standard_normal((number, 2)) * SCALE * 2
        mix = rng.uniform(0, 1, (number, 1))
        lengths = rng.uniform(*length, number) * shape[0] * scale
        widths = rng.uniform(*width, number) * SCALE * thin
        paints = base * mix + second * (1 - mix)
        roots = roots.astype(np.float32)
        _strands(colour, alpha, roots, heading, lengths, widths, paints, curl, bend, rng)

    strands(count, spread, 1.0, 1.0)
    strands(strays, spread * 2.5, 1.3, 0.6)
    return colour, alpha


# -- the kinds -------------------------------------------------------------------------------------


def _hair(shape: tuple[int, int], rng: Random) -> Layer:
    return _hairy(
        shape,
        rng,
        count=int(rng.integers(200, 900)),
        length=(0.06, rng.uniform(0.15, 0.4)),
        width=(0.3, rng.uniform(0.6, 3.0)),
        spread=rng.uniform(0.1, 0.6),
        curl=rng.choice([0.1, 0.4, 1.0, 1.8]),
        bend=rng.uniform(0.2, 1.5),
        clumps=int(rng.choice([0, 20, 60])),
        strays=int(rng.integers(10, 120)),
    )


def _fur(shape: tuple[int, int], rng: Random) -> Layer:
    return _hairy(
        shape,
        rng,
        count=int(rng.integers(800, 2500)),
        length=(0.01, rng.uniform(0.04, 0.1)),
        width=(0.3, rng.uniform(0.5, 1.5)),
        spread=rng.uniform(0.2, 0.8),
        curl=rng.uniform(0, 0.6),
        bend=rng.uniform(0.1, 0.8),
        clumps=0,
        strays=int(rng.integers(0, 200)),
    )


def _lace(shape: tuple[int, int], rng: Random) -> Layer:
    outline = _outline(shape, rng)
    inside = _polygon(shape, outline)
    pitch = SCALE * rng.uniform(3, 24)
    thread = max(1, round(SCALE * rng.uniform(0.3, 2.5)))
    net = np.zeros(shape, np.float32)
    h, w = shape
    tilt = rng.uniform(-0.6, 0.6)
    reach = int((h + w) / pitch) + 2
    crossing = tilt + rng.uniform(0.8, 1.57)
    wave, period = rng.uniform(0, 0.5) * pitch, rng.uniform(2, 8) * pitch
    along = np.linspace(-(h + w), h + w, 160)
    for heading in (tilt, crossing):
        unit = np.array([np.cos(heading), np.sin(heading)])
        side = np.array([-unit[1], unit[0]])
        for line in range(-reach, reach):
            shift = line * pitch + wave * np.sin(along / period * 6.3 + line * np.pi)
            path = np.array([w / 2, h / 2]) + along[:, None] * unit + shift[:, None] * side
            cv2.polylines(net, [np.round(path).astype(np.int32)], False, 1.0, thread)
    if rng.random() < 0.6:  # flowers and dots of solid cloth
        net = np.maximum(
            net, _noise(shape, pitch * rng.uniform(1.5, 6), rng) > rng.uniform(0.4, 1.5)
        )
    alpha = net * inside
    hem = [np.round(outline).astype(np.int32)]
    cv2.polylines(alpha, hem, True, 1.0, round(SCALE * rng.uniform(1, 8)))
    if rng.random() < 0.5:  # part of the cloth is dense
        alpha = np.maximum(alpha, inside * (_noise(shape, max(shape) / 3, rng) > 0.3))
    return _fill(shape, _colour(rng), rng), alpha.astype(np.float32)


def _feather(shape: tuple[int, int], rng: Random) -> Layer:
    h, w = shape
    base = _colour(rng)
    colour, alpha = _fill(shape, base, rng), np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        t = np.linspace(0, 1, 120, dtype=np.float32)
        start = np.array([w * rng.uniform(0.3, 0.7), h * rng.uniform(0.75, 0.95)])
        heading = -np.pi / 2 + rng.uniform(-0.7, 0.7) + rng.uniform(-0.7, 0.7) * t
        step = h * rng.uniform(0.5, 0.75) / len(t)
        spine = start + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * step, 0)
        shape_of = np.sin(np.pi * t**0.7).clip(0) ** 0.6 * h * rng.uniform(0.06, 0.16)
        number = int(rng.integers(150, 500))
        at = rng.integers(4, len(t), number)
        side = rng.choice([-1.0, 1.0], number)
        lean = side * rng.uniform(0.5, 1.0) + 0.12 * rng.standard_normal(number)
        paints = np.tile(np.clip(base * rng.uniform(0.6, 1.4), 0, 255), (number, 1))
        _strands(
            colour,
            alpha,
            spine[at].astype(np.float32),
            heading[at] + lean,
            shape_of[at] * rng.uniform(0.8, 1.05, number),
            rng.uniform(0.4, 2.0, number) * SCALE,
            paints,
            0.05,
            0.25,
            rng,
        )
        thick = round(SCALE * rng.uniform(1, 3))
        cv2.polylines(alpha, [np.round(spine).astype(np.int32)], False, 1.0, thick)
    return colour, alpha


def _glass(shape: tuple[int, int], rng: Random) -> Layer:
    outline = _outline(shape, rng, 0.06)
    inside = _polygon(shape, outline)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    rim = np.exp(-depth / (SCALE * rng.uniform(1, 10)))
    body = rng.uniform(0.03, 0.55) * (1 + 0.2 * _noise(shape, max(shape) / 4, rng))
    alpha = inside * np.clip(body + rim * rng.uniform(0.3, 1), 0, 1)
    shine = np.clip(_noise(shape, max(shape) / 8, rng) * 2 - 2.5, 0, 1) * inside
    base = _colour(rng) if rng.random() < 0.5 else np.full(3, rng.uniform(120, 250), np.float32)
    colour = _fill(shape, base, rng)
    colour += shine[..., None] * (250 - colour)
    return colour, np.maximum(alpha, shine).astype(np.float32)


def _smoke(shape: tuple[int, int], rng: Random) -> Layer:
    inside = blur(_polygon(shape, _outline(shape, rng)), max(shape) / 25)
    cloud = sum(_noise(shape, max(shape) / 2**k, rng) / 1.7**k for k in range(1, 7))
    alpha = inside * np.clip(0.5 + rng.uniform(0.2, 0.6) * cloud, 0, 1)
    base = np.full(3, rng.uniform(20, 250), np.float32) + rng.uniform(-10, 10, 3)
    return _fill(shape, np.clip(base, 0, 255).astype(np.float32), rng), alpha.astype(np.float32)


def _product(shape: tuple[int, int], rng: Random) -> Layer:
    """Hard-edged things: boxes, discs and waves, with holes, handles and cables."""
    h, w = shape
    alpha = np.zeros(shape, np.float32)
    colour = _fill(shape, _colour(rng), rng)
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.4:
            points = _outline(shape, rng, 0.08)
        else:
            middle = (w * rng.uniform(0.35, 0.65), h * rng.uniform(0.35, 0.65))
            sides = (w * rng.uniform(0.15, 0.6), h * rng.uniform(0.15, 0.6))
            points = cv2.boxPoints((middle, sides, rng.uniform(0, 90)))
        part = _polygon(shape, points)
        if rng.random() < 0.5:  # rounded corners
            size = round(SCALE * rng.uniform(2, 12)) * 2 + 1
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
            part = cv2.morphologyEx(part, cv2.MORPH_OPEN, kernel)
        colour[part > 0] = _fill(shape, _colour(rng), rng)[part > 0]
        alpha = np.maximum(alpha, part)
    for _ in range(int(rng.integers(0, 6))):  # slots and holes
        middle = (round(w * rng.uniform(0.3, 0.7)), round(h * rng.uniform(0.3, 0.7)))
        axes = (round(w * rng.uniform(0.005, 0.08)), round(h * rng.uniform(0.005, 0.08)))
        cv2.ellipse(alpha, middle, axes, rng.uniform(0, 180), 0, 360, 0.0, -1)
    for _ in range(int(rng.integers(0, 4))):  # handles, cables, legs
        knots = rng.uniform(0.1, 0.9, (4, 2)) * (w, h)
        t = np.linspace(0, 1, 60)[:, None]
        basis = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        path = np.round(sum(b * k for b, k in zip(basis, knots, strict=True))).astype(np.int32)
        thick = round(SCALE * rng.uniform(0.5, 8))
        cv2.polylines(alpha, [path], False, 1.0, thick)
        cv2.polylines(colour, [path], False, _colour(rng).tolist(), thick)
    return colour, alpha


def _defocus(shape: tuple[int, int], rng: Random) -> Layer:
    """A thing out of focus on one side: its blur grows from there to here."""
    colour, alpha = (_product if rng.random() < 0.6 else _hair)(shape, rng)
    radius = SCALE * rng.uniform(1.0, 6.0)
    paint = np.dstack([colour * alpha[..., None], alpha])
    soft = blur(paint, radius)
    ramp = np.linspace(0, 1, shape[1], dtype=np.float32)
    mix = ramp if rng.random() < 0.5 else np.ones_like(ramp)
    paint = (paint + mix[None, :, None] * (soft - paint)).astype(np.float32)
    cover = paint[..., 3]
    straight = paint[..., :3] / np.maximum(cover, 1e-3)[..., None]
    return np.where(cover[..., None] > 1e-3, straight, colour).astype(np.float32), cover


_DRAW: dict[str, Callable[[tuple[int, int], Random], Layer]] = {
    "hair": _hair,
    "fur": _fur,
    "lace": _lace,
    "feather": _feather,
    "glass": _glass,
    "smoke": _smoke,
    "product": _product,
    "defocus": _defocus,
}

#: The kinds of foregrounds that :func:`sample` draws.
KINDS = tuple(_DRAW)
