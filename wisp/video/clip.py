"""Clips in: frames upright and in RGB, each with its own time, whatever the container holds."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from wisp.video.errors import ClipError, ClipTooLarge
from wisp.video.found import Found, said_length

# ITU-T H.273: the code points of what a clip says about its colours.
UNSPECIFIED, BT709, BT601 = 2, 1, 6
_HDR = {16: "PQ", 18: "HLG"}
_BROKEN = (
    av.error.InvalidDataError,
    av.error.ArgumentError,  # more pixels than a decoder may make
    av.error.BugError,
    av.error.ExternalError,
)


@dataclass(frozen=True)
class Colour:
    """How a clip's numbers stand for colours: code points of ITU-T H.273."""

    matrix: int = BT709
    primaries: int = BT709
    transfer: int = BT709


@dataclass(frozen=True)
class Limits:
    """How much a clip may be: what strangers send lies about itself, so frames are counted too.

    Attributes
    ----------
    pixels
        Of one frame.
    seconds
        From the first frame to the last.
    frames
        How many.
    """

    pixels: int
    seconds: float
    frames: int

    def check(self, clip: Path, pixels: int, seconds: float, frames: int) -> None:
        """Raise :class:`ClipTooLarge` where a clip is more than that."""
        if pixels > self.pixels:
            raise ClipTooLarge(
                f"{clip} has frames of {pixels} pixels, and the limit is {self.pixels}: reduce it"
            )
        if seconds > self.seconds or frames > self.frames:
            raise ClipTooLarge(
                f"{clip} is longer than {self.seconds:g} s or {self.frames} frames: shorten it"
            )


@dataclass(frozen=True)
class Frame:
    """A picture and when it is shown.

    Attributes
    ----------
    image
        (H, W, 3) uint8 RGB, upright.
    pts, duration
        When it begins, and how long it lasts, in the clip's ``time_base``; 0 where not known.
    damaged
        Whether it could not be decoded as it was meant: then the picture is a guess of the
        decoder's, or the one before.
    """

    image: NDArray[np.uint8]
    pts: int
    duration: int = 0
    damaged: bool = False


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before its frames are read.

    Attributes
    ----------
    size
        (height, width) of the upright frames.
    time_base
        Seconds that a step of ``pts`` stands for.
    rate
        Frames a second, on average.
    count
        Frames, as far as the container knows or the length tells; None where neither does.
    aspect
        How wide a pixel is for its height.
    notes
        What the user may want to know, a short sentence each.
    limits
        How much it may be; None is any.
    length
        Seconds that its pictures take, as the container says; 0 where it does not.
    found
        What is found out about it as its frames are read.
    """

    path: Path
    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction
    count: int | None
    colour: Colour
    aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()
    limits: Limits | None = None
    length: float = 0.0
    found: Found = field(default_factory=Found, compare=False)

    def frames(self, after: int | None = None) -> Iterator[Frame]:
        """Decode the frames in the order of their times; only those later than ``after``, if given.

        A frame that cannot be decoded is the picture before it, at its own time, and ``damaged``.
        Raises :class:`ClipError` when the file is gone, or not one frame can be decoded,
        :class:`ClipTooLarge` at the frame that is beyond the limits.
        """
        with opened(self.path) as container:
            stream = _video(container, self.path, self.limits)
            if after is not None:
                container.seek(after, stream=stream)
            begun: int | None = None
            for number, frame in enumerate(_decoded(container, stream, self), 1):
                begun = frame.pts if begun is None else begun
                if self.limits:
                    passed = float((frame.pts - begun) * self.time_base)
                    self.limits.check(self.path, 0, passed, number)
                if after is None or frame.pts > after:
                    yield frame
            if begun is None:
                raise ClipError(f"{self.path}: not one frame can be decoded")


def open_clip(path: Path, limits: Limits | None = None) -> Clip:
    """Look at a clip, and decode its first frame, which knows best how it is to be shown.

    Raises
    ------
    ClipTooLarge
        When it says of itself that it is beyond the ``limits``.
    ClipError
        When it cannot be read, has no pictures, or is HDR: squeezed into 8 bits by a guess, it
        would look worse than any converter makes it.
    """
    with opened(path) as container:
        stream = _video(container, path, limits)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        count = stream.frames or _by_length(container, rate)
        context = stream.codec_context
        if limits:
            seconds = (container.duration or 0) / av.time_base
            limits.check(path, context.width * context.height, seconds, count or 0)
        first = next(_frames(container, stream, []), None)
        if first is None:
            raise ClipError(f"{path}: not one frame can be decoded")
        if kind := _HDR.get(context.color_trc):
            raise ClipError(
                f"{path} is HDR ({kind}), and cutouts are SDR: convert it first, with ffmpeg -i IN "
                "-vf zscale=t=linear:npl=100,tonemap=hable,zscale=t=bt709:m=bt709:p=bt709,"
                "format=yuv420p OUT.mp4"
            )
        notes = []
        if first.interlaced_frame:
            notes.append("it is interlaced, and moving edges will show it: deinterlace it before")
        turned = first.rotation % 180 == 90
        size = (first.width, first.height) if turned else (first.height, first.width)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        matrix = context.colorspace
        if matrix in (0, UNSPECIFIED):  # what players take it for, by its size
            matrix = BT709 if max(size) >= 1280 or min(size) >= 720 else BT601
        colour = Colour(matrix, context.color_primaries, context.color_trc)
        assert stream.time_base is not None
        return Clip(
            Path(path),
            size,
            stream.time_base,
            rate,
            count,
            colour,
            1 / aspect if turned else aspect,
            tuple(notes),
            limits,
            said_length(container, stream),
        )


def _by_length(container: Any, rate: Fraction) -> int | None:
    return round(container.duration / av.time_base * rate) if container.duration else None


#: A playlist names other files, and addresses on the network: none of them is opened.
_ALONE = {"protocol_whitelist": "none"}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a stranger's clip. Raises :class:`ClipError` where it is none, or shows other files."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            if not os.fstat(file.fileno()).st_size:
                raise ValueError("the file is empty")
            container = av.open(file, metadata_errors="replace", options=_ALONE)
            stack.enter_context(container)
        except (OSError, ValueError, *_BROKEN) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ClipError(f"{path} cannot be read as a clip: {reason.lower()}") from error
        yield container


def _video(container: Any, path: Path, limits: Limits | None) -> Any:
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        raise ClipError(f"{path} has no pictures in it, or of a kind that is not known")
    if limits:  # for later frames, which may be larger; coded frames are padded to whole blocks
        stream.codec_context.options = {"max_pixels": str(2 * limits.pixels)}
    return stream


def _frames(container: Any, stream: Any, errors: list[Exception], waiting: Any = None) -> Any:
    """Decode what can be; errors are put into ``errors``, the packets' times into ``waiting``."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except _BROKEN as error:  # the container itself ends in rubbish
            errors.append(error)
            return
        if waiting is not None and packet.pts is not None and not packet.is_discard:
            heapq.heappush(waiting, packet.pts)
        try:
            yield from packet.decode()
        except _BROKEN as error:
            errors.append(error)


