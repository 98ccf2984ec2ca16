"""A clip from end to end: read, cut out, written, so that a stop loses nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.selection import Selection
from wisp.video.behind import Behind
from wisp.video.clip import Clip, Frame
from wisp.video.cutout import CutoutVideo
from wisp.video.errors import ClipError
from wisp.video.sinks import ClipFile, Sink
from wisp.video.sources import Source

#: Told after each frame how many are done, and of how many where that is known.
Progress = Callable[[int, "int | None"], None]
_WARM = 4  # frames that are looked at again where a run goes on


@dataclass(frozen=True)
class Report:
    """What became of a clip.

    Attributes
    ----------
    frames
        How many were written, those of a run before this one included.
    damaged
        How many of them could not be decoded, and repeat the cutout before.
    seconds
        That this run took.
    whole
        Whether the clip was done to its end.
    notes
        What the user may want to know, a short sentence each.
    """

    frames: int
    damaged: int
    seconds: float
    whole: bool
    notes: tuple[str, ...] = ()


def cut_clip(
    source: Source,
    sink: Sink,
    cutout: CutoutVideo,
    behind: Behind,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Report:
    """Cut out a clip.

    Parameters
    ----------
    source, sink
        Where the frames come from and go to: :func:`wisp.video.sources.open_source` and
        :func:`wisp.video.sinks.sink_for` open them. A sink that holds frames already is gone on
        with, behind its last.
    cutout, behind
        What cuts out, and what makes the picture of it.
    progress
        Told how far it is, after each frame.
    stop
        Asked after each frame; when it says True, what is done is made a file that plays.

    Raises
    ------
    pipeline.errors.WispError
        When the clip cannot be read or written. What a clip file holds by then can be gone on with.
    """
    start = time.perf_counter()
    counts = sink.counts if isinstance(sink, ClipFile) else {}
    following = Selection(box=counts["box"]) if "box" in counts else None
    # Not the pictures: where a clip stands still, nothing comes back for as long as it does.
    under_way: deque[tuple[int, bool, bool]] = deque()
    whole, empty = True, sink.written == 0

    def read() -> Iterator[Frame]:
        for frame, wanted in _todo(source, sink):
            under_way.append((frame.pts, frame.damaged, wanted))
            yield frame

    try:
        for result in cutout(read(), following):
            pts, damaged, wanted = under_way.popleft()
            if not wanted:
                continue
            empty = empty and result.empty
            sink.write(behind.picture(result, pts * source.time_base), pts)
            del result  # its arrays, while the next one is made
            if cutout.following.box:
                counts["box"] = cutout.following.box
            if damaged:
                counts["damaged"] = counts.get("damaged", 0) + 1
            if progress:
                progress(sink.written, source.count)
            if stop and stop():
                whole = False
                break
        found = source.found.notes if isinstance(source, Clip) else ()
        nothing = ("no subject found",) if empty and sink.written else ()
        notes = (*source.notes, *found, *nothing, *sink.finish(whole))
    except BaseException as error:
        sink.abandon(again=isinstance(error, ClipError))
        raise
    return Report(sink.written, counts.get("damaged", 0), time.perf_counter() - start, whole, notes)


def _todo(source: Source, sink: Sink) -> Iterator[tuple[Frame, bool]]:
    """The frames to look at, and whether each is to be written.

    Where a run before this one was stopped, the last few that it wrote come first once more: what
    follows is to be as steady as if nothing had happened. Every second frame is cut out, and they
    are to be the same ones.
    """
    old = sink.written
    again = _WARM + old % 2
    if isinstance(sink, ClipFile) and old:
        last = sink.last
        for frame in source.frames(sink.recent(again)):
            yield frame, last is None or frame.pts > last
    else:
        for number, frame in enumerate(source.frames()):
            if number >= old - again:
                yield frame, number >= old
