"""Composites: a subject on a background, as a camera could have taken it.

I = αF + (1 − α)B, then what lens, sensor and JPEG do to it. The true α and F go along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refiner.subjects import Subject

Random = np.random.Generator
Floats = NDArray[Any]

GRID = 320  # stage-1 cells a side: see pipeline.roi


@dataclass(frozen=True)
class Scene:
    """A photo whose truth is known: (H, W, 3) uint8, (H, W) float32 0..1, (H, W, 3) uint8.

    ``pixel_accurate`` as in :class:`refiner.subjects.Subject`.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    foreground: NDArray[np.uint8]
    pixel_accurate: bool = True


def compose(subject: Subject, backdrop: NDArray[np.uint8], cell: float, rng: Random) -> Scene:
    """Put a subject on a background.

    Parameters
    ----------
    subject, backdrop
        The subject, and a background of any size, (h, w, 3) uint8 RGB.
    cell
        Size of a stage-1 cell in pixels of the scene: its longer side is ``320 · cell``.
    rng
        Chooses place, size, light, blur, grain and compression.
    """
    long, short = round(GRID * cell), round(GRID * cell * rng.uniform(0.62, 1.0))
    height, width = (long, short) if rng.random() < 0.5 else (short, long)
    back = _backdrop(backdrop, (height, width), rng)
    paint = _place(_premultiplied(subject), (height, width), rng)
    if rng.random() < 0.4:  # the lens: both layers alike, so that alpha stays true
        sigma = rng.uniform(0.3, 0.9)
        paint = cv2.GaussianBlur(paint, (0, 0), sigma)
        back = cv2.GaussianBlur(back, (0, 0), sigma)
    cover = paint[..., 3:].clip(0, 1)
    front: Floats = np.where(cover > 1e-3, paint[..., :3] / np.maximum(cover, 1e-3), back).clip(
        0, 255
    )
    front = _light(front, cover, back, rng)
    if rng.random() < 0.2:
        front = _glints(front, cover, rng)
    image = cover * front + (1 - cover) * back
    return Scene(
        camera(image, rng), cover[..., 0].astype(np.float32), (front + 0.5).astype(np.uint8)
    )


def cluttered(backdrop: NDArray[np.uint8], thing: Subject, rng: Random) -> NDArray[np.uint8]:
    """Put a thing into a background, (h, w, 3) uint8, that is not to be cut out with the subject.

    Towers, twigs and hair behind a subject look like parts of it, and are none.
    """
    paint = _place(_premultiplied(thing), backdrop.shape[:2], rng)
    seen = paint[..., :3] + (1 - paint[..., 3:].clip(0, 1)) * backdrop
    return (seen + 0.5).clip(0, 255).astype(np.uint8)