def _decoded(container: Any, stream: Any, clip: Clip) -> Iterator[Frame]:
    errors: list[Exception] = []
    waiting: list[int] = []  # times of packets whose pictures have not come yet, earliest first
    before: Frame | None = None
    step = max(1, round(1 / (clip.rate * clip.time_base)))
    first = 0
    for decoded in _frames(container, stream, errors, waiting):
        pts = decoded.pts
        if pts is None:
            pts = 0 if before is None else before.pts + step
        while waiting and waiting[0] <= pts:
            lost = heapq.heappop(waiting)
            # Without an error it is no loss: two packets may make one picture.
            if errors and before and before.pts < lost < pts:
                before = Frame(before.image, lost, 0, True)
                yield before
        if not waiting:
            errors.clear()
        if before and pts <= before.pts:
            clip.found.late += 1  # no clip can show two pictures at a time
            continue
        first = pts if before is None else first
        picture = _upright(decoded, clip)
        before = Frame(picture, pts, decoded.duration or 0, bool(decoded.is_corrupt))
        yield before
    while errors and before and waiting:
        lost = heapq.heappop(waiting)
        if lost > before.pts:
            before = Frame(before.image, lost, 0, True)
            yield before
    if before:
        end = before.pts + max(step, before.duration)
        # Some containers count their length from 0, others from the first frame.
        clip.found.end(clip.length, max(end, end - first) * clip.time_base, step * clip.time_base)


def _upright(decoded: Any, clip: Clip) -> NDArray[np.uint8]:
    rgb = decoded.to_ndarray(format="rgb24", src_colorspace=clip.colour.matrix)
    turned = np.ascontiguousarray(np.rot90(rgb, round(decoded.rotation / 90)))
    if turned.shape[:2] != clip.size:  # the clip changes its size on the way
        import cv2

        clip.found.resized += 1
        turned = cv2.resize(turned, clip.size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(turned, np.uint8)
