"""Stage 1: a U²-Net finds the subject in a small view of the photo (Qin et al., 2020)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ModelInvalid
from pipeline.models import HINTS, CoarseModel, Session
from pipeline.models.opening import SMALLEST
from pipeline.reduce import by_area

#: Longest side of a view that keeps the photo's proportions: a panorama has to end somewhere.
LONGEST = 2048
GAP = 2.0  # times the size of a view: so much of a photo is left at least for Lanczos to reduce


def view(shape: tuple[int, int], card: CoarseModel) -> tuple[int, int]:
    """Return the size (h, w) at which a network sees a photo of size ``shape``, (H, W).

    That is ``card.size``, unless the network takes any size in steps of ``card.multiple``: then
    the shorter side becomes ``card.size[0]`` (or stays, where the longer is larger and the shorter
    smaller than that), as in MODNet's reference (Ke et al., 2022, ``onnx/inference_onnx.py``),
    which knows no longest side and no shortest.
    """
    if not card.multiple:
        return card.size
    scale, (short, long) = 1.0, sorted(shape)
    if long < card.size[0] or short > card.size[0]:
        scale = card.size[0] / short
    scale = min(scale, LONGEST / long)
    steps = [max(1, int(side * scale + 1e-6) // card.multiple) for side in shape]
    return steps[0] * card.multiple, steps[1] * card.multiple


def prepare(image: NDArray[np.uint8], card: CoarseModel) -> NDArray[np.float32]:
    """Turn a photo into the network's input.

    (H, W, 3) uint8 RGB to (1, 3, h, w) float32: scaled to the network's view, divided by the
    brightest value in it where the model was trained so, then normalised.
    """
    height, width = view(image.shape[:2], card)
    if card.resampling == "area":
        small = by_area(image, (height, width))
    else:
        nearer, box = _reduced(image, (height, width))
        lanczos = Image.Resampling.LANCZOS
        small = np.asarray(Image.fromarray(nearer).resize((width, height), lanczos, box))
    small = small.astype(np.float32)
    brightest = max(float(small.max()), 1e-6) if card.scale_by_max else 255.0
    # Doubles, as in the reference implementations: a grey level is lost otherwise.
    normal = (small / brightest - np.array(card.mean)) / np.array(card.std)
    return normal.transpose(2, 0, 1)[None].astype(np.float32)


def _reduced(
    image: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Reduce a large photo by whole pixels, to :data:`GAP` times a size (h, w) or more.

    Lanczos goes on from there, a third of a grey level from what it makes of the whole photo, in a
    third of the time at 12 megapixels. Returns the photo's own box in it, too: what is left over at
    the right and below becomes one more pixel. Pillow's ``reducing_gap`` does the same, but takes
    twice as long, and rounds thirds down.
    """
    down, across = (
        max(1, int(side / seen / GAP)) for side, seen in zip(image.shape[:2], size, strict=True)
    )
    box = (0.0, 0.0, image.shape[1] / across, image.shape[0] / down)
    if (down, across) == (1, 1):
        return image, box
    reduced = [
        cv2.hconcat(
            [
                cv2.resize(image[rows, columns], (wide, high), interpolation=cv2.INTER_AREA)
                for columns, wide in _parts(image.shape[1], across)
            ]
        )
        for rows, high in _parts(image.shape[0], down)
    ]
    return np.asarray(cv2.vconcat(reduced), np.uint8), box


def _parts(side: int, step: int) -> list[tuple[slice, int]]:
    """Return what a side is reduced in: whole steps, then what is left; and how many px each is."""
    whole, left = side // step, side % step
    return [(slice(0, side - left), whole), *([(slice(side - left, side), 1)] if left else [])]


def feed(
    image: NDArray[np.uint8], card: CoarseModel, hints: NDArray[np.float32] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Return all that a network is given of a photo, by the names of its inputs.

    ``hints`` are planes for one that takes them, (2, h, w) float32 in 0..1: what to keep, and what
    to drop; None says nothing.
    """
    inputs = {card.input: prepare(image, card)}
    if card.hints:
        blank = np.zeros((2, *inputs[card.input].shape[2:]), np.float32)
        inputs[HINTS] = (blank if hints is None else hints)[None]
    return inputs


def probabilities(
    session: Session,
    card: CoarseModel,
    image: NDArray[np.uint8],
    mirrored: bool = False,
    hints: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Run the network on a photo, or on its mirror image; what it says is turned back.

    ``hints`` are as for :func:`feed`, of the photo as it is.

    Returns how likely each pixel of the view belongs to the subject, (h, w) float32 in 0..1, for
    :func:`to_mask`. Raises :class:`ModelInvalid` where the answer is no map, which a file whose
    output has no fixed size shows only here.
    """
    inputs = feed(image, card, hints)
    if mirrored:
        inputs = {name: np.ascontiguousarray(array[..., ::-1]) for name, array in inputs.items()}
    (output,) = session.run([card.output], inputs)
    if output.ndim != 4 or output.shape[:2] != (1, 1) or max(output.shape) < SMALLEST:
        raise ModelInvalid(
            f"{card.path}: stage 1 must answer with one map, (1, 1, H, W) of at least {SMALLEST} "
            f"px a side, not {output.shape}"
        )
    raw = np.asarray(output[0, 0], np.float32)
    if card.sigmoid:
        raw = np.asarray(1 / (1 + np.exp(-np.clip(raw, -80, 80))), np.float32)
    raw = np.nan_to_num(raw)
    return np.ascontiguousarray(raw[:, ::-1]) if mirrored else raw


def to_mask(raw: NDArray[np.float32], card: CoarseModel) -> NDArray[np.float32]:
    """Turn a network's answer into a mask, (h, w) float32 in 0..1, by the model's own range.

    It is not stretched to its extremes: where the network saw nothing, nothing is there.
    """
    low, high = card.output_range
    return np.asarray(np.clip((raw - low) / (high - low), 0, 1), np.float32)


def predict(session: Session, card: CoarseModel, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Look at the whole photo once; return the mask at the network's own size, (h, w) float32."""
    return to_mask(probabilities(session, card, image), card)


def upsample(mask: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Enlarge a stage-1 map to the photo's size, (h, w) to (H, W) float32 in 0..1, with Lanczos."""
    height, width = shape
    if height < mask.shape[0] or width < mask.shape[1]:
        # Pillow's filter grows with the reduction, OpenCV's would skip pixels.
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.LANCZOS)
        return np.clip(np.asarray(resized, np.float32), 0, 1)
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LANCZOS4)
    full: NDArray[np.float32] = np.asarray(large, np.float32)
    return np.clip(full, 0, 1, out=full)
