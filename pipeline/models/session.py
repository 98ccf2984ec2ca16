"""An opened network, which belongs to the process that opened it.

Of a process that forks (gunicorn's ``--preload``, ``multiprocessing``, ``os.fork``) the child has
the memory but not the threads. A session of onnxruntime that it inherits waits for threads that
are not there: when it runs, or at the latest when it is destroyed, at exit. So a child forgets
what it inherits, without destroying it, and opens the file again when it first needs it.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import ModelMissing
from pipeline.models import watch
from pipeline.models.providers import open_session

if TYPE_CHECKING:
    import onnxruntime


class Session(Protocol):
    """What a stage needs of a network: the one method of ``onnxruntime.InferenceSession``."""

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]: ...


class Network:
    """A network in a file, opened. May be run from many threads, and used in a forked child."""

    def __init__(
        self, path: Path, providers: Sequence[str], threads: int, allow_fp16: bool = True
    ) -> None:
        """Open the file; the arguments and errors are those of :func:`open_session`.

        Raises :class:`ModelMissing` where there is no file.
        """
        if not path.is_file():
            raise ModelMissing(
                f"the model file {path} is not there: reinstall wispcut, or give a path"
            )
        self._arguments = (path, tuple(providers), threads, allow_fp16)
        self._lock = threading.Lock()
        self._opened: onnxruntime.InferenceSession | None = open_session(*self._arguments)
        _networks.add(self)

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """The session of this process."""
        with self._lock:
            if self._opened is None:
                self._opened = open_session(*self._arguments)
            return self._opened

    def run(self, outputs: Sequence[str], inputs: dict[str, Any]) -> Sequence[Any]:
        """Compute the named outputs, in their order, from the named inputs (numpy arrays).

        Raises what the check of :func:`pipeline.models.watched` does, where the thread is watched.
        """
        return watch.run(self.session, outputs, inputs)

    def _forget(self) -> None:
        """In a forked child: let go of the parent's session, which must never be destroyed."""
        self._lock = threading.Lock()  # a thread that is not here may have held it
        if self._opened is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._opened))
            self._opened = None


_networks: weakref.WeakSet[Network] = weakref.WeakSet()


def _forget_all() -> None:
    for network in list(_networks):
        network._forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork either
    os.register_at_fork(after_in_child=_forget_all)
