"""Drawn alphas: hair, fur, lace, glass and hard edges.

Each is drawn at four times the size and averaged down, so that the alpha is area coverage.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

SUPER = 4  # samples a pixel along each side: 16 levels of coverage a stroke
_FIXED = 4  # fractional bits of OpenCV's fixed-point coordinates

Canvas = NDArray[np.uint8]
Points = NDArray[np.float64]


def _hair(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A bust with loose hair: clumps, curl and fly-aways of 0.3 to 1.5 px."""
    canvas, unit = _canvas(size)
    height, width = canvas.shape
    centre = np.array([width * rng.uniform(0.45, 0.55), height * 0.42])
    head = unit * rng.uniform(0.15, 0.18)
    shoulders = _ellipse(centre + [0, head * 3.4], head * 2.4, head * 1.8)
    for shape in (_ellipse(centre, head, head * 1.25), shoulders):
        _fill(canvas, shape)
    neck = centre + [0, head * 1.2]
    _fill(canvas, _ellipse(neck, head * 0.5, head * 0.9))
    for _ in range(90):  # clumps share a root, a direction and a curl
        angle = rng.uniform(-np.pi * 1.12, np.pi * 0.12)
        root = centre + head * np.array([np.cos(angle), 1.2 * np.sin(angle)]) * 0.95
        lean, curl = angle + rng.normal(0, 0.35), rng.normal(0, 1.6)
        length = head * rng.uniform(0.5, 1.5)
        for _ in range(16):
            _strand(
                canvas,
                root + rng.normal(0, head * 0.05, 2),
                lean + rng.normal(0, 0.14),
                length * rng.uniform(0.6, 1.2),
                curl + rng.normal(0, 0.5),
                rng.uniform(0.3, 1.5) * size[0] / 480,
                fall=0.9,
            )
    return _down(canvas)


