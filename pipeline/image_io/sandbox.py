"""Decoding in a process that can be killed. One module: the children and their watchers share all.

A decoder cannot be stopped from within: it is C, or holds the interpreter. So what is not plainly
built (:mod:`pipeline.image_io.structure`), or comes from strangers, is decoded in a child process,
which ends when its time is over, and whose memory is bounded where the system can do that. A child
is kept for the next picture: it takes a fifth of a second to start, and a picture of 12 megapixels
some 20 ms to come through the pipe.

The time is a processor's, not the clock's: a machine that is busy with other things must not refuse
good photos. The clock is a second, wider limit, for what waits and does not work.

The child is a Python of its own and no fork: it is safe from any thread, never runs the caller's
main module, and holds nothing but Pillow and NumPy. Where none can be started (a frozen program,
an interpreter built into another one) pictures are decoded in the caller.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline import errors
from pipeline.errors import ImageTooSlow, UnreadableImage
from pipeline.image_io.photo import Photo

#: Children that are kept; more are started where more threads read at once.
_KEPT = 4
#: Pictures after which a child is replaced, as decoders leak.
_PICTURES = 500
#: Seconds of work after which a picture is decoded with the lowest priority: others are not to wait
#: for it. By the clock, all pictures would be put back where the machine is busy with other things.
_PATIENCE = 1.0
_TICK = 0.05  # seconds between two looks at the clock
#: Exit statuses of a child whose time was over, by the system's own timers.
_OVER = tuple(-getattr(signal, name) for name in ("SIGPROF", "SIGALRM") if hasattr(signal, name))
#: The clock's limit, as a multiple of the processor's: enough where six others want the same core.
#: Without timers (Windows) there is only the clock.
_WAIT = 6.0 if _OVER else 1.0

_SCRIPT = Path(__file__).with_name("child.py")


def available() -> bool:
    """Tell whether children can be started here."""
    python = os.path.basename(sys.executable or "").lower()
    named = "python" in python or "pypy" in python
    return named and not getattr(sys, "frozen", False) and _SCRIPT.is_file()


class _Child:
    """One process that decodes one picture after another."""

    def __init__(self) -> None:
        environment = os.environ | {
            "OPENBLAS_NUM_THREADS": "1",
            # So that a large picture goes back to the system when it is done.
            "MALLOC_MMAP_THRESHOLD_": "1048576",
            "MALLOC_ARENA_MAX": "2",
        }
        # Without site, which costs a third of the start: the paths are given.
        command = [sys.executable, "-S", "-E", str(_SCRIPT), json.dumps(sys.path)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert self.process.stdin and self.process.stdout
        self._to: BinaryIO = self.process.stdin  # type: ignore[assignment]
        self._from: BinaryIO = self.process.stdout  # type: ignore[assignment]
        self.pictures = 0
        self.slowed = False

    def ask(
        self, request: Mapping[str, object], data: bytes
    ) -> tuple[dict[str, Any], list[bytearray]]:
        """Send a picture; return the answer's head, and its parts. Raises OSError or EOFError."""
        self.pictures += 1
        head = json.dumps(request).encode()
        self._to.write(struct.pack(">IQ", len(head), len(data)) + head)
        self._to.write(data)
        self._to.flush()
        (length,) = struct.unpack(">I", self._read(4))
        answer = json.loads(self._read(length))
        return answer, [self._read(size) for size in answer["parts"]]

    def _read(self, size: int) -> bytearray:
        block = bytearray(size)
        view, got = memoryview(block), 0
        while got < size:
            count = self._from.readinto(view[got:])  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            got += count
        return block

    def worked(self) -> float | None:
        """Return the seconds of a core it has had so far; None where the system does not tell."""
        try:
            with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stream:
                facts = stream.read().rpartition(")")[2].split()
            return (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError, AttributeError):
            return None

    def slow_down(self) -> None:
        """Let everything else go first, from now on."""
        self.slowed = True
        with contextlib.suppress(OSError, AttributeError):  # gone, or not POSIX
            os.setpriority(os.PRIO_PROCESS, self.process.pid, 19)

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        """End it, and let go of everything."""
        self.process.kill()
        for stream in (self._to, self._from):
            with contextlib.suppress(OSError):
                stream.close()
        self.process.wait()


_idle: list[_Child] = []
_lock = threading.Lock()


def _take() -> _Child:
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.process.poll() is None:
                return child
            child.close()
    return _Child()


