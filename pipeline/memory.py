"""Saying that memory or threads ran out, whoever ran out of them."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import OutOfMemory

# OpenCV and onnxruntime have no exception of their own for it, or a private one.
_WORDS = re.compile(
    r"bad[_ ]alloc|insufficient memory|out ?of ?memory|failed to allocate|cannot allocate memory"
    r"|failed to map segment",
    re.IGNORECASE,
)

_NO_THREAD = "can't start new thread"  # CPython has no exception of its own for it either


@contextmanager
def enough_memory(
    message: str = "not enough memory for this photo: take a smaller one, or close other programs",
) -> Iterator[None]:
    """Raise :class:`OutOfMemory` where NumPy, Pillow, OpenCV or onnxruntime had too little.

    Also where one of them cannot be loaded for want of it, and where no thread can be started.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
            raise OutOfMemory(
                "the system starts no further thread: raise its limit (ulimit -u, or the number of "
                "processes that a container may have)"
            ) from error
        if isinstance(error, MemoryError) or _foreign(error):
            raise OutOfMemory(message) from error
        raise


def _foreign(error: Exception) -> bool:
    library = type(error).__module__.partition(".")[0]
    known = library in ("cv2", "onnxruntime") or isinstance(error, ImportError)
    return known and bool(_WORDS.search(str(error)))


try:
    _malloc_trim = ctypes.CDLL(None).malloc_trim
except (AttributeError, OSError):  # not glibc
    _malloc_trim = None  # type: ignore[assignment]


def trim() -> None:
    """Give freed memory back to the system: glibc keeps it, and what follows is put beside it."""
    if _malloc_trim:
        _malloc_trim(0)


def compact() -> None:
    """Keep the process small: glibc gives each thread a heap of its own, and keeps them all.

    That alone. Were large blocks to go back to the system as soon as they are freed
    (M_MMAP_THRESHOLD), a cutout would fetch the same memory a hundred times, for half as much time
    again; :func:`trim` gives it back once, at the end.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(-8, 2)  # M_ARENA_MAX
