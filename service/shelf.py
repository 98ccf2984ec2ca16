"""Results that are kept for a while: those handed out as a URL, and the page's history.

One SQLite file in WAL mode: an entry is there whole or not at all, also after kill -9, and a
backup is a copy. Capped by age and by size; the oldest go first.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import StorageFull

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    name TEXT PRIMARY KEY,      -- 192 random bits: knowing it is the permission to see it
    owner TEXT NOT NULL,        -- whose history it belongs to; empty: nobody's
    made REAL NOT NULL,         -- seconds since 1970
    expires REAL NOT NULL,
    format TEXT NOT NULL,
    told TEXT NOT NULL,         -- JSON: title, settings, seconds, …
    thumb BLOB,                 -- small WebP
    size INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_owner ON kept (owner, made);
CREATE INDEX IF NOT EXISTS by_made ON kept (made);
CREATE INDEX IF NOT EXISTS by_expiry ON kept (expires);
"""
_ABOUT = "name, owner, made, expires, format, told, thumb, size, x''"  # all but the data


@dataclass(frozen=True)
class Kept:
    """An entry; ``data`` is there only when it was asked for."""

    name: str
    owner: str
    made: float
    expires: float
    format: str
    told: dict[str, Any]
    thumb: bytes
    size: int
    data: bytes = b""


class Shelf:
    """Keeps results. Safe to use from several threads; blocks while it reads and writes."""

    def __init__(self, file: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._max, self._clock = file, max_bytes, clock
        self._lock = threading.Lock()
        self._base = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError:
            # Not a database any more. What it held cannot be had; the service can go on.
            self._file.replace(self._file.with_suffix(f".broken-{int(self._clock())}"))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None)
        try:
            base.execute("PRAGMA auto_vacuum = INCREMENTAL")
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            base.execute("PRAGMA journal_size_limit = 33554432")
            base.execute("PRAGMA cache_size = -2000")
            base.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            base.close()
            raise
        return base

    def add(
        self,
        data: bytes,
        format: str,
        hours: float,
        owner: str = "",
        told: dict[str, Any] | None = None,
        thumb: bytes = b"",
    ) -> Kept:
        """Keep a result. Raises :class:`StorageFull` when there is no room for it."""
        now = self._clock()
        size = len(data) + len(thumb)
        if size > self._max:
            raise StorageFull("the result is larger than all that may be kept")
        entry = Kept(
            secrets.token_urlsafe(24),
            owner,
            now,
            now + hours * 3600,
            format,
            told or {},
            thumb,
            size,
            data,
        )
        row = (
            entry.name,
            owner,
            now,
            entry.expires,
            format,
            json.dumps(entry.told),
            thumb,
            size,
            data,
        )
        with self._lock:
            try:
                self._make_room(size)
                self._base.execute(f"INSERT INTO kept VALUES ({','.join('?' * len(row))})", row)
            except sqlite3.Error as error:
                raise StorageFull(f"results cannot be kept now: {error}") from error
        return entry

    def _make_room(self, size: int) -> None:
        run = self._base.execute
        run("DELETE FROM kept WHERE expires <= ?", (self._clock(),))
        (total,) = run("SELECT coalesce(sum(size), 0) FROM kept").fetchone()
        if total + size > self._max:
            for name, freed in run("SELECT name, size FROM kept ORDER BY made").fetchall():
                run("DELETE FROM kept WHERE name = ?", (name,))
                total -= freed
                if total + size <= self._max:
                    break
        run("PRAGMA incremental_vacuum(256)").fetchall()

    def get(self, name: str) -> Kept | None:
        """Return an entry with its data; None where there is none, or no more."""
        with self._lock:
            row = self._base.execute(
                "SELECT * FROM kept WHERE name = ? AND expires > ?", (name, self._clock())
            ).fetchone()
        return _entry(row) if row else None

    def about(self, name: str) -> Kept | None:
        """Return an entry without its data; None where there is none, or no more."""
        with self._lock:
            row = self._base.execute(
                f"SELECT {_ABOUT} FROM kept WHERE name = ? AND expires > ?", (name, self._clock())
            ).fetchone()
        return _entry(row) if row else None

    def list(self, owner: str, most: int = 60) -> list[Kept]:
        """Return an owner's entries without their data, the newest first."""
        with self._lock:
            rows = self._base.execute(
                f"SELECT {_ABOUT} FROM kept WHERE owner = ? AND expires > ? "
                "ORDER BY made DESC LIMIT ?",
                (owner, self._clock(), most),
            ).fetchall()
        return [_entry(row) for row in rows]

    def delete(self, name: str, owner: str) -> bool:
        """Delete an owner's entry; returns whether there was one."""
        with self._lock:
            gone = self._base.execute(
                "DELETE FROM kept WHERE name = ? AND owner = ?", (name, owner)
            ).rowcount
            self._base.execute("PRAGMA incremental_vacuum").fetchall()
        return bool(gone)

    def used(self) -> tuple[int, int]:
        """Return how many entries there are, and their size in bytes."""
        with self._lock:
            count, size = self._base.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM kept"
            ).fetchone()
        return count, size

    def close(self) -> None:
        with self._lock:
            self._base.close()


def _entry(row: Any) -> Kept:
    name, owner, made, expires, format, told, thumb, size, data = row
    return Kept(name, owner, made, expires, format, json.loads(told), thumb or b"", size, data)
