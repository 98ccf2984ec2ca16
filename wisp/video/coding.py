"""Clips out: which container holds what, and how a picture becomes a frame of its codec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import compose
from pipeline.errors import OutputError, SettingsError, UnsupportedFormat
from wisp.video.clip import Colour

_LIMITED, _FULL = 1, 2  # ranges of AVColorRange
_RGB = 0  # the matrix of what is RGB already


@dataclass(frozen=True)
class Picture:
    """A frame to write: straight colours, (H, W, 3) uint8, and alpha, (H, W) float32 in 0..1.

    ``alpha`` is None where a background lies behind.
    """

    colours: NDArray[np.uint8]
    alpha: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Coding:
    """A container's codec and its settings.

    Attributes
    ----------
    exact
        Whether the alpha comes back level for level; else it may be off by :data:`LOSS` on average.
    decoder
        What shows the alpha, where it is not the decoder that a container names.
    loop
        Whether it is one of the short loops, which pages show as pictures.
    """

    codec: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)
    exact: bool = False
    decoder: str | None = None
    loop: bool = False


#: Mean error of alpha, in levels of 255, that a lossy codec may make before it counts as lost.
LOSS = 4.0

# The alpha of ProRes is lossless. VP9 at crf 20 is transparent to the eye; its alternate reference
# frames are off because libvpx has none for alpha, and without them a look ahead gains nothing and
# costs 230 MB at 1080p. FFV1's slices let it work on several cores.
_PRORES = Coding("prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16",
                 "vendor": "apl0"}, exact=True)  # fmt: skip
_VP9 = {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "4", "deadline": "good"}
_VP9_ALPHA = Coding(
    "libvpx-vp9",
    "yuva420p",
    {**_VP9, "auto-alt-ref": "0", "lag-in-frames": "0"},
    decoder="libvpx-vp9",
)
_FFV1 = Coding("ffv1", "bgra", {"level": "3", "slices": "4", "slicecrc": "1"}, exact=True)
# Without B-frames the packets come in the order of their frames: parts can be joined as they are.
_H264 = Coding("libx264", "yuv420p", {"crf": "18", "preset": "medium", "bf": "0"})

#: By a name's ending: how it is coded with alpha (None: it holds none), and with a background.
CONTAINERS: dict[str, tuple[Coding | None, Coding]] = {
    ".mov": (_PRORES, _H264),
    ".webm": (_VP9_ALPHA, Coding("libvpx-vp9", "yuv420p", _VP9)),
    ".mkv": (_FFV1, _H264),
    ".mp4": (None, _H264),
    ".webp": (Coding("libwebp_anim", "bgra", {"quality": "90", "loop": "0"}, True, loop=True),) * 2,
    ".apng": (Coding("apng", "rgba", {"plays": "0"}, True, loop=True),) * 2,
    ".gif": (Coding("gif", "pal8", {"loop": "0"}, loop=True),) * 2,
}  # fmt: skip


def coding_for(path: Path, alpha: bool) -> Coding:
    """Choose the coding for a file's name.

    Raises :class:`UnsupportedFormat` for an unknown ending, and :class:`SettingsError` where alpha
    is to be kept and the container holds none.
    """
    ending = path.suffix.lower()
    if ending not in CONTAINERS:
        known = ", ".join(CONTAINERS)
        raise UnsupportedFormat(
            f"{path}: cannot write {ending or 'a clip without an ending'}: use {known}, or "
            "frames/%05d.png for a sequence"
        )
    with_alpha, without = CONTAINERS[ending]
    if not alpha:
        return without
    if with_alpha is None:
        holding = ", ".join(name for name, (coding, _) in CONTAINERS.items() if coding)
        raise SettingsError(
            f"{ending} holds no transparency: give a --background, or one of {holding}"
        )
    return with_alpha


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn a full disk, a folder that is not there, and what FFmpeg refuses to write into an
    :class:`OutputError`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write {path}: {reason}") from error
    except av.error.FFmpegError as error:  # mostly of a size that a codec does not take
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"cannot write {path}: FFmpeg refuses it ({reason}): try frames of another size, or "
            "another kind of file"
        ) from error


class Encoder:
    """One file with one stream of pictures."""

    def __init__(
        self,
        path: Path,
        coding: Coding,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        colour: Colour,
        aspect: Fraction = Fraction(1),
    ) -> None:
        """Prepare a file, which is made with its first frame.

        ``size`` is (height, width), ``rate`` frames a second on average. Here and later, raises
        :class:`OutputError` where the file cannot be written.
        """
        self.coding, self.colour, self.time_base = coding, colour, time_base
        options = dict(coding.options)
        muxer: dict[str, str] = {
            key: options.pop(key) for key in ("loop", "plays") if key in options
        }
        with as_output_error(path):
            self._container = av.open(str(path), "w", container_options=muxer)
            stream: Any = self._container.add_stream(coding.codec, rate, options)
        self._path, self._stream, self._clear = path, stream, False
        self.height, self.width = size
        if coding.pixels == "yuv420p":  # colour at half the size: H.264 takes no odd sides
            self.height, self.width = max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)
        context: Any = stream.codec_context
        self._stream.width, self._stream.height = self.width, self.height
        self._stream.pix_fmt = coding.pixels
        self._stream.time_base = context.time_base = time_base
        context.sample_aspect_ratio = aspect
        if coding.codec == "libvpx-vp9":
            context.thread_count = 0
        if coding.decoder and coding.pixels == "yuva420p":
            self._stream.metadata["alpha_mode"] = "1"  # players look for alpha only then
        if coding.pixels.startswith("yuv"):
            context.colorspace, context.color_range = colour.matrix, _LIMITED
            context.color_primaries, context.color_trc = colour.primaries, colour.transfer

    def write(self, picture: Picture, pts: int) -> None:
        """Encode a picture to be shown from ``pts`` on."""
        frame = self._frame(picture)
        frame.pts, frame.time_base = pts, self.time_base
        with as_output_error(self._path):
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        with as_output_error(self._path):
            self._container.mux(self._stream.encode())
            self._container.close()
            if self._clear and self.coding.codec == "libwebp_anim":
                _flag_alpha(self._path)

    def _frame(self, picture: Picture) -> av.VideoFrame:
        colours, alpha = picture.colours, picture.alpha
        colours = np.ascontiguousarray(colours[: self.height, : self.width])
        if self.coding.pixels == "pal8":
            return _palette(colours, alpha)
        if self.coding.pixels in ("bgra", "rgba"):
            opaque = np.ones(colours.shape[:2], np.float32) if alpha is None else alpha
            joined = compose.rgba(colours, opaque)
            self._clear = self._clear or bool((joined[..., 3] < 255).any())
            if self.coding.pixels == "bgra":
                joined = np.asarray(cv2.cvtColor(joined, cv2.COLOR_RGBA2BGRA), np.uint8)
            return av.VideoFrame.from_ndarray(joined, format=self.coding.pixels)
        if alpha is not None:
            colours = bleed(colours, alpha)
        flat = av.VideoFrame.from_ndarray(colours, format="rgb24").reformat(
            format=self.coding.pixels.replace("yuva", "yuv"),
            dst_colorspace=self.colour.matrix,
            dst_color_range=_LIMITED,
        )
        frame = flat if alpha is None else _with_alpha(flat, alpha, self.coding.pixels)
        frame.colorspace, frame.color_range = self.colour.matrix, _LIMITED
        frame.color_primaries, frame.color_trc = self.colour.primaries, self.colour.transfer
        return frame


def _flag_alpha(path: Path) -> None:
    """Say in a WebP's header that it has alpha.

    libwebp says so where a frame has some. But it trims frames to what shows: an opaque rectangle
    has none left, and without the flag Pillow and OpenCV fill what lies around it with black.
    """
    with open(path, "r+b") as file:
        header = file.read(21)
        if header[12:16] == b"VP8X":
            file.seek(20)
            file.write(bytes([header[20] | 0x10]))


def _with_alpha(flat: av.VideoFrame, alpha: NDArray[np.float32], pixels: str) -> av.VideoFrame:
    """Add a plane of alpha, from floats: ten bits hold more of it than eight."""
    frame = av.VideoFrame(flat.width, flat.height, pixels)
    for ours, theirs in zip(frame.planes, flat.planes, strict=False):
        _rows(ours, np.uint8)[:] = _rows(theirs, np.uint8)
    wide = pixels.endswith("10le")
    plane = _rows(frame.planes[3], np.uint16 if wide else np.uint8)
    plane[:, : flat.width] = np.rint(alpha * (1023 if wide else 255))
    return frame


def _rows(plane: Any, kind: Any) -> NDArray[Any]:
    return np.frombuffer(plane, kind).reshape(plane.height, -1)


def bleed(colours: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Continue the subject's colours to where alpha is 0.

    A lossy codec smears what lies side by side. The old background is not to come through at the
    edge, nor black; and what is smooth costs few bits. What was cut away is gone from the file.

    (H, W, 3) uint8, (H, W) float32 in 0..1 to (H, W, 3) uint8, unchanged where alpha is not 0.
    """
    height, width = alpha.shape
    size = (-(-width // 16), -(-height // 16))
    weight = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    amount = cv2.resize(
        compose.over(colours, alpha, (0, 0, 0)), size, interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    mean = amount.sum((0, 1)) / max(float(weight.sum()), 1e-6)
    near, share = (
        cv2.GaussianBlur(a, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE) for a in (amount, weight)
    )
    filled = (near + 1e-3 * mean) / (share[..., None] + 1e-3)
    small = np.clip(filled + 0.5, 0, 255).astype(np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    gone = compose.levels(alpha) == 0
    return np.where(gone[..., None], large, colours)


def _palette(colours: NDArray[np.uint8], alpha: NDArray[np.float32] | None) -> av.VideoFrame:
    """Reduce a picture to 255 colours and one that is transparent."""
    from PIL import Image

    picture = Image.fromarray(colours).quantize(255, method=Image.Quantize.FASTOCTREE)
    indices = np.array(picture, np.uint8)
    palette = np.zeros((256, 4), np.uint8)
    listed = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)[:255]
    palette[: len(listed), 1:], palette[:255, 0] = listed, 255
    if alpha is not None:
        indices[alpha < 0.5] = 255
    return av.VideoFrame.from_ndarray((indices, palette), format="pal8")  # type: ignore[arg-type]
