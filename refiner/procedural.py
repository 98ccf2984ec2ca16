"""Procedural foregrounds with exact alpha: what no folder of cutouts holds enough of.

Everything is drawn ``SCALE`` times too large without anti-aliasing, and averaged down: the alpha of
a pixel is the part of it that is covered, and its colour the mean of what covers it. Strands of a
third of a pixel, meshes, glass and defocused rims thus have the alpha that a camera would record.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from refiner.composite import blur
from refiner.drawing import (
    SCALE,
    Floats,
    Layer,
    Random,
    hairy,
    lattice,
    noise,
    outline,
    polygon,
    random_colour,
    strands,
    surface,
)  # fmt: skip


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


def _hair(shape: tuple[int, int], rng: Random) -> Layer:
    return hairy(
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
    return hairy(
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


def _whiskers(shape: tuple[int, int], rng: Random) -> Layer:
    """A furry body with few, long and stiff strands, of a colour of their own."""
    colour, alpha = _fur(shape, rng)
    number = int(rng.integers(8, 60))
    inside = np.argwhere(alpha > 0)
    roots = inside[rng.integers(0, len(inside), number)][:, ::-1].astype(np.float32)
    if rng.random() < 0.6:  # from a place on either side, as of a muzzle
        heart = roots[rng.integers(0, 2, number)]
        roots = heart + rng.standard_normal((number, 2)).astype(np.float32) * shape[0] * 0.03
    headings = rng.choice([0.0, np.pi], number) + rng.normal(0, 0.5, number)
    lengths = rng.uniform(0.15, 0.6, number) * shape[0]
    widths = rng.uniform(0.3, rng.uniform(0.6, 1.8), number) * SCALE
    base = np.full(3, rng.choice([20.0, 245.0])) if rng.random() < 0.7 else random_colour(rng)
    paints = np.tile(base, (number, 1)) * rng.uniform(0.8, 1.05, (number, 1))
    strands(colour, alpha, roots, headings, lengths, widths, paints, 0.05, 0.4, rng)
    return colour, alpha


def _lace(shape: tuple[int, int], rng: Random) -> Layer:
    border = outline(shape, rng)
    inside = polygon(shape, border)
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
            net, noise(shape, pitch * rng.uniform(1.5, 6), rng) > rng.uniform(0.4, 1.5)
        )
    alpha = net * inside
    hem = [np.round(border).astype(np.int32)]
    cv2.polylines(alpha, hem, True, 1.0, round(SCALE * rng.uniform(1, 8)))
    if rng.random() < 0.5:  # part of the cloth is dense
        alpha = np.maximum(alpha, inside * (noise(shape, max(shape) / 3, rng) > 0.3))
    return surface(shape, random_colour(rng), rng), alpha.astype(np.float32)


def _feather(shape: tuple[int, int], rng: Random) -> Layer:
    h, w = shape
    base = random_colour(rng)
    colour, alpha = surface(shape, base, rng), np.zeros(shape, np.float32)
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
        strands(
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
    border = outline(shape, rng, 0.06)
    inside = polygon(shape, border)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    rim = np.exp(-depth / (SCALE * rng.uniform(1, 10)))
    body = rng.uniform(0.03, 0.55) * (1 + 0.2 * noise(shape, max(shape) / 4, rng))
    alpha = inside * np.clip(body + rim * rng.uniform(0.3, 1), 0, 1)
    shine = np.clip(noise(shape, max(shape) / 8, rng) * 2 - 2.5, 0, 1) * inside
    base = (
        random_colour(rng) if rng.random() < 0.5 else np.full(3, rng.uniform(120, 250), np.float32)
    )
    colour = surface(shape, base, rng)
    colour += shine[..., None] * (250 - colour)
    return colour, np.maximum(alpha, shine).astype(np.float32)


def _smoke(shape: tuple[int, int], rng: Random) -> Layer:
    inside = blur(polygon(shape, outline(shape, rng)), max(shape) / 25)
    cloud = sum(noise(shape, max(shape) / 2**k, rng) / 1.7**k for k in range(1, 7))
    alpha = inside * np.clip(0.5 + rng.uniform(0.2, 0.6) * cloud, 0, 1)
    base = np.full(3, rng.uniform(20, 250), np.float32) + rng.uniform(-10, 10, 3)
    return surface(shape, np.clip(base, 0, 255).astype(np.float32), rng), alpha.astype(np.float32)


def _product(shape: tuple[int, int], rng: Random) -> Layer:
    """Hard-edged things: boxes, discs and waves, with holes, handles and cables."""
    h, w = shape
    alpha = np.zeros(shape, np.float32)
    colour = surface(shape, random_colour(rng), rng)
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.4:
            points = outline(shape, rng, 0.08)
        else:
            middle = (w * rng.uniform(0.35, 0.65), h * rng.uniform(0.35, 0.65))
            sides = (w * rng.uniform(0.15, 0.6), h * rng.uniform(0.15, 0.6))
            points = cv2.boxPoints((middle, sides, rng.uniform(0, 90)))
        part = polygon(shape, points)
        if rng.random() < 0.5:  # rounded corners
            part = _opened(part, round(SCALE * rng.uniform(2, 12)))
        colour[part > 0] = surface(shape, random_colour(rng), rng)[part > 0]
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
        cv2.polylines(colour, [path], False, random_colour(rng).tolist(), thick)
    return colour, alpha


def _opened(area: Floats, radius: float) -> Floats:
    """Open an area of 0 and 1 by a disc, by distances: the time does not grow with the disc."""
    inside = _distance(area) > radius
    return (_distance(1 - inside) <= radius).astype(np.float32)


def _distance(area: Floats) -> Floats:
    """The distance of each pixel that is not 0 from the nearest 0, px."""
    return cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


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
    "whiskers": _whiskers,
    "lattice": lattice,
    "lace": _lace,
    "feather": _feather,
    "glass": _glass,
    "smoke": _smoke,
    "product": _product,
    "defocus": _defocus,
}

#: The kinds of foregrounds that :func:`sample` draws.
KINDS = tuple(_DRAW)