def _give(child: _Child) -> None:
    if child.process.poll() is None and not child.slowed and child.pictures < _PICTURES:
        with _lock:
            if len(_idle) < _KEPT:
                _idle.append(child)
                return
    child.close()


def warm() -> None:
    """Start a child beforehand, so that the first picture need not wait for it."""
    if available() and not _idle:
        with contextlib.suppress(OSError):
            _give(_Child())


@atexit.register
def close() -> None:
    """End all children that wait."""
    with _lock:
        children, _idle[:] = _idle[:], []
    for child in children:
        child.close()


def _forget() -> None:
    """After a fork: the children are the parent's, and so is the lock."""
    global _lock
    _lock = threading.Lock()
    children, _idle[:] = _idle[:], []
    for child in children:
        for stream in (child._to, child._from):
            with contextlib.suppress(OSError):
                stream.close()
        child.process.returncode = 0  # not ours to wait for


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def decode(
    source: bytes | BinaryIO,
    max_pixels: int,
    seconds: float,
    tick: Callable[[float], None] = lambda worked: None,
) -> Photo:
    """Decode a picture in a child.

    Parameters
    ----------
    source
        The whole file, or a binary file that can seek.
    max_pixels
        As for :func:`pipeline.image_io.read`. The child's memory is bounded by it.
    seconds
        The time of a processor that decoding may take, more than 0. By the clock it may take six
        times as long.
    tick
        Called some twenty times a second, in another thread, with the seconds of a processor that
        the picture has had so far, or of the clock where the system does not tell; what it raises
        ends the decoding, and reaches the caller.

    Raises
    ------
    ImageTooSlow
        The time is over.
    ImageError
        As :func:`pipeline.image_io.read` does; also where the decoder crashed.
    """
    try:
        child = _take() if available() else None
    except OSError:  # no more processes, or none allowed
        child = None
    if child is None:
        from pipeline.image_io.reading import read

        return read(source, max_pixels, seconds=None)
    data = source if isinstance(source, bytes) else _all(source)
    try:
        wait = seconds * _WAIT
        limits = {"max_pixels": max_pixels, "seconds": seconds, "wait": wait}
        with _watched(child, seconds, tick):
            answer, parts = child.ask(limits, data)
    except BaseException as error:
        child.close()
        if isinstance(error, (OSError, EOFError, ValueError)):
            if child.process.returncode in _OVER:
                raise _too_slow(seconds) from None
            raise UnreadableImage("the file makes its decoder crash: save it anew") from error
        raise
    _give(child)
    if "error" in answer:
        raise getattr(errors, answer["error"], UnreadableImage)(answer["message"])
    return _photo(answer, parts)


def _all(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def _photo(answer: dict[str, Any], parts: list[bytearray]) -> Photo:
    height, width = answer["shape"]
    image = np.frombuffer(parts[0], np.uint8).reshape(height, width, 3)
    alpha: NDArray[np.float32] | None = None
    if parts[1]:
        alpha = np.frombuffer(parts[1], np.float32).reshape(height, width)
    dpi = (answer["dpi"][0], answer["dpi"][1]) if answer["dpi"] else None
    notes = tuple(answer["notes"])
    return Photo(image, alpha, answer["format"], dpi, bytes(parts[2]), notes)


def _too_slow(seconds: float) -> ImageTooSlow:
    return ImageTooSlow(
        f"the picture takes longer than {seconds:g} s to decode: save it anew with another "
        "program, or raise the limit if the file is to be trusted"
    )


@contextlib.contextmanager
def _watched(child: _Child, seconds: float, tick: Callable[[float], None]) -> Iterator[None]:
    """Kill the child when its time is over, or ``tick`` raises; and then raise that."""
    done, ended = threading.Event(), []

    def watch() -> None:
        start, before = time.monotonic(), child.worked()
        while not done.wait(_TICK):
            taken, now = time.monotonic() - start, child.worked()
            worked = taken if before is None or now is None else now - before
            try:
                tick(worked)
                if taken > seconds * _WAIT:
                    raise _too_slow(seconds)
            except BaseException as error:  # handed on to the caller
                ended.append(error)
                child.kill()
                return
            if worked > _PATIENCE and not child.slowed:
                child.slow_down()

    watcher = threading.Thread(target=watch, name="wisp-decode", daemon=True)
    watcher.start()
    try:
        yield
    except (OSError, EOFError, ValueError):
        done.set()
        watcher.join()
        if ended:
            raise ended[0] from None
        raise
    finally:
        done.set()
        watcher.join()
