"""Turn what networks hold, feature maps, masks and changes, into pictures for people."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import compose

Picture = NDArray[np.uint8]

PAPER = (16, 19, 24)  # the dark that stands for nothing


def blend(maps: NDArray[np.float32]) -> Picture:
    """Show many feature maps in one picture: their three main components as a colour.

    (C, h, w) float32 to (h, w, 3) uint8. The first component, the one that tells most, is the
    lightness, the next two are the hue (CIE L*a*b*), so that form is seen first.
    """
    channels, height, width = maps.shape
    points = maps - core(maps).mean((1, 2), keepdims=True)
    middle = core(points).reshape(channels, -1)
    _, vectors = np.linalg.eigh((middle @ middle.T).astype(np.float64))
    main = np.tensordot(vectors[:, ::-1][:, :3].T.astype(np.float32), points, 1)
    lab = np.zeros((height, width, 3), np.float32)
    for i, component in enumerate(main):
        # An eigenvector has no sign of its own: the rarer values are made the high ones.
        sign = -1 if (core(component[None]) ** 3).sum() < 0 else 1
        plane = stretch(sign * component)
        lab[..., i] = 8 + 88 * plane if i == 0 else 90 * (plane - plane.mean())
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB) * 255 + 0.5, 0, 255).astype(np.uint8)


def core(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The maps without their rim, where the padding of the convolutions speaks."""
    rim = round(min(maps.shape[1:]) * 0.05)
    return maps[:, rim : maps.shape[1] - rim, rim : maps.shape[2] - rim]


def liveliest(maps: NDArray[np.float32], count: int) -> list[int]:
    """Choose maps that vary much, and are not all the same map: greedy, by what is left over."""
    rest = core(maps).reshape(len(maps), -1)
    rest = rest - rest.mean(1, keepdims=True)
    chosen: list[int] = []
    for _ in range(min(count, len(maps))):
        energy = (rest**2).sum(1)
        energy[chosen] = -1
        best = int(energy.argmax())
        chosen.append(best)
        unit = rest[best] / max(float(np.sqrt((rest[best] ** 2).sum())), 1e-12)
        rest -= (rest @ unit)[:, None] * unit
    return chosen


def stretch(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch to 0..1 between the 1st and the 99th percentile."""
    low, high = np.percentile(core(plane[None]), (1, 99))
    return np.clip((plane - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def grey(plane: NDArray[np.float32]) -> Picture:
    """A mask as it is: 0 black, 1 white."""
    return np.repeat(compose.levels(np.clip(plane, 0, 1))[..., None], 3, 2)


def heat(plane: NDArray[np.float32]) -> Picture:
    """An amount: 0 black, over violet and orange, 1 light yellow."""
    grey = compose.levels(np.clip(plane, 0, 1).astype(np.float32))
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def swollen(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Widen fine lines to what the panel can show: each pixel takes the largest near it."""
    size = 2 * round(max(plane.shape) / 500) + 1
    if plane.min() >= 0:
        return np.asarray(cv2.dilate(plane, np.ones((size, size))), np.float32)
    more, less = (cv2.dilate(np.maximum(p, 0), np.ones((size, size))) for p in (plane, -plane))
    return np.where(more > less, more, -less)


def signed(plane: NDArray[np.float32]) -> Picture:
    """Less is blue, more is red, nothing is dark; the root of it, so that little shows too."""
    size = np.clip(1.3 * np.sqrt(np.abs(plane)), 0, 1)[..., None]
    paper, blue, red = np.array([PAPER, (70, 160, 255), (255, 96, 72)], np.float32)
    return (paper + size * np.where(plane[..., None] < 0, blue - paper, red - paper)).astype(
        np.uint8
    )


def over(below: Picture, above: Picture, where: NDArray[np.bool_]) -> Picture:
    """One picture, and another in its place where a mask says so."""
    picture = below.copy()
    picture[where] = above[where]
    return picture
