"""Training samples with their target on disk, and with hints: photos, teachers' maps, scenes.

What is drawn is a pure function of a seed, a step and a place in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.sampling import sampling_probs
from u2net import hints, scenes
from u2net.dataset import Prepared, degrade
from u2net.drawings import drawing
from u2net.prepare import read_pieces
from u2net.pseudo import Pseudo
from u2net.scenes import Map, Random, Scene
from u2net.settings import Data, Settings

#: Sources that are composed, beside those on disk; ``[data.sampling]`` weighs them all.
COMPOSED = tuple(
    f"scene:{kind}"
    for kind in ("products", "renders", "hair", "light", "moved-in", "drawing", "empty")
)


@dataclass(frozen=True)
class Sample:
    """``photo`` (S, S, 3) uint8; ``target``, ``weight`` (S, S) and ``hints`` (2, S, S) float32 in
    0..1; as many clicks on the network's mistakes are to be added as ``corrections`` says."""

    photo: NDArray[np.uint8]
    target: Map
    weight: Map
    hints: NDArray[np.float32]
    corrections: int


class Pool:
    """All that samples are drawn from: a prepared split, teachers' maps, and pieces of scenes.

    ``about`` weighs the sources, and says how much the truth of each counts. Photos without truth
    are drawn where teachers have looked at them, scenes where there are pieces for them.
    """

    def __init__(self, prepared: Path, split: str, about: Data) -> None:
        self.pictures = Prepared(prepared, split)
        self.pseudo = Pseudo(prepared, split)
        self.pieces = read_pieces(prepared, split)
        self.trust = about.trust
        has_target = self.pictures.has_truth | self.pseudo.done
        self.of = {
            str(source): np.flatnonzero((self.pictures.sources == source) & has_target)
            for source in np.unique(self.pictures.sources)
        }
        self.sources = [source for source, inside in self.of.items() if len(inside)]
        if self.pieces.cutouts and len(self.pieces.grounds):
            self.sources += COMPOSED
        # A source's whole weight: each is named once here.
        self.probs = sampling_probs(self.sources, about.sampling)
        exact = [source for source in self.of if self.trust.get(source, 1.0) == 1.0]
        self.exact = np.flatnonzero(self.pictures.has_truth & np.isin(self.pictures.sources, exact))

    def layers(self, k: int) -> NDArray[np.uint8]:
        """Return photo, target and weight of a picture, (S, S, 5) uint8."""
        picture = self.pictures.pack[k]
        if self.pictures.has_truth[k]:
            weight = np.full(picture.shape[:2], 255, np.uint8)
            return np.dstack((picture, weight))
        return np.dstack((picture[..., :3], *self.pseudo.target(k, len(picture))))

    def draw(self, seed: int, step: int, s: Settings) -> list[Sample]:
        """Draw the batch of a step."""
        return [self.sample(np.random.default_rng((seed, step, i)), s) for i in range(s.batch)]

    def sample(self, rng: Random, s: Settings) -> Sample:
        """Draw one sample; a share ``s.hinted`` of those with truth has hints."""
        source = self.sources[int(rng.choice(len(self.sources), p=self.probs))]
        weight = np.ones((s.size, s.size), np.float32)
        truthful = True
        if source in COMPOSED:
            scene = self.scene(rng, source.removeprefix("scene:"), s)
        else:
            k = int(rng.choice(self.of[source]))
            photo, target, weight = split(cropped(rng, self.layers(k), s.size, s.strength))
            weight = weight * np.float32(self.trust.get(source, 1.0))
            truthful = bool(self.pictures.has_truth[k])
            scene = Scene(photo, [target])
        target = scene.truth
        planes, corrections = np.zeros((2, s.size, s.size), np.float32), 0
        if truthful and rng.random() < s.hinted:
            parts = scene.parts if source in COMPOSED else hints.objects(target)
            parts = [part for part in parts if (part > 0.5).mean() > 0.003]
            if parts:
                meant = hints.choose(rng, parts)
                rest = np.clip(target - meant, 0, 1)
                if (meant > 0.5).any():
                    corrections = int(rng.integers(1, 4)) if rng.random() < s.corrected else 0
                    planes = hints.simulate(rng, meant, rest, corrections > 0)
                    target = target if len(parts) == 1 and source not in COMPOSED else meant
        return Sample(degrade(rng, scene.photo, s.strength), target, weight, planes, corrections)

    def scene(self, rng: Random, kind: str, s: Settings) -> Scene:
        """Compose a scene of a kind of ``COMPOSED``."""
        if kind == "empty":
            return scenes.empty(rng, self.pieces, s.size)
        if kind == "drawing":
            return drawing(rng, s.size)
        if kind == "light":
            return scenes.arranged(rng, self.pieces, s.size, "products", light=True)
        if kind == "moved-in":
            first, second = (
                split(cropped(rng, self.layers(int(rng.choice(self.exact))), s.size, s.strength))
                for _ in range(2)
            )
            own = Scene(first[0], hints.objects(first[1]))
            return scenes.moved_in(rng, own, second[0], second[1])
        return scenes.arranged(rng, self.pieces, s.size, kind)


