"""Files of visitors: what they sent, and what the page hands out. Each is one visitor's.

A path that a client names is looked up here and nowhere else: whether it is on the disk, and what
it is there, is never asked for a path that the page did not give out itself. Clips lie here too,
whoever sends them: there is one budget for the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import BinaryIO

from service.budget import Budget, Hold
from service.errors import Busy, NotAllowed, StorageFull, TooMany

COOKIE = "wisp"
_HOUR = 3600.0
DAY = 24 * _HOUR  # that a file is there after it was sent, or last handed out


_SHARE = 0.25  # of the disk, for one client
_YOUNG = 60.0  # seconds for which a client's own files give no way to newer ones
_WANTED = 600.0  # and to those of others
_ENTRY = 8192  # bytes that the smallest file takes, with its folder


@dataclass(frozen=True)
class Held:
    """A file of the page: whose it is, whether that visitor sent it, and what it takes."""

    owner: str
    upload: bool
    made: float  # seconds since 1970
    room: Hold


def fresh(folder: Path, total: int) -> Files:
    """Begin with an empty folder: whoever was given what lies in it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return Files(folder, total)


class Files:
    """All files of the page, by the exact text of their paths.

    They take no more than ``total`` bytes of the disk, a quarter of it for one client. Where that
    is full, the client's own oldest files give way, or those of whoever has the most. A visitor is
    known by a cookie, and may make up as many as he likes; a client is an address or a key.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.folder = folder.absolute()
        self.disk = Budget(total, _SHARE)
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

    def room(self, client: str, size: int = 0) -> Hold:
        """Hold room on the disk for a new file. Raises as :meth:`grow`."""
        held = self.disk.hold(client)
        self.grow(held, _ENTRY + size)
        return held

    def begin(self, client: str) -> tuple[Path, Hold]:
        """Make a folder for a new file, and hold room for it. Raises as :meth:`grow`."""
        room = self.room(client)
        try:
            return self.place(), room
        except BaseException:
            room.release()
            raise

    def grow(self, room: Hold, size: int) -> None:
        """Hold room for so many bytes more, before they are written.

        Raises
        ------
        TooMany
            The client has too much on the disk, all of it new.
        StorageFull
            All clients together do.
        """
        while True:
            try:
                return room.grow(size)
            except TooMany:
                path = self._oldest(room.visitor, _YOUNG)
                if path is None:
                    raise TooMany(
                        "too much of yours is kept here: wait a minute, or send less",
                        code="too_much_kept",
                        retry_after=_YOUNG,
                    ) from None
            except Busy:
                path = self._oldest(self.disk.largest(), _WANTED)
                if path is None:
                    raise StorageFull(
                        "there is no room for more files: try again later", retry_after=_WANTED
                    ) from None
            self.remove(Path(path))

    def _oldest(self, client: str, age: float) -> str | None:
        """Return the oldest file of a client, where it is older than ``age`` seconds."""
        with self._lock:
            of_client = [
                (held.made, path)
                for path, held in self._held.items()
                if held.room.visitor == client and time.time() - held.made > age
            ]
        return min(of_client)[1] if of_client else None

    def add(self, path: Path, owner: str, room: Hold, upload: bool = False) -> str:
        """Take a file in, with the room that was held for it, and return the path that names it."""
        with self._lock:
            before = self._held.pop(str(path), None)
            self._held[str(path)] = Held(owner, upload, time.time(), room)
        if before:
            before.room.release()
        return str(path)

    def look_up(self, path: object, owner: str, upload: bool | None = True) -> str:
        """Return a path that the visitor may name: of an upload, of what the page made (False), or
        of either (None). Raises the same for every other.

        Raises
        ------
        NotAllowed
            It is not such a file of this visitor. What else it is, and whether it is there, is not
            looked at.
        """
        with self._lock:
            held = self._held.get(path) if isinstance(path, str) else None
        if held is None or held.owner != owner or upload not in (None, held.upload):
            raise refusal()
        return str(path)

    @contextlib.contextmanager
    def opened(self, path: str, owner: str) -> Iterator[BinaryIO]:
        """Open an upload of this visitor: a regular file, and no link. Raises as `look_up`."""
        name = self.look_up(path, owner)
        try:
            if not stat.S_ISREG(os.lstat(name).st_mode):
                raise refusal()
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:  # its time was over
            raise refusal() from error
        with open(descriptor, "rb") as stream:
            yield stream

    def size(self, path: str, owner: str) -> int:
        """Return the bytes of an upload of this visitor. Raises as `look_up`."""
        try:
            return os.lstat(self.look_up(path, owner)).st_size
        except OSError as error:
            raise refusal() from error

    def remove(self, path: Path) -> None:
        """Forget a file and delete it, with the folder that it had for itself."""
        with self._lock:
            held = self._held.pop(str(path), None)
        if held:
            held.room.release()
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
    morsel = jar.get(COOKIE)
    return morsel.value if morsel and 20 <= len(morsel.value) <= 64 else ""


def keeper(headers: Mapping[str, str], client: str, public: bool) -> str:
    """Name whose files are meant: everyone's on a machine of one's own, else the browser's.

    A program without a cookie is known as the client that its requests are counted for.
    """
    if not public:
        return "everyone"
    name = visitor(headers)
    return f"visitor {name}" if name else client
