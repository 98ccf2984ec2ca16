"""Scenes composed anew for every sample, with exact truth: products on tables, logos, and nothing.

Subjects copied to another place teach what a subject is (copy-paste; Ghiasi et al., CVPR 2021).
A :class:`Scene` has one alpha a subject, as far as it is seen, so that one of several can be meant.
Layers are premultiplied, (S, S, 4) float32 in 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Random = np.random.Generator
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """``photo`` (S, S, 3) uint8 RGB and the alpha of each subject, (S, S) float32 in 0..1."""

    photo: NDArray[np.uint8]
    parts: list[Map]

    @property
    def truth(self) -> Map:
        """All subjects' alpha, (S, S) float32 in 0..1."""
        nothing = np.zeros(self.photo.shape[:2], np.float32)
        return np.clip(sum(self.parts, nothing), 0, 1)


@dataclass(frozen=True)
class Pieces:
    """What scenes are made of.

    ``cutouts`` are (h, w, 4) uint8 straight RGBA, cropped to what is seen, ``kinds`` their folders'
    names; ``grounds`` (n, S, S, 3) uint8 are photos without a subject, ``rooms`` (n,) those of them
    that show desks and rooms.
    """

    cutouts: list[NDArray[np.uint8]]
    kinds: NDArray[np.str_]
    grounds: NDArray[np.uint8]
    rooms: NDArray[np.bool_]

    def cutout(self, rng: Random, kind: str) -> NDArray[np.uint8]:
        """Return a random cutout of a kind; of any, where there is none of it."""
        fitting = np.flatnonzero(self.kinds == kind)
        return self.cutouts[int(rng.choice(fitting if len(fitting) else len(self.cutouts)))]

    def ground(self, rng: Random) -> NDArray[np.uint8]:
        """Return a random ground: a room in four of ten, where there is one."""
        fitting = np.flatnonzero(self.rooms == (rng.random() < 0.4))
        return self.grounds[int(rng.choice(fitting if len(fitting) else len(self.grounds)))]


def arranged(rng: Random, pieces: Pieces, side: int, kind: str, light: bool = False) -> Scene:
    """Compose one to three cutouts of a kind (one of "hair") that stand or lie before a ground.

    ``light`` makes what is light on light ground, as nearly nothing of the data is.
    """
    plain = light or rng.random() < 0.2
    image = plain_ground(rng, side, light) if plain else photo_ground(rng, pieces, side)
    count = 1 if kind == "hair" else int(rng.choice([1, 2, 3], p=[0.56, 0.27, 0.17]))
    stands, foot = rng.random() < 0.75, rng.uniform(0.55, 0.95)
    parts: list[Map] = []
    for _ in range(count):
        height = rng.uniform(0.3, 0.9) if count == 1 else rng.uniform(0.18, 0.6)
        at = foot + rng.normal(0, 0.04) if stands else None
        layer = _beside(rng, pieces, kind, side, height, at, parts)
        if layer is None:
            continue
        alpha = layer[..., 3]
        if rng.random() < 0.8:
            image = image * (1 - contact_shadow(rng, alpha)[..., None])
        colour = _relit(rng, layer[..., :3], alpha)
        if light:
            colour = _paled(rng, colour, alpha)
        image = image * (1 - alpha[..., None]) + 255 * colour
        parts = [part * (1 - alpha) for part in parts] + [alpha]
    return Scene(_to_bytes(image), parts)


def _beside(
    rng: Random,
    pieces: Pieces,
    kind: str,
    side: int,
    height: float,
    foot: float | None,
    parts: list[Map],
) -> Map | None:
    """Place a random cutout where it mostly leaves ``parts`` to be seen; None after six tries."""
    for _ in range(6):
        layer = placed(rng, pieces.cutout(rng, kind), side, height, foot)
        if layer is None:
            continue
        alpha = layer[..., 3]
        if sum(float((part * alpha).sum()) for part in parts) < 0.15 * float(alpha.sum()):
            return layer
    return None


def moved_in(rng: Random, scene: Scene, other: NDArray[np.uint8], alpha: Map) -> Scene:
    """Put the subject of a second photo, ``other`` and its ``alpha``, beside those of a first."""
    left, top, width, height = cv2.boundingRect((alpha > 0.1).astype(np.uint8))
    if min(width, height) < 8:
        return scene
    window = np.s_[top : top + height, left : left + width]
    cutout = np.dstack((other[window], np.rint(255 * alpha[window]).astype(np.uint8)))
    layer = placed(rng, cutout, len(scene.photo), rng.uniform(0.25, 0.7), None)
    if layer is None:
        return scene
    cover = layer[..., 3]
    image = scene.photo * (1 - cover[..., None]) + 255 * layer[..., :3]
    return Scene(_to_bytes(image), [part * (1 - cover) for part in scene.parts] + [cover])


def empty(rng: Random, pieces: Pieces, side: int) -> Scene:
    """Compose a scene without a subject."""
    plain = rng.random() < 0.2
    image = plain_ground(rng, side) if plain else photo_ground(rng, pieces, side)
    return Scene(_to_bytes(image), [])


