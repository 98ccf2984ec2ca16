"""The files of the page: what visitors sent it, and what it hands out. Each is one visitor's.

A path that a client names is looked up here and nowhere else: whether it is on the disk, and what
it is there, is never asked for a path that the page did not give out itself.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from service.errors import NotAllowed

COOKIE = "wisp"
_HOUR = 3600.0
DAY = 24 * _HOUR  # that a file is there after it was sent, or last handed out


@dataclass(frozen=True)
class Held:
    """A file of the page: whose it is, and whether that visitor sent it."""

    owner: str
    upload: bool
    made: float  # seconds since 1970


class Files:
    """All files of the page, by the exact text of their paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._swept = time.time()

    def place(self) -> Path:
        """Make a folder whose name cannot be guessed."""
        if time.time() - self._swept > _HOUR:
            self.sweep()
        place = self.folder / secrets.token_hex(16)
        place.mkdir(parents=True)
        return place

    def add(self, path: Path, owner: str, upload: bool = False) -> str:
        """Take a file in, and return the path that names it."""
        with self._lock:
            self._held[str(path)] = Held(owner, upload, time.time())
        return str(path)

    def look_up(self, path: object, owner: str, uploads_only: bool = True) -> str:
        """Return a path that the visitor may name. Raises the same for every other.

        Raises
        ------
        NotAllowed
            It is not a file of this visitor (or no upload, where it must be one). What else it is,
            and whether it is there, is not looked at.
        """
        with self._lock:
            held = self._held.get(path) if isinstance(path, str) else None
        if held is None or held.owner != owner or (uploads_only and not held.upload):
            raise refusal()
        return str(path)

    def read(self, path: str, owner: str, limit: int) -> bytes:
        """Return the first ``limit`` bytes of an upload of this visitor. Raises as `look_up`."""
        descriptor = -1
        try:
            descriptor = os.open(
                self.look_up(path, owner), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            )
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise refusal()
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read(limit)
        except OSError as error:  # its time was over
            raise refusal() from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def size(self, path: str, owner: str) -> int:
        """Return the size of an upload of this visitor. Raises as `look_up`."""
        try:
            return os.lstat(self.look_up(path, owner)).st_size
        except OSError as error:
            raise refusal() from error

    def remove(self, path: Path) -> None:
        """Forget a file and delete it, with the folder that it had for itself."""
        with self._lock:
            self._held.pop(str(path), None)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            if path.parent != self.folder:
                path.parent.rmdir()

    def sweep(self) -> None:
        """Remove what is older than a day."""
        self._swept = now = time.time()
        with self._lock:
            old = [path for path, held in self._held.items() if now - held.made > DAY]
        for path in old:
            self.remove(Path(path))


def refusal() -> NotAllowed:
    """Make the one answer to every path that is not the visitor's own file."""
    return NotAllowed(
        "this is no file of yours, or it is no longer kept: send it again", code="not_your_file"
    )


def visitor(headers: Mapping[str, str]) -> str:
    """Return the name that a browser holds, or nothing."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    found = jar.get(COOKIE)
    return found.value if found and 20 <= len(found.value) <= 64 else ""


def keeper(headers: Mapping[str, str], client: Any, public: bool) -> str:
    """Name whose files are meant: everyone's on a machine of one's own, else the browser's.

    A program without a cookie is known by its address.
    """
    if not public:
        return "everyone"
    name = visitor(headers)
    if name:
        return f"visitor {name}"
    return f"address {client[0] if client else ''}"