def split(layers: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Map, Map]:
    """Split (S, S, 5) uint8 into a photo (S, S, 3) uint8, target and weight (S, S) in 0..1."""
    target, weight = layers[..., 3:].astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    return np.ascontiguousarray(layers[..., :3]), target, weight


def cropped(
    rng: Random, layers: NDArray[np.uint8], size: int, strength: float
) -> NDArray[np.uint8]:
    """Crop, mirror and sometimes turn (S, S, 5) uint8 to (size, size, 5).

    Of ten pictures two are seen from nearer by, as in stage 1's second look, and two as they are;
    ``strength`` 0..1 scales how small the other crops may be, and how often one is turned.
    """
    side, way = len(layers), rng.random()
    top, left, bottom, right = 0, 0, side, side
    subject = layers[..., 3] > 127
    if way < 0.22 and subject.any():
        near = _near(rng, subject)
        if min(near[2] - near[0], near[3] - near[1]) >= side // 5:
            top, left, bottom, right = near
    elif way >= 0.45:
        h, w = (round(side * rng.uniform(1 - 0.5 * strength, 1)) for _ in range(2))
        top, left = int(rng.integers(0, side - h + 1)), int(rng.integers(0, side - w + 1))
        bottom, right = top + h, left + w
    layers = layers[top:bottom, left:right]
    if rng.random() < 0.5:
        layers = layers[:, ::-1]
    # OpenCV resamples up to four channels.
    parts = [np.ascontiguousarray(layers[..., :3]), np.ascontiguousarray(layers[..., 3:])]
    inter = cv2.INTER_AREA if min(bottom - top, right - left) >= size else cv2.INTER_LINEAR
    halves = [cv2.resize(part, (size, size), interpolation=inter) for part in parts]
    if rng.random() < 0.2 * strength:
        middle, angle, zoom = (size / 2, size / 2), rng.uniform(-20, 20), rng.uniform(0.9, 1.15)
        turn = cv2.getRotationMatrix2D(middle, angle, zoom)
        border = cv2.BORDER_REFLECT
        halves = [cv2.warpAffine(half, turn, (size, size), borderMode=border) for half in halves]
    return np.dstack(halves)


def _near(rng: Random, subject: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the subject's box (top, left, bottom, right) with margins of 3 to 30 % of it."""
    top, left, bottom, right = hints.bounding_box(subject)
    margins = rng.uniform(0.03, 0.3, 4) * np.array([bottom - top, right - left] * 2)
    up, west, down, east = np.rint(margins).astype(int)
    height, width = subject.shape
    return (
        max(0, top - up),
        max(0, left - west),
        min(height, bottom + down),
        min(width, right + east),
    )