def plain_ground(rng: Random, side: int, light: bool = False) -> Map:
    """Return one colour or a soft gradient of two, (side, side, 3) float32 in 0..255."""
    white = light or rng.random() < 0.4
    colour = rng.uniform(225 if light else 240, 255, 3) if white else rng.uniform(0, 255, 3)
    if white and rng.random() < 0.7:
        colour[:] = colour.mean()
    other = colour + rng.normal(0, 12 if light else 30, 3)
    if rng.random() < 0.5:
        other = colour + (other - colour).mean()
    if rng.random() < 0.4:
        other = colour
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    share = np.clip(0.5 + x * math.cos(angle) + y * math.sin(angle), 0, 1)[..., None]
    if rng.random() < 0.3:  # a backdrop lit in its middle
        share = np.clip((x * x + y * y)[..., None] * rng.uniform(1, 2), 0, 1)
    ground = colour * (1 - share) + other * share
    return (ground + rng.normal(0, rng.uniform(0, 2), ground.shape)).clip(0, 255).astype(np.float32)


def photo_ground(rng: Random, pieces: Pieces, side: int) -> Map:
    """Return a part of a random ground, (side, side, 3) float32 in 0..255, often out of focus."""
    photo = pieces.ground(rng)
    h, w = (round(len(photo) * rng.uniform(0.5, 1)) for _ in range(2))
    y, x = rng.integers(0, len(photo) - h + 1), rng.integers(0, len(photo) - w + 1)
    photo = photo[y : y + h, x : x + w]
    if rng.random() < 0.5:
        photo = photo[:, ::-1]
    ground = cv2.resize(np.ascontiguousarray(photo), (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.3:
        ground = cv2.GaussianBlur(ground, (0, 0), rng.uniform(0.8, 4))
    return np.asarray(ground, np.float32)


def placed(
    rng: Random, cutout: NDArray[np.uint8], side: int, height: float, foot: float | None
) -> Map | None:
    """Lay a cutout (h, w, 4) straight uint8 somewhere into an empty layer; None if it is too large.

    ``height`` and ``foot`` (where it stands; None: anywhere) are shares of the side. It is resized
    premultiplied, mirrored, squashed, and turned by chance where it does not stand.
    """
    rgba = cutout.astype(np.float32) / 255
    if rng.random() < 0.5:
        rgba = rgba[:, ::-1]
    rgba = np.dstack((rgba[..., :3] * rgba[..., 3:], rgba[..., 3]))
    wide = height * rgba.shape[1] / rgba.shape[0] * math.exp(rng.uniform(-0.3, 0.3))
    fit = side * min(1.0, 0.92 / wide)
    h, w = max(6, round(height * fit)), max(6, round(wide * fit))
    inter = cv2.INTER_AREA if h < rgba.shape[0] else cv2.INTER_LINEAR
    small: Map = np.asarray(cv2.resize(rgba, (w, h), interpolation=inter), np.float32)
    upright = foot is not None or rng.random() < 0.6
    small = small if upright else _turned(small, rng.normal(0, 20))
    h, w = small.shape[:2]
    if max(h, w) > side:
        return None
    layer = np.zeros((side, side, 4), np.float32)
    x = int(rng.integers(0, side - w + 1))
    lowest = side - h
    y = int(rng.integers(0, lowest + 1)) if foot is None else round(foot * side) - h
    y = min(max(y, 0), lowest)
    layer[y : y + h, x : x + w] = small.clip(0, 1)
    return layer


def _turned(layer: Map, angle: float) -> Map:
    """Turn a layer (h, w, 4) by an angle in degrees; the result is as large as it needs to be."""
    h, w = layer.shape[:2]
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    width, height = math.ceil(w * cos + h * sin), math.ceil(w * sin + h * cos)
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1)
    turn[:, 2] += ((width - w) / 2, (height - h) / 2)
    return np.asarray(cv2.warpAffine(layer, turn, (width, height)))


def contact_shadow(rng: Random, alpha: Map) -> Map:
    """Return how dark the shadow of what stands there is, (S, S) in 0 (none) to 0.85.

    Its outline pressed flat onto its foot, leaning aside and blurred, and denser where it touches
    the ground.
    """
    rows = np.flatnonzero(alpha.max(1) > 0.5)
    if not len(rows):
        return np.zeros_like(alpha)
    side, foot = len(alpha), float(rows[-1])
    flat, lean = rng.uniform(0.08, 0.35), rng.uniform(-0.8, 0.8)
    # (x, y) of the outline -> (x + lean * flat * (foot - y), foot - flat * (foot - y))
    matrix = np.array([[1, -lean * flat, lean * flat * foot], [0, flat, foot * (1 - flat)]])
    cast = cv2.warpAffine(alpha, matrix, (side, side))
    wide = cv2.GaussianBlur(cast, (0, 0), rng.uniform(0.01, 0.035) * side)
    tight = cv2.GaussianBlur(np.roll(alpha, max(1, side // 100), 0), (0, 0), 0.006 * side)
    tight[: max(0, int(foot - 0.06 * side))] = 0
    return np.clip(rng.uniform(0.1, 0.55) * wide + rng.uniform(0, 0.4) * tight, 0, 0.85)


def _relit(rng: Random, colour: Map, alpha: Map) -> Map:
    """Put a premultiplied colour (S, S, 3) into another light."""
    straight = colour / np.maximum(alpha[..., None], 1e-3)
    gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.05, 3)).astype(np.float32)
    straight = np.clip(straight * gain, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.15)))
    return straight * alpha[..., None]


def _paled(rng: Random, colour: Map, alpha: Map) -> Map:
    """Make a premultiplied colour (S, S, 3) nearly white, and less colourful."""
    grey = colour.mean(-1, keepdims=True)
    colour = grey + (colour - grey) * np.float32(rng.uniform(0, 1))
    return alpha[..., None] - (alpha[..., None] - colour) * np.float32(rng.uniform(0.06, 0.4))


def _to_bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round (S, S, 3) in 0..255 to uint8."""
    return np.rint(image.clip(0, 255)).astype(np.uint8)
