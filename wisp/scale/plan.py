"""Work cut into shards, the same in every run and on every machine.

A listed photo's shard is a hash of its name without the ending, so that ``a.jpg`` and ``a.webp``,
which would both like to be ``a.png``, meet in one shard. What belongs to this machine is kept in a
temporary SQLite database, which lies on the disk where it grows large, and vanishes with the
process. Photos in larger files are taken in their own order, a thousand at a time.
"""

from __future__ import annotations

import hashlib
import math
import posixpath
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice

from pipeline.errors import SettingsError
from wisp.scale.sources import Item, Listed, Packed

#: Photos a shard: some minutes of one core, which is what a killed machine loses, and a tar of a
#: few hundred megabytes.
PER_SHARD = 1000


@dataclass(frozen=True)
class Slice:
    """The part of all shards that one of several machines does: ``number`` of ``total``, from 1."""

    number: int = 1
    total: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise SettingsError(
                f"shard {self.number}/{self.total}: the first number goes from 1 to the second; "
                "where an array counts from 0, add 1"
            )

    def has(self, shard: int) -> bool:
        return shard % self.total == self.number - 1


@dataclass(frozen=True)
class Shard:
    """What is begun and finished together. ``version`` is that of the file which holds it."""

    name: str
    items: Iterable[Item]
    version: str = ""


def digest(text: str) -> int:
    """A stable hash, 0 .. 2⁶³ − 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def shard_hash(path: str) -> int:
    """The hash that chooses a photo's shard."""
    return digest(posixpath.splitext(path)[0])


def default_shards(photos: int, part: Slice) -> int:
    """The number of shards for so many photos: as many for each machine."""
    return part.total * max(1, math.ceil(photos / PER_SHARD / part.total))


class Spill:
    """The photos of one slice, sorted by shard and name."""

    def __init__(self, part: Slice, shards: int | None) -> None:
        """``shards`` is their number where it is known; else it will be a multiple of the slices,
        and so a photo's slice is known before its shard."""
        self._part, self._known = part, shards
        self.photos = 0  # of all slices
        # A database without a name is a temporary one.
        self._data = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._data.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;"
            "CREATE TABLE items (hash INTEGER, path TEXT, address TEXT, version TEXT, size INTEGER)"
        )

    def fill(
        self, items: Iterable[Item], tell: Callable[[int], None] = lambda photos: None
    ) -> None:
        """Take in a listing; ``tell`` is called with the number of photos now and then."""

        def mine() -> Iterator[tuple[int, str, str, str, int | None]]:
            for item in items:
                self.photos += 1
                if self.photos % 10_000 == 0:
                    tell(self.photos)
                value = shard_hash(item.path)
                if self._part.has(value % self._known if self._known else value):
                    yield value, item.path, item.address, item.version, item.size

        self._data.execute("BEGIN")
        self._data.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", mine())
        self._data.execute("COMMIT")

    def shards(self, number: int) -> Iterator[Shard]:
        """Yield the shards of this slice that hold photos; each photo is there once."""
        number = int(number)
        self._data.execute(f"CREATE INDEX by_shard ON items (hash % {number}, path)")
        rows = self._data.execute(
            f"SELECT hash % {number} AS shard, path, address, version, size FROM items "
            f"ORDER BY hash % {number}, path"
        )
        row = rows.fetchone()
        while row:
            shard = row[0]
            items: dict[str, Item] = {}
            while row and row[0] == shard:
                items.setdefault(row[1], Item(row[1], row[2], row[3], row[4]))
                row = rows.fetchone()
            if self._part.has(shard):
                yield Shard(f"{shard:06d}", list(items.values()))


def plan_listed(
    source: Listed,
    part: Slice,
    agree: Callable[[int | None], int | None],
    tell: Callable[[int], None] = lambda photos: None,
) -> tuple[int, Iterator[Shard]]:
    """Cut a listing into shards.

    Parameters
    ----------
    agree
        Called with None, returns the number of shards if it is settled; called with a proposal,
        settles it for all machines and returns what is settled.

    Returns
    -------
    The number of all photos in the listing, and the shards of this slice.
    """
    known = agree(None)
    spill = Spill(part, known)
    spill.fill(source.items(), tell)
    if not spill.photos:  # then nothing is settled, and nothing written
        return 0, iter(())
    number = agree(known or default_shards(spill.photos, part))
    if number is None or (number != known and number % part.total):
        raise SettingsError(
            f"another machine has begun with {number} shards, which {part.total} machines cannot "
            "share by themselves: run again"
        )
    return spill.photos, spill.shards(number)


def plan_packed(source: Packed, part: Slice) -> Iterator[Shard]:
    """Cut larger files into shards, which are to be used up one after the other."""
    for unit in source.units():
        if not part.has(digest(unit.name)):
            continue
        items = iter(unit.items())
        for number in count():
            first = list(islice(items, 1))
            if not first:
                break
            rest = islice(items, PER_SHARD - 1)
            yield Shard(f"{unit.name}-{number:04d}", chain(first, rest), unit.version)
            for _ in rest:  # whatever the reader left
                pass
