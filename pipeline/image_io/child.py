"""The process that decodes for :mod:`pipeline.image_io.sandbox`: started as a script.

It reads requests from standard input and answers on standard output, until there are no more. A
request is a head in JSON (``max_pixels``, and the ``seconds`` of a processor and the ``wait`` by
the clock that it may take) and the file's bytes; an answer is a head in JSON, and the pixels, the
alpha and the metadata as they lie in memory. JSON and raw bytes, because nothing that a hostile
file could make this process say may harm the one that listens.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import types
from pathlib import Path
from typing import Any, BinaryIO

#: Bytes that Python and its libraries take by themselves, and that a pixel takes at most while it
#: is decoded: four channels of floats, twice.
_BASE, _A_PIXEL = 400 << 20, 48
_MOST = 1 << 62  # bytes: what the system can be told, where there is no limit to the pixels
#: Seconds beyond its wait after which it ends by itself: its parent, that should have ended it, is
#: no more.
_GRACE = 1.0


def _pipeline() -> None:
    """Make ``pipeline`` importable without its ``__init__``, which loads all of the product."""
    sys.path[:] = json.loads(sys.argv[1])
    package = types.ModuleType("pipeline")
    package.__path__ = [str(Path(__file__).parents[1])]
    sys.modules["pipeline"] = package


def _bound(size: int, max_pixels: float) -> None:
    """Bound the memory for a file of so many bytes, where the system can do that."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = int(min(_BASE + 2 * size + _A_PIXEL * max_pixels, _MOST))
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _end_after(work: float, wait: float) -> None:
    """Die after so many seconds of a processor, and of the clock, also in C; 0 calls it off."""
    if hasattr(signal, "setitimer"):  # POSIX
        signal.setitimer(signal.ITIMER_PROF, min(work, 1e6))
        signal.setitimer(signal.ITIMER_REAL, min(wait, 1e6))


def _answer(head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[Any]]:
    from pipeline.errors import ImageError
    from pipeline.image_io.reading import read

    try:
        photo = read(data, head["max_pixels"], seconds=None)
    except ImageError as error:
        return {"error": type(error).__name__, "message": str(error)}, []
    except MemoryError:
        message = "the image needs more memory than there is for it"
        return {"error": "ImageTooLarge", "message": message}, []
    alpha = b"" if photo.alpha is None else photo.alpha.data
    return {
        "shape": photo.image.shape[:2],
        "format": photo.format,
        "dpi": photo.dpi,
        "notes": photo.notes,
    }, [photo.image.data, alpha, photo.exif]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def main() -> None:
    _pipeline()
    import numpy  # noqa: F401  # now, and not with the first picture
    import PIL.Image

    assert PIL
    requests = sys.stdin.buffer
    # Whatever a library prints is no answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _alone()
    while True:
        try:
            length, size = struct.unpack(">IQ", _exactly(requests, 12))
            head = json.loads(_exactly(requests, length))
            _bound(size, head["max_pixels"])
            data = _exactly(requests, size)
        except EOFError:
            return
        _end_after(head["seconds"], head["wait"] + _GRACE)
        answer, parts = _answer(head, data)
        del data
        views = [memoryview(part).cast("B") for part in parts]
        reply = json.dumps({**answer, "parts": [len(view) for view in views]}).encode()
        answers.write(struct.pack(">I", len(reply)) + reply)
        for view in views:
            answers.write(view)
        answers.flush()
        del parts, views
        _end_after(0, 0)


def _alone() -> None:
    """Leave Ctrl-C to the parent, which finishes what is under way; and no core files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "setitimer"):  # whatever the parent does with them is inherited
        timers = (signal.SIGPROF, signal.SIGALRM)
        for number in timers:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, timers)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