def _fur(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """An animal: body, head and ears, with short dense fur along the whole outline."""
    canvas, unit = _canvas(size)
    height, width = canvas.shape
    side = rng.choice([-1, 1])
    body = np.array([width * 0.5, height * 0.62])
    head = body + unit * np.array([side * 0.24, -0.24])
    shapes = [
        _ellipse(body, unit * 0.33, unit * 0.24),
        _ellipse(head, unit * 0.17, unit * 0.16),
        *(_ellipse(head + unit * np.array([dx, -0.15]), unit * 0.05, unit * 0.09)
          for dx in (-0.1, 0.1)),
        *(_ellipse(body + unit * np.array([dx, 0.24]), unit * 0.06, unit * 0.13)
          for dx in (-0.2, 0.18)),
    ]  # fmt: skip
    for shape in shapes:
        _fill(canvas, shape)
    outline, _ = cv2.findContours(canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = max(outline, key=len)[:, 0].astype(float)
    slope = cv2.blur(np.roll(edge, -25, 0) - np.roll(edge, 25, 0), (1, 41))
    for i in rng.integers(0, len(edge), len(edge) // 2):
        outward = np.arctan2(slope[i, 1], slope[i, 0]) + np.pi / 2
        inside = edge[i] - 3 * SUPER * np.array([np.cos(outward), np.sin(outward)])
        _strand(
            canvas,
            inside,
            outward + rng.normal(0.5 * side, 0.35),
            unit * rng.uniform(0.015, 0.055),
            rng.normal(0, 1.2),
            rng.uniform(0.4, 1.4) * size[0] / 480,
        )
    return _down(canvas)


def _lace(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A doily: a solid middle, rings, spokes, loops and a mesh of fine thread."""
    canvas, unit = _canvas(size)
    height, width = canvas.shape
    centre = np.array([width * 0.5, height * 0.5])
    radius, petals = unit * 0.4, int(rng.integers(14, 22))
    thread = unit * 0.005
    _fill(canvas, _ellipse(centre, radius * 0.45, radius * 0.45))
    for ring in np.linspace(0.5, 0.96, 7) * radius:
        _line(canvas, _ellipse(centre, ring, ring), thread, closed=True)
    for angle in np.arange(petals) * 2 * np.pi / petals:
        way = np.array([np.cos(angle), np.sin(angle)])
        _line(canvas, np.array([centre + way * radius * 0.4, centre + way * radius * 0.98]), thread)
        loop = _ellipse(centre + way * radius, radius * 0.13, radius * 0.13)
        _line(canvas, loop, 1.6 * thread, closed=True)
        flower = _ellipse(centre + way * radius * 0.72, radius * 0.055, radius * 0.055)
        _fill(canvas, flower)
    turn = rng.uniform(0, np.pi)
    for tilt in (turn, turn + np.pi / 2):
        mesh = np.zeros_like(canvas)
        normal, along = (np.array([np.cos(a), np.sin(a)]) for a in (tilt, tilt + np.pi / 2))
        for offset in np.arange(-1, 1, 0.035) * radius:
            half = np.sqrt(max(radius**2 * 0.9 - offset**2, 0))
            ends = np.array([centre + normal * offset + along * half * s for s in (-1, 1)])
            _line(mesh, ends, 0.35 * thread)
        np.maximum(canvas, mesh, out=canvas)
    return _down(canvas)


def _glass(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A goblet: a clear bowl with a drink, a rim, highlights, and an opaque stem and foot."""
    canvas, unit = _canvas(size)
    height, width = canvas.shape
    middle, top = width * rng.uniform(0.46, 0.54), height * 0.1
    bowl, half = unit * 0.45, unit * rng.uniform(0.2, 0.25)
    t = np.linspace(0, 1, 80)
    profile = half * np.sqrt(1 - 0.9 * t**3) * (0.85 + 0.15 * np.sin(np.pi * t))
    profile[-12:] *= np.linspace(1, 0.1, 12) ** 0.5
    y = top + bowl * t
    right = np.stack([middle + profile, y], 1)
    left = np.stack([middle - profile, y], 1)
    shape = np.concatenate([right, left[::-1]])
    layer = np.zeros_like(canvas)
    _fill(layer, shape, int(rng.integers(45, 75)))
    drink = int(80 * rng.uniform(0.3, 0.5))
    _fill(layer, np.concatenate([right[drink:], left[drink:][::-1]]), int(rng.integers(140, 190)))
    _line(layer, shape, unit * 0.008, 215, closed=True)
    shine = np.stack([middle - 0.72 * profile[8:50], y[8:50]], 1)
    _line(layer, shine, unit * 0.018, 235)
    layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), 1.2 * SUPER), np.uint8)
    np.maximum(canvas, layer, out=canvas)
    _line(canvas, _ellipse(np.array([middle, top]), half * 0.86, half * 0.12), unit * 0.006, 235,
          closed=True)  # fmt: skip
    foot = top + bowl + unit * 0.3
    _line(canvas, np.array([[middle, top + bowl * 0.98], [middle, foot]]), unit * 0.022)
    _fill(canvas, _ellipse(np.array([middle, foot]), half * 0.8, half * 0.14))
    return _down(canvas)


def _hard(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A product: a toothed wheel with spokes, a bore, and straight and curved sharp edges."""
    canvas, unit = _canvas(size)
    height, width = canvas.shape
    centre = np.array([width * 0.5, height * 0.5])
    teeth, radius = int(rng.integers(11, 19)), unit * 0.4
    t = np.linspace(0, 2 * np.pi, 2400, endpoint=False)
    r = radius * (1 - 0.1 * (np.sin(teeth * t + rng.uniform(0, 6)) > 0))
    _fill(canvas, centre + np.stack([r * np.cos(t), r * np.sin(t)], 1))
    spokes, turn = int(rng.integers(5, 8)), rng.uniform(0, 6)
    for k in range(spokes):
        arc = turn + 2 * np.pi * k / spokes + np.linspace(0.16, 2 * np.pi / spokes - 0.16, 60)
        ring = [part * radius * np.stack([np.cos(arc), np.sin(arc)], 1) for part in (0.42, 0.74)]
        _fill(canvas, centre + np.concatenate([ring[0], ring[1][::-1]]), 0)
    _fill(canvas, _ellipse(centre, radius * 0.14, radius * 0.14), 0)
    return _down(canvas)


#: Kinds of edge, and what draws them: (height, width), generator to alpha.
DRAW: dict[str, Callable[[tuple[int, int], np.random.Generator], NDArray[np.float32]]] = {
    "hair": _hair,
    "fur": _fur,
    "lace": _lace,
    "glass": _glass,
    "hard": _hard,
}


def _canvas(size: tuple[int, int]) -> tuple[Canvas, float]:
    """An empty canvas at drawing size, and its shorter side in drawing pixels."""
    return np.zeros((size[0] * SUPER, size[1] * SUPER), np.uint8), min(size) * SUPER


def _ellipse(centre: Points, a: float, b: float) -> Points:
    t = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    return centre + np.stack([a * np.cos(t), b * np.sin(t)], 1)


def _fill(canvas: Canvas, points: Points, value: int = 255) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], int(value), cv2.LINE_8, _FIXED)


def _line(
    canvas: Canvas, points: Points, width: float, value: int = 255, closed: bool = False
) -> None:
    """Draw a line, ``width`` in drawing pixels."""
    cv2.polylines(
        canvas, [_fixed(points)], closed, int(value), max(1, round(width)), cv2.LINE_8, _FIXED
    )


def _strand(
    canvas: Canvas, root: Points, angle: float, length: float, curl: float, width: float,
    fall: float = 0.0,
) -> None:  # fmt: skip
    """Draw a strand that tapers: ``curl`` is its whole turn in radians, ``fall`` its weight.

    ``width`` is in final pixels, ``length`` in drawing pixels.
    """
    t = np.linspace(0, 1, 14)
    ways = angle + curl * t**1.5
    steps = np.stack([np.cos(ways), np.sin(ways) + fall * t], 1) * length / len(t)
    points = root + np.cumsum(steps, 0)
    third = len(t) // 3
    for k, share in enumerate((1.0, 0.7, 0.4)):
        part = points[k * third : (k + 1) * third + 1 if k < 2 else None]
        _line(canvas, part, width * share * SUPER)


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.round(points * (1 << _FIXED)).astype(np.int32)


def _down(canvas: Canvas) -> NDArray[np.float32]:
    """Average down to the final size; to 8 bits, so that the alpha is what a PNG can hold."""
    height, width = canvas.shape[0] // SUPER, canvas.shape[1] // SUPER
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)
