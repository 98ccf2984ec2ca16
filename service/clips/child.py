"""The process that cuts out one clip for :mod:`service.clips.queue`; it may be killed at any time.

It reads one request, a line of JSON, from standard input, and writes lines of JSON to standard
output: ``{"frames": …, "of": …}`` after each frame, and at the end ``{"notes": […]}``, or
``{"error": {…}}`` for the client, or ``{"fault": …}`` for the log. The names in the request lie in
the working folder: no message names another path. Memory, the size of files and the time are
bounded by the system before the clip is opened.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import Cutout, Output, Settings, image_io
from pipeline.errors import UnreadableImage, UnsupportedFormat, WispError
from pipeline.memory import compact, enough_memory
from pipeline.output import paint
from service.clips.wish import Wish
from service.errors import Problem, problem
from wisp.video import (
    Behind,
    Clip,
    ClipError,
    ClipTooLarge,
    CutoutVideo,
    Limits,
    cut_clip,
    open_clip,
    sink_for,
)

#: The request's files in the working folder.
CLIP, BEHIND = Path("file"), Path("background_file")

#: Bytes that the networks and the coders take by themselves, that each core adds with its threads,
#: and that a pixel of a frame takes at most.
_BASE, _A_CORE, _A_PIXEL = 900 << 20, 48 << 20, 400
_GRACE = 5.0  # seconds beyond the time after which it ends by itself
_NICE = 10  # photos go first: somebody looks at an empty page for them


def _bound(seconds: float, largest: int, pixels: int) -> None:
    """Let the system hold this process to what it may take, whatever a decoder does."""
    os.nice(_NICE)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
    with contextlib.suppress(OSError):  # Linux: out of memory, it is not the service that ends
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        memory = _BASE + _A_CORE * (os.cpu_count() or 1) + _A_PIXEL * pixels
        for kind, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, largest),
            (resource.RLIMIT_DATA, memory),
        ):
            _, hard = resource.getrlimit(kind)
            wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (wanted, hard))


def _cut(request: dict[str, Any], say: Any) -> None:
    wish, limits = Wish(**request["wish"]), Limits(**request["limits"])
    source = open_clip(CLIP, limits)
    picture, moving = _behind(limits)
    painted = paint(wish.background)
    output = Output(
        background=painted if picture is None else picture,
        fit=wish.fit,
        linear=wish.linear and moving is None,
        only_mask=wish.only_mask,
    )
    behind = Behind(output, source.size, moving, wish.linear)
    sink = sink_for(Path(request["out"]), source, behind.alpha, False, {})
    cutout = CutoutVideo(Cutout(Settings(**request["settings"])), steady=wish.steady)
    report = cut_clip(source, sink, cutout, behind, lambda done, of: say(frames=done, of=of))
    damaged = [f"{report.damaged} damaged frames repeat the one before"] * bool(report.damaged)
    say(notes=[*source.notes, *report.notes, *damaged])


def _behind(limits: Limits) -> tuple[Any, Clip | None]:
    """Open the file that lies behind: the pixels of a picture, or a clip."""
    if not BEHIND.exists():
        return None, None
    try:
        return image_io.read(BEHIND, limits.pixels, seconds=None).image, None
    except (UnreadableImage, UnsupportedFormat):
        return None, open_clip(BEHIND, limits)


def _problem(error: Exception) -> Problem:
    if isinstance(error, ClipTooLarge):
        return Problem(413, "clip_too_large", str(error))
    if isinstance(error, ClipError):
        return Problem(400, "invalid_clip", str(error))
    return problem(error)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer

    def say(**facts: Any) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    compact()
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _bound(request["seconds"], request["largest"], request["limits"]["pixels"])
    try:
        with enough_memory("the clip needs more memory than there is for it: reduce it"):
            _cut(request, say)
    except WispError as error:
        say(error=asdict(_problem(error)))
    except Exception:
        say(fault=traceback.format_exc())


if __name__ == "__main__":
    main()
