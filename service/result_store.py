"""Results that are kept for a while: those handed out as a URL, and the page's history.

One SQLite file in WAL mode: an entry is there whole or not at all, also after kill -9, and a
backup is a copy. Capped by age and by size. Where the room is not enough, whoever holds the most
gives way, so that nobody loses results to somebody who keeps more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import Busy, StorageFull

log = logging.getLogger("wisp.results")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    name TEXT PRIMARY KEY,      -- 192 random bits: knowing it is the permission to see it
    owner TEXT NOT NULL,        -- whose history it belongs to; empty: nobody's
    made REAL NOT NULL,         -- seconds since 1970
    expires REAL NOT NULL,
    format TEXT NOT NULL,
    told TEXT NOT NULL,         -- the facts, as JSON: title, settings, seconds, …
    thumb BLOB,                 -- small WebP
    size INTEGER NOT NULL,
    data BLOB NOT NULL,
    visitor TEXT NOT NULL DEFAULT ''    -- who takes the room: a key, or an address
);
CREATE INDEX IF NOT EXISTS by_owner ON kept (owner);
CREATE INDEX IF NOT EXISTS by_expiry ON kept (expires);
CREATE INDEX IF NOT EXISTS by_visitor ON kept (visitor, size);
CREATE TABLE IF NOT EXISTS clock (seen REAL NOT NULL);
"""
_OLD = """
ALTER TABLE kept ADD COLUMN visitor TEXT NOT NULL DEFAULT '';
UPDATE kept SET visitor = owner;
DROP INDEX IF EXISTS by_owner;
DROP INDEX IF EXISTS by_made;
"""
_ABOUT = "name, owner, made, expires, format, told, thumb, size"
_DAY = 86400.0
_PATIENCE = 5.0  # seconds that another process' lock is waited for


@dataclass(frozen=True)
class Kept:
    """An entry; ``data`` is there only when it was asked for."""

    name: str
    owner: str
    made: float
    expires: float
    format: str
    facts: dict[str, Any]
    thumb: bytes
    size: int
    data: bytes = b""


