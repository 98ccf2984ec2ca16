"""Drawn scenes: a text, a logo or a line drawing on plain ground, all of it one subject.

What is printed belongs to the subject, and so does what a drawn line encloses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from u2net.scenes import Map, Random, Scene, plain_ground

FINER = 3  # drawn so many times as large, then averaged: the edges have exact alpha
WORDS = ("Aroma", "Nova", "Kite", "studio", "CAFE", "Lumen", "24/7", "Wood", "&", "Bloom", "Sale!")
KINDS = ("text", "logo", "lines")

Canvas = tuple[Image.Image, Image.Image]  # what is printed, what is meant


def drawing(rng: Random, side: int) -> Scene:
    """Draw a scene of ``side`` px."""
    canvas = Image.new("L", (FINER * side,) * 2), Image.new("L", (FINER * side,) * 2)
    kind = rng.choice(KINDS)
    if kind != "text":
        _shapes(rng, canvas, filled=kind == "logo")
    if kind == "text":
        _text(rng, canvas, 0.15, int(rng.integers(1, 4)))
    elif rng.random() < 0.3:
        _text(rng, canvas, 0.8, 1)
    ink, meant = (
        np.asarray(layer.resize((side, side), Image.Resampling.BOX), np.float32) / 255
        for layer in canvas
    )
    ground = plain_ground(rng, side)
    colour = _telling_colour(rng, ground)
    end = colour + rng.normal(0, 40, 3)
    print_ = colour + (end - colour) * np.linspace(0, 1, side)[:, None, None]
    photo = ground * (1 - ink[..., None]) + print_ * ink[..., None]
    alpha = np.maximum(ink, meant)
    return Scene(np.rint(photo.clip(0, 255)).astype(np.uint8), [alpha] if alpha.any() else [])


def _telling_colour(rng: Random, ground: Map) -> NDArray[np.float64]:
    """Return a colour (3,) in 0..255 that stands out from a ground."""
    colours = rng.uniform(0, 255, (16, 3))
    contrast = np.abs(colours - ground.mean((0, 1))).max(1)
    return colours[int((contrast > 80).argmax() if (contrast > 80).any() else contrast.argmax())]


def _shapes(rng: Random, canvas: Canvas, filled: bool) -> None:
    """Draw one to three shapes over each other, some of the filled ones with a hole."""
    side = canvas[0].width
    middle = rng.uniform(0.4, 0.6, 2) * side
    ink, meant = (ImageDraw.Draw(layer) for layer in canvas)
    thick = max(1, int(side * rng.uniform(0.004, 0.02)))
    for _ in range(int(rng.integers(1, 4))):
        spot = middle + rng.normal(0, 0.1 * side, 2)
        points = _outline(rng, spot, side * rng.uniform(0.1, 0.3))
        meant.polygon(points, 255)
        if filled:
            ink.polygon(points, 255)
        else:
            ink.line([*points, points[0]], 255, thick, "curve")
    if filled and rng.random() < 0.4:
        hole = _outline(rng, middle, side * rng.uniform(0.04, 0.12))
        ink.polygon(hole, 0)
        meant.polygon(hole, 0)


def _outline(rng: Random, middle: NDArray[np.float64], radius: float) -> list[tuple[float, float]]:
    """Return the points of a star, a polygon or a smooth blob about ``middle``."""
    way, corners = rng.random(), int(rng.integers(3, 9))
    start = rng.uniform(0, 2 * np.pi)
    if way < 0.3:
        angle = start + np.linspace(0, 2 * np.pi, 2 * corners, endpoint=False)
        reach = np.where(np.arange(2 * corners) % 2, 1.0, rng.uniform(0.35, 0.7))
    elif way < 0.6:
        angle = start + np.linspace(0, 2 * np.pi, corners, endpoint=False)
        reach = np.ones(corners)
    else:
        angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        waves = [rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5)]
        reach = 1 + np.clip(np.sum(waves, 0), -0.6, 0.4)
    around = np.stack((np.cos(angle), np.sin(angle)), 1)
    return [(float(x), float(y)) for x, y in middle + radius * reach[:, None] * around]


def _text(rng: Random, canvas: Canvas, top: float, lines: int) -> None:
    """Print ``lines`` lines, the first at ``top`` (a share of the side)."""
    side = canvas[0].width
    for line in range(lines):
        words = " ".join(rng.choice(WORDS, int(rng.integers(1, 3))))
        size = side * rng.uniform(0.06, 0.2)
        width = ImageFont.load_default(size).getlength(words)
        font = ImageFont.load_default(size * min(1.0, 0.9 * side / width))
        width = font.getlength(words)
        for layer in canvas:
            at = ((side - width) / 2, (top + 0.25 * line) * side)
            ImageDraw.Draw(layer).text(at, words, 255, font)
