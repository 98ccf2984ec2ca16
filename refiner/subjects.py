"""Subjects: foreground colour and true alpha, from whatever a folder holds.

Each kind of folder (:mod:`training.folders`) becomes the same thing, a straight RGBA picture:

- cutouts are taken as they are;
- of a photo with a soft alpha only the colours are estimated (Germer et al., 2020);
- a binary mask becomes a trimap, and that an alpha by closed-form matting (Levin et al., 2008).
  The mask is either accurate or a network's guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import OutputError, SettingsError
from pipeline.files import write
from training import folders
from training.folders import read_rgb

#: Masks may come from a network. One that is in doubt about more of the photo than a border's width
#: has not found the subject, and what is cut out by it is half a thing.
MAX_UNSURE_SHARE = 0.25

#: Longest side, px, at which closed-form matting is solved: its time and memory grow faster.
MATTING_SIDE = 1024


@dataclass(frozen=True)
class SubjectFile:
    """Where a subject comes from: an RGBA file, or an image with its alpha or mask."""

    kind: str  # "cutouts", "alphas", "masks" or "guesses"
    image: Path
    matte: Path | None = None

    @property
    def name(self) -> str:
        """A name that tells apart files of one name in different folders."""
        folder = self.image.parent
        return f"{folder.parent.name}-{folder.name}-{self.image.stem}"


@dataclass(frozen=True)
class Subject:
    """A foreground and its alpha, and the photo they came from where alpha is true on it, too.

    ``foreground`` (H, W, 3) uint8 RGB straight, ``alpha`` (H, W) float32 0..1, ``photo`` (H, W, 3)
    uint8 RGB or None. On its photo, alpha is true pixel by pixel if ``pixel_accurate``, else as a
    whole: in a photo reduced so far that strands are too thin to matter.
    """

    foreground: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    photo: NDArray[np.uint8] | None = None
    pixel_accurate: bool = True


def subject_files(source: folders.Source) -> Iterator[SubjectFile]:
    """Yield the subjects of a folder; of one without any there are none."""
    if source.kind == "cutouts":
        yield from (SubjectFile("cutouts", picture) for picture in source.pictures)
    for picture, truth in zip(source.pictures, source.truths, strict=False):
        yield SubjectFile(source.kind, picture, truth)


def trimap(mask: NDArray[np.bool_], shrink: int = 4, grow: int = 6) -> NDArray[np.float64]:
    """Turn a binary mask into a trimap, (H, W) float64 of 0, 0.5 and 1.

    Surely foreground from ``shrink`` px inside the mask on, surely background from ``grow`` px
    outside: masks cut hair off more often than they take background in.
    """
    binary = mask.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    # What lies beyond the picture's border continues what lies at it.
    inside = cv2.erode(binary, kernel, iterations=shrink, borderValue=1)
    outside = cv2.dilate(binary, kernel, iterations=grow)
    return np.where(inside > 0, 1.0, np.where(outside > 0, 0.5, 0.0))


def unsure_share(mask: NDArray[np.uint8]) -> float:
    """How much of a mask, (H, W) uint8, is neither in nor out, as a share of what is in."""
    return float(((mask > 25) & (mask < 230)).sum() / max(1, (mask > 127).sum()))


def matte(image: NDArray[np.uint8], known: NDArray[np.float64]) -> NDArray[np.float32]:
    """Closed-form alpha of an image with a trimap, (H, W) float32 0..1 (Levin et al., 2008).

    Raises ``ValueError`` where the trimap has no 0 or no 1.
    """
    import pymatting

    alpha = pymatting.estimate_alpha_cf(image / 255.0, known)
    return np.clip(alpha, 0, 1).astype(np.float32)


def colours(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Foreground colours, (H, W, 3) uint8 straight, by multi-level estimation (Germer, 2020)."""
    import pymatting

    foreground = pymatting.estimate_foreground_ml(image / 255.0, alpha.astype(np.float64))
    return np.clip(foreground * 255 + 0.5, 0, 255).astype(np.uint8)


def make(source: SubjectFile) -> Subject | None:
    """Read a subject and work out what it lacks; None where nothing or everything is subject."""
    if source.kind == "cutouts":
        with Image.open(source.image) as picture:
            rgba = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))
        return Subject(rgba[..., :3].copy(), (rgba[..., 3] / 255.0).astype(np.float32))
    if source.matte is None:
        raise SettingsError(f"{source.image} needs an alpha or a mask beside it")
    photo: NDArray[Any] = read_rgb(source.image)
    with Image.open(source.matte) as picture:
        grey: NDArray[Any] = np.asarray(picture.convert("L"))
    if grey.shape != photo.shape[:2]:
        grey = cv2.resize(grey, photo.shape[1::-1], interpolation=cv2.INTER_AREA)
    if source.kind == "alphas":
        alpha: NDArray[Any] = grey.astype(np.float32) / 255
    else:
        scale = MATTING_SIDE / max(grey.shape)
        if scale < 1:
            size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
            photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        if not 0.01 < (grey > 127).mean() < 0.95 or unsure_share(grey) > MAX_UNSURE_SHARE:
            return None
        known = trimap(grey > 127)
        if not ((known == 1).any() and (known == 0).any()):
            return None  # all of it is thin, or near the edge: nothing is sure on one side
        # On a new background this alpha is the truth by construction. On its own photo it is not:
        # what an accurate mask cuts off are strands, what a network's mask does may be anything.
        alpha = matte(photo, known)
        own = photo if source.kind == "masks" else None
        return Subject(colours(photo, alpha), alpha, own, pixel_accurate=False)
    return Subject(colours(photo, alpha), alpha, photo)


def save(subject: Subject, folder: Path, name: str) -> None:
    """Store a subject as ``name.png`` (RGBA, straight), its photo as ``name.photo.png``.

    The photo of one that is not pixel-accurate is ``name.whole.png``.
    """
    if subject.photo is not None:
        kind = "photo" if subject.pixel_accurate else "whole"
        _write(folder / f"{name}.{kind}.png", subject.photo)
    alpha = (subject.alpha * 255 + 0.5).astype(np.uint8)
    _write(folder / f"{name}.png", np.dstack([subject.foreground, alpha]))


def load(folder: Path, name: str) -> Subject:
    """Read back what :func:`save` stored."""
    subject = make(SubjectFile("cutouts", folder / f"{name}.png"))
    assert subject is not None
    for kind in ("photo", "whole"):
        path = folder / f"{name}.{kind}.png"
        if path.exists():
            return replace(subject, photo=read_rgb(path), pixel_accurate=kind == "photo")
    return subject


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, code), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise OutputError(f"{path} cannot be encoded as PNG")
    write(path, data.tobytes())
