"""Ending a network that computes for too long, or for nobody.

A file can hold an endless loop, and a large photo on a slow machine takes its time after the
client has gone. onnxruntime looks at a flag between two operators, also within loops and branches;
here a thread watches the clock, and sets it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import ModelTooSlow

if TYPE_CHECKING:
    import onnxruntime

Part = TypeVar("Part")
Answer = TypeVar("Answer")

_TICK = 0.05  # seconds between two looks

_here = threading.local()


class _Watch:
    """What the networks that a thread runs are watched by."""

    def __init__(self, check: Callable[[], None], outer: _Watch | None) -> None:
        self.checks: tuple[Callable[[], None], ...] = (check, *(outer.checks if outer else ()))
        self.ended: BaseException | None = None
        self.done = threading.Event()
        self._runs: list[onnxruntime.RunOptions] = []  # several threads may share a watch
        self._lock = threading.Lock()

    def look(self) -> None:
        while not self.done.wait(_TICK):
            try:
                for check in self.checks:
                    check()
            except BaseException as error:  # handed on to the thread that is watched
                with self._lock:
                    self.ended = error
                    for run in self._runs:
                        run.terminate = True
                return

    def run(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[str],
        inputs: dict[str, Any],
    ) -> Sequence[Any]:
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # that it was ended is said by what is raised
        with self._lock:
            if self.ended:
                raise self.ended
            self._runs.append(options)
        try:
            return session.run(outputs, inputs, options)
        except Exception:
            if self.ended:
                raise self.ended from None
            raise
        finally:
            with self._lock:
                self._runs.remove(options)


@contextmanager
def watched(check: Callable[[], None]) -> Iterator[None]:
    """Watch the networks that this thread runs in the block.

    ``check`` is called some twenty times a second from another thread. What it raises ends the
    network, and is raised where the network was run. Blocks may lie in one another: all are asked.
    """
    outer: _Watch | None = getattr(_here, "watch", None)
    _here.watch = watch = _Watch(check, outer)
    watcher = threading.Thread(target=watch.look, name="wisp-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        _here.watch = outer
        watch.done.set()
        watcher.join()


def carried(call: Callable[[Part], Answer]) -> Callable[[Part], Answer]:
    """Return ``call`` for threads that work for this one: what watches this one watches them."""
    watch: _Watch | None = getattr(_here, "watch", None)

    def run(part: Part) -> Answer:
        before = getattr(_here, "watch", None)
        _here.watch = watch
        try:
            return call(part)
        finally:
            _here.watch = before

    return run


def within(seconds: float) -> Callable[[], None]:
    """Make a check that raises :class:`ModelTooSlow` after so many seconds from now."""
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end:
            raise ModelTooSlow(
                f"the networks take longer than {seconds:g} s: take a smaller model or photo, or "
                "raise the limit"
            )

    return check


def run(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], inputs: dict[str, Any]
) -> Sequence[Any]:
    """Run a network, watched if this thread is.

    Raises what the check of :func:`watched` does, and whatever onnxruntime does.
    """
    watch: _Watch | None = getattr(_here, "watch", None)
    return watch.run(session, outputs, inputs) if watch else session.run(outputs, inputs)
