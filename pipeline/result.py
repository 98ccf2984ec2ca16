"""What comes of a photo: the matte, the colours, and everything that led to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import compose, confidence, detail, pieces, render
from pipeline.image_io import Photo
from pipeline.output import Layer, Output, layer


@dataclass(frozen=True)
class Result:
    """A cutout, and everything that led to it.

    Attributes
    ----------
    photo
        The photo as read: upright, sRGB, with its metadata and notes.
    alpha
        The matte, (H, W) float32 in 0..1.
    foreground
        Straight (not premultiplied) colours with the background taken out, (H, W, 3) uint8.
    coarse
        The stage-1 mask at the size at which stage 2 saw the photo (:func:`pipeline.detail.size`),
        (h, w) float32 in 0..1; at the photo's own, (H, W), without stage 2.
    roi
        The edge and what lies near it, where the alpha is in doubt, (h, w) bool.
    tiles
        Corners (y, x) of the patches, laid over the ROI and over strands that leave it, that stage
        2 redrew, (N, 2), in pixels of ``coarse``. Outside of them the alpha is what stage 1 said,
        bit for bit.
    timings
        Seconds by stage: read, coarse, roi, refine, colour.
    confidence
        How likely the subject is whole, 0..1: that its IoU with the truth is 0.8 or more. 0 where
        nothing was found, 1 where a mask was given or the photo is a cutout already. See
        :mod:`pipeline.confidence`.
    cells
        Rows and columns of stage 1's last view, were it of the whole photo.
    looks
        Looks of stage 1 that the confidence was told from, 1 or 2.
    """

    photo: Photo
    alpha: NDArray[np.float32]
    foreground: NDArray[np.uint8]
    coarse: NDArray[np.float32]
    roi: NDArray[np.bool_]
    tiles: NDArray[np.intp]
    timings: dict[str, float]
    confidence: float = 1.0
    cells: tuple[int, int] = (320, 320)
    looks: int = 2

    @property
    def unsure(self) -> bool:
        """Whether a subject was found, but may well be incomplete or another one."""
        return not self.empty and self.confidence < confidence.calibration(self.looks).unsure

    def each(self, least: float = pieces.LEAST) -> list[Result]:
        """Divide it into its subjects, from left to right: a result each, of the photo's size.

        Pieces of less than ``least`` of the largest one's area stay with the nearest subject.
        """
        numbers, order = pieces.apart(self.coarse, least)
        return [self.part(numbers == number) for number in order]

    def part(self, region: NDArray[np.bool_]) -> Result:
        """Return what of it lies in a region, (h, w) bool of the coarse mask's size."""
        nothing = np.float32(0)
        inside = detail.enlarged(region, self.alpha.shape)
        return replace(
            self,
            alpha=np.where(inside, self.alpha, nothing),
            coarse=np.where(region, self.coarse, nothing),
        )

    @property
    def empty(self) -> bool:
        """Whether no subject was found: not one pixel is likelier in than out."""
        return bool(self.coarse.max() < 0.5)

    @cached_property
    def image(self) -> Image.Image:
        """The cutout as a PIL image in mode RGBA, straight alpha."""
        return Image.fromarray(compose.rgba(self.foreground, self.alpha))

    def __repr__(self) -> str:
        height, width = self.alpha.shape
        share = float(self.alpha.mean())
        subject = "no subject" if self.empty else f"subject on {share:.0%} of the picture"
        seconds = sum(self.timings.values())
        return f"<Result {width}×{height} px, {subject}, {len(self.tiles)} tiles, {seconds:.2f} s>"

    def _repr_png_(self) -> bytes:
        """Show the cutout where a notebook shows a result."""
        return render.to_bytes(self)

    def composite(self, background: Layer | PathLike[str]) -> Image.Image:
        """Put the subject on a background: a colour, "blur", a gradient, or a picture.

        Returns a PIL image in mode RGB (RGBA on a half-transparent colour). Raises
        :class:`pipeline.errors.SettingsError` or :class:`pipeline.errors.ImageError` for a
        background that is none; see :func:`pipeline.output.layer`.
        """
        return Image.fromarray(render.render(self, Output(background=layer(background))))

    def save(self, path: str | PathLike[str], output: Output | None = None) -> None:
        """Write the cutout; the name's ending chooses the format unless ``output`` does.

        The file is complete or not there at all. Raises :class:`pipeline.errors.OutputError` when
        it cannot be written, :class:`pipeline.errors.UnsupportedFormat` for an unknown ending.
        """
        render.save(self, path, output)