class ResultStore:
    """Keeps results. Safe to use from several threads; blocks while it reads and writes.

    Each method raises :class:`Busy` where the file cannot be used at the moment (it is locked, or
    the disk fails). What it holds stays; only a file that is damaged is set aside.

    Parameters
    ----------
    file
        The database; made where it is not there.
    max_bytes, each_bytes
        How much is kept in all, and for one visitor; None: for one as for all.
    clock, steady
        Seconds since 1970, which may jump, and seconds that never do.
    """

    def __init__(
        self,
        file: Path,
        max_bytes: int,
        each_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._max, self._clock, self._steady = file, max_bytes, clock, steady
        self._each = max_bytes if each_bytes is None else each_bytes
        self._ticked = steady() - _DAY  # the service may have been off for so long
        self._lock = threading.Lock()
        self._base: sqlite3.Connection | None = None
        with contextlib.suppress(Busy), self._using():
            pass

    @contextlib.contextmanager
    def _using(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Yield what runs a statement."""
        with self._lock:
            try:
                if self._base is None:
                    self._base = self._open()
                yield self._base.execute
            except sqlite3.Error as error:
                log.warning("results cannot be used", extra={"wisp": {"error": str(error)}})
                if _damaged(error):
                    self._set_aside()
                raise Busy(f"results cannot be used now: {error}", retry_after=10) from error

    def _open(self) -> sqlite3.Connection:
        wal = self._file.with_name(self._file.name + "-wal")
        if self._file.exists():
            with self._file.open("rb") as stream:
                head = stream.read(16)
            # Looked at before SQLite does, which would delete the WAL of what is no database.
            if head != b"SQLite format 3\0" and (head or wal.exists()):
                self._set_aside()
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise
            self._set_aside()
            return self._connect()

    def _set_aside(self) -> None:
        """Keep a damaged database, with what belongs to it, and let a new one begin."""
        aside = self._file.with_suffix(f".broken-{time.time_ns()}{self._file.suffix}")
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._file.with_name(self._file.name + ending).replace(
                    aside.with_name(aside.name + ending)
                )
        log.error("the results were damaged and are set aside", extra={"wisp": {"file": aside}})
        if self._base:  # only now: closing it would write the WAL into the damaged file
            self._base.close()
            self._base = None

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, _PATIENCE, check_same_thread=False, isolation_level=None)
        try:
            base.execute("PRAGMA auto_vacuum = INCREMENTAL")
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            base.execute("PRAGMA journal_size_limit = 33554432")
            base.execute("PRAGMA cache_size = -2000")
            known = [row[1] for row in base.execute("PRAGMA table_info(kept)")]
            if known and "visitor" not in known:
                base.executescript(_OLD)
            base.executescript(_SCHEMA)
        except sqlite3.Error:
            base.close()
            raise
        return base

    def add(
        self,
        data: bytes,
        format: str,
        hours: float,
        owner: str = "",
        facts: dict[str, Any] | None = None,
        thumb: bytes = b"",
        visitor: str = "",
    ) -> Kept:
        """Keep a result, for the one who made it. Raises :class:`StorageFull` without room for it.

        ``owner`` is who may list it, ``visitor`` whose room it takes: that of the owner, unless
        said otherwise.
        """
        now = self._clock()
        size = len(data) + len(thumb)
        if size > min(self._max, self._each):
            raise StorageFull("the result is larger than all that may be kept")
        name, until = secrets.token_urlsafe(24), now + hours * 3600
        entry = Kept(name, owner, now, until, format, facts or {}, thumb, size, data)
        visitor = visitor or owner
        row = (name, owner, now, until, format, json.dumps(entry.facts), thumb, size, data, visitor)
        with self._using() as run:
            run("BEGIN IMMEDIATE")
            try:
                self._make_room(run, visitor, size)
                run("INSERT INTO kept VALUES (?,?,?,?,?,?,?,?,?,?)", row)
                run("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):  # an error may have ended it already
                    run("ROLLBACK")
                if isinstance(error, sqlite3.Error) and not _damaged(error):
                    raise StorageFull(f"results cannot be kept now: {error}") from error
                raise
            run("PRAGMA incremental_vacuum(256)").fetchall()
        return entry

    def _make_room(self, run: Callable[..., sqlite3.Cursor], visitor: str, size: int) -> None:
        run("DELETE FROM kept WHERE expires <= ?", (self._certain(run),))
        held = dict(run("SELECT visitor, sum(size) FROM kept GROUP BY visitor").fetchall())
        while held:
            mine = held.get(visitor, 0) + size
            most = max(held, key=held.__getitem__)
            if mine > self._each or (sum(held.values()) + size > self._max and mine >= held[most]):
                most = visitor
            elif sum(held.values()) + size <= self._max:
                return
            oldest = run(
                "SELECT rowid, size FROM kept WHERE visitor = ? ORDER BY rowid LIMIT 1", (most,)
            ).fetchone()
            if oldest is None:
                raise StorageFull("there is no room for the result")
            run("DELETE FROM kept WHERE rowid = ?", (oldest[0],))
            held[most] -= oldest[1]

    def _certain(self, run: Callable[..., sqlite3.Cursor]) -> float:
        """Return a time that has certainly come: by the clock, but no faster than time itself.

        A clock that jumps ahead hides what has expired by it, and deletes nothing.
        """
        now, steady = self._clock(), self._steady()
        (seen,) = run(
            "SELECT coalesce((SELECT seen FROM clock), (SELECT max(made) FROM kept), ?)", (now,)
        ).fetchone()
        certain = max(seen, min(now, seen + steady - self._ticked))
        self._ticked = steady
        run("DELETE FROM clock")
        run("INSERT INTO clock VALUES (?)", (certain,))
        return certain

    def get(self, name: str, data: bool = True) -> Kept | None:
        """Return an entry, without its data if so; None where there is none, or no more."""
        column = "data" if data else "x''"
        with self._using() as run:
            row = run(
                f"SELECT {_ABOUT}, {column} FROM kept WHERE name = ? AND expires > ?",
                (name, self._clock()),
            ).fetchone()
        return _entry(row) if row else None

    def list(self, owner: str, most: int = 60) -> list[Kept]:
        """Return an owner's entries without their data, the newest first."""
        with self._using() as run:
            rows = run(
                f"SELECT {_ABOUT}, x'' FROM kept WHERE owner = ? AND expires > ? "
                "ORDER BY rowid DESC LIMIT ?",
                (owner, self._clock(), most),
            ).fetchall()
        return [_entry(row) for row in rows]

    def delete(self, name: str, owner: str) -> bool:
        """Delete an owner's entry; returns whether there was one."""
        with self._using() as run:
            gone = run("DELETE FROM kept WHERE name = ? AND owner = ?", (name, owner)).rowcount
            run("PRAGMA incremental_vacuum").fetchall()
        return bool(gone)

    def used(self) -> tuple[int, int]:
        """Return how many entries there are, and their size in bytes."""
        with self._using() as run:
            count, size = run("SELECT count(*), coalesce(sum(size), 0) FROM kept").fetchone()
        return count, size

    def close(self) -> None:
        with self._lock:
            if self._base:
                self._base.close()
            self._base = None


def _damaged(error: sqlite3.Error) -> bool:
    """Whether the file is no database, or no whole one; and not only locked, or the disk full."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python 3.10
        return any(words in str(error) for words in ("not a database", "malformed"))
    return code & 0xFF in (11, 26)  # CORRUPT, NOTADB


def _entry(row: Any) -> Kept:
    name, owner, made, expires, format, facts, thumb, size, data = row
    return Kept(name, owner, made, expires, format, json.loads(facts), thumb or b"", size, data)