def _glints(front: Floats, cover: Floats, rng: Random) -> Floats:
    """Light a few bright spots on a subject, (H, W, 3): reflections, which are not holes in it."""
    solid = np.argwhere(cover[..., 0] > 0.9)
    glow = np.zeros(cover.shape[:2], np.float32)
    for y, x in solid[rng.integers(0, len(solid), int(rng.integers(1, 9)))] if len(solid) else ():
        axes = np.exp(rng.uniform(0, np.log(max(cover.shape) / 20), 2)) + 1
        cv2.ellipse(glow, (int(x), int(y)), (int(axes[0]), int(axes[1])), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(glow, (0, 0), rng.uniform(0.7, 3.0))[..., None]
    bright = rng.uniform(0.5, 1.0) * soft * (rng.uniform(200, 255, 3) - front)
    return (front + bright).astype(np.float32)


def natural(subject: Subject, cell: float, rng: Random) -> Scene:
    """Take the photo that a subject came from, cropped around it and resized to a cell size.

    The photo's own light, blur and surroundings are what no composite has; its alpha is as good as
    the matting that made it. Raises ValueError for a subject without a photo.
    """
    if subject.photo is None:
        raise ValueError("the subject has no photo of its own")
    height, width = subject.alpha.shape
    rows, columns = (np.flatnonzero((subject.alpha > 0.5).any(axis)) for axis in (1, 0))
    top = int(rng.uniform(0, 1) * rows[0]) if rows.size else 0
    left = int(rng.uniform(0, 1) * columns[0]) if columns.size else 0
    bottom = height - int(rng.uniform(0, 1) * (height - 1 - rows[-1])) if rows.size else height
    right = width - int(rng.uniform(0, 1) * (width - 1 - columns[-1])) if columns.size else width
    if rng.random() < 0.4:  # a close-up: part of the subject leaves the picture
        middle = top + int((bottom - top) * rng.uniform(0.3, 0.8))
        top, bottom = (top, middle) if rng.random() < 0.7 else (middle, bottom)
    box = np.s_[top:bottom, left:right]
    crop = np.dstack([subject.photo[box], subject.foreground[box]]).astype(np.float32)
    scale = GRID * cell / max(crop.shape[:2])
    size = (max(160, round(crop.shape[1] * scale)), max(160, round(crop.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    alpha = cv2.resize(subject.alpha[box], size, interpolation=how).clip(0, 1)
    crop = np.dstack(
        [cv2.resize(crop[..., i : i + 3], size, interpolation=how) for i in (0, 3)]
    ).clip(0, 255)
    if rng.random() < 0.5:
        crop, alpha = crop[:, ::-1], alpha[:, ::-1]
    return Scene(
        (crop[..., :3] + 0.5).astype(np.uint8),
        np.ascontiguousarray(alpha, np.float32),
        (crop[..., 3:] + 0.5).astype(np.uint8),
        subject.pixel_accurate,
    )


def blur(picture: Floats, sigma: float) -> Floats:
    """Blur by a Gaussian of any width, (H, W[, C]) float32 to the same.

    A wide one leaves nothing that a reduced picture could not hold, at a tenth of the time.
    """
    factor = max(1, int(sigma / 2))
    height, width = picture.shape[:2]
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if factor > 1 else picture
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return cv2.resize(small, (width, height)) if factor > 1 else small


def camera(image: Floats, rng: Random) -> NDArray[np.uint8]:
    """Add grain and compression, (H, W, 3) float 0..255 to uint8 of the same shape."""
    if rng.random() < 0.6:
        size = image.shape[:2]
        grain = rng.standard_normal((*size, 1), np.float32) * rng.uniform(0, 6)
        grain = grain + rng.standard_normal((*size, 3), np.float32) * rng.uniform(0, 3)
        if rng.random() < 0.5:  # a converter's noise reduction leaves it coarser
            grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.4, 1.0)) * 1.6
        image = image + grain
    picture = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        picture = compressed(picture, int(rng.integers(50, 98)))
    return picture


def compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return what JPEG of a quality, 0..100, leaves of a picture, (H, W, 3) uint8 RGB."""
    # Which channel is called red matters to JPEG: it keeps brightness better than colour.
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Floats = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(decoded[..., ::-1])


def _premultiplied(subject: Subject) -> Floats:
    """Cut a subject to its bounding box, premultiplied, (h, w, 4) float32 0..255 and 0..1."""
    rows, columns = (np.flatnonzero((subject.alpha > 0.02).any(axis)) for axis in (1, 0))
    if not rows.size:
        return np.zeros((8, 8, 4), np.float32)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = subject.alpha[box][..., None]
    return np.concatenate([subject.foreground[box] * alpha, alpha], 2).astype(np.float32)


def _place(paint: Floats, shape: tuple[int, int], rng: Random) -> Floats:
    """Resize, turn and shift a premultiplied subject onto a canvas of a shape."""
    height, width = shape
    if rng.random() < 0.5:
        paint = paint[:, ::-1]
    fill = rng.uniform(0.4, 1.15)
    scale = fill * min(height / paint.shape[0], width / paint.shape[1])
    if scale < 1:
        size = (max(2, round(paint.shape[1] * scale)), max(2, round(paint.shape[0] * scale)))
        paint, scale = cv2.resize(paint, size, interpolation=cv2.INTER_AREA), 1.0
    h, w = paint.shape[:2]
    angle = rng.normal(0, 12) if rng.random() < 0.5 else 0.0
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), angle, scale)
    middle = np.array([width, height]) * rng.uniform(0.38, 0.62, 2)
    matrix[:, 2] += middle - (w / 2, h / 2)
    flags = cv2.INTER_LINEAR if scale == 1 else cv2.INTER_CUBIC
    return cv2.warpAffine(np.ascontiguousarray(paint), matrix, (width, height), flags=flags).clip(0)


def _backdrop(picture: NDArray[np.uint8], shape: tuple[int, int], rng: Random) -> Floats:
    """Cover a canvas with a background, enlarged or continued by mirroring, and often blurred."""
    height, width = shape
    cover = max(height / picture.shape[0], width / picture.shape[1])
    scale = cover * rng.uniform(1, 1.6) if rng.random() < 0.6 else min(cover, rng.uniform(0.8, 1.6))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large: Floats = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)
    more = (max(0, height - large.shape[0]), max(0, width - large.shape[1]))
    if any(more):
        large = cv2.copyMakeBorder(large, 0, more[0], 0, more[1], cv2.BORDER_REFLECT)
    y = int(rng.integers(0, large.shape[0] - height + 1))
    x = int(rng.integers(0, large.shape[1] - width + 1))
    back: Floats = large[y : y + height, x : x + width].astype(np.float32)
    if rng.random() < 0.5:
        back = back[:, ::-1]
    if rng.random() < 0.5:  # out of focus, as behind most portraits
        back = blur(back, max(height, width) * rng.uniform(0.001, 0.012))
    return np.ascontiguousarray(back * rng.uniform(0.6, 1.25)).clip(0, 255)


def _light(front: Floats, cover: Floats, back: Floats, rng: Random) -> Floats:
    """Change the subject's brightness, contrast and tint; sometimes towards the background's."""
    if rng.random() < 0.25:  # similar colours: the hard case
        mean_front = (front * cover).sum((0, 1)) / max(float(cover.sum()), 1e-3)
        front = front + rng.uniform(0.4, 1.0) * (back.mean((0, 1)) - mean_front)
    gain = rng.uniform(0.65, 1.35) * rng.uniform(0.92, 1.08, 3)
    bent = 255 * (np.clip(front * gain, 0, 255) / 255) ** rng.uniform(0.75, 1.35)
    return bent.astype(np.float32)
