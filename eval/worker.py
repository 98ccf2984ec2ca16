"""A method in a process of its own.

So its memory is its own, another's imports and caches do not help or hinder it, and a crash or a
hang ends one answer and not the run. The process stays between photos: models are loaded once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import methods
from eval.methods import Input, MethodError, Outside, Spec

LOG = "log"  # in a worker's scratch folder: what the method printed
LOADING = 600.0  # s that a method may take to load: numba compiles pymatting on first use


class MethodFailed(MethodError):
    """A method gave no answer for one photo: it raised, crashed, or took too long."""


class MethodUnavailable(MethodError):
    """A method cannot be loaded here at all."""


@dataclass(frozen=True)
class Answer:
    """What a method returned for one photo.

    Attributes
    ----------
    cutout
        (H, W, 4) uint8 straight RGBA.
    seconds
        Wall-clock time of the call, the photo being decoded already; None if not measured.
    megabytes
        Peak resident memory of the process during the call; None if not measured.
    """

    cutout: NDArray[np.uint8]
    seconds: float | None
    megabytes: float | None


class Worker:
    """Runs one method. Started on the first question, and again after a failure that killed it."""

    def __init__(self, spec: Spec, timeout: float) -> None:
        self.spec = spec
        self.timeout = timeout
        self.load_seconds: float | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._scratch: Path | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, photo: Input) -> Answer:
        """Run the method on one photo.

        Raises :class:`MethodUnavailable` where it cannot be loaded, :class:`MethodFailed` where it
        raises, dies, or is not done within the timeout; both with the reason.
        """
        if self._pipe is None:
            self._start()
        answer = self._exchange(photo, self.timeout)
        if isinstance(answer, str):
            raise MethodFailed(answer)
        return answer

    def close(self) -> None:
        """End the process, and whatever it started or left in its scratch folder."""
        if self._process is not None and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group of its own
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._process = self._pipe = self._scratch = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._scratch = Path(tempfile.mkdtemp(prefix="wisp-bench-"))
        self._process = context.Process(
            target=_serve,
            args=(theirs, self.spec, self._scratch),
            daemon=True,
            name=self.spec.label,
        )
        self._process.start()
        theirs.close()
        loaded = self._exchange(None, LOADING)
        if isinstance(loaded, str):
            self.close()
            raise MethodUnavailable(loaded)
        self.load_seconds = loaded

    def _exchange(self, question: Input | None, limit: float) -> Any:
        """Send a question, if any, and wait for what comes back; a str is a reason for nothing."""
        assert self._pipe is not None and self._process is not None
        try:
            if question is not None:
                self._pipe.send(question)
            if self._pipe.poll(limit):
                return self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            reason = f"its process died ({self._process.exitcode}){self._last_words()}"
            self.close()
            return reason
        self.close()
        return f"no answer within {limit:g} s"

    def _last_words(self) -> str:
        assert self._scratch is not None
        log = self._scratch / LOG
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        return f": {lines[-1]}" if lines else ""


def _serve(pipe: Connection, spec: Spec, scratch: Path) -> None:
    """The process: load the method, then answer until the pipe closes."""
    with contextlib.suppress(OSError):
        os.setsid()
    # A killed process tidies nothing up: what it and its tools write for a while goes in here.
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    sink = os.open(scratch / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(sink, 1)  # what a method prints is not part of the report, nor of the progress bar
    os.dup2(sink, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    try:
        start = time.perf_counter()
        method = methods.build(spec)
        pipe.send(time.perf_counter() - start)
        while True:
            pipe.send(_answer(method, pipe.recv()))
    except (EOFError, BrokenPipeError):
        return  # nobody asks any more
    except Exception as error:
        pipe.send(_told(error))


def _answer(method: methods.Method, photo: Input) -> Answer | str:
    try:
        _reset_peak()
        start = time.perf_counter()
        result = method(photo)
        seconds, megabytes = time.perf_counter() - start, peak_megabytes()
        if isinstance(result, Outside):
            cutout = methods.as_rgba(photo.image, result.pixels)
            return Answer(cutout, result.seconds, result.megabytes)
        return Answer(methods.as_rgba(photo.image, result), seconds, megabytes)
    except Exception as error:  # whatever a tool raises is its failure, and is told as such
        return _told(error)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, MethodError) else f"{type(error).__name__}: {text}"


def _reset_peak() -> None:
    """Forget the peak so far, where the system can (Linux): each photo then has its own."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """Return the peak resident memory of this process, in MB (of 2²⁰ bytes).

    From ``VmHWM`` where there is one: on Linux ``ru_maxrss`` also holds what the parent had.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
