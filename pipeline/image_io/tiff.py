"""Which of a TIFF's pictures is the photo.

A TIFF is a chain of directories, each of which may have directories below it. The first is a
thumbnail in camera raws and with some scanners, and the smallest of all in some pyramids.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.errors import UnsupportedFormat

_DIRECTORIES, _ENTRIES = 64, 1000  # looked at, at most
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # bytes of a value, by type: whole numbers only
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_WANTED = (254, 256, 257, 262, 274, 297, 330, 50706)
_SENSOR = (32803, 34892)  # photometric: a colour filter array, and the linear samples of one


@dataclass(frozen=True)
class Directory:
    """One picture: where its directory is, and the tags that tell what it is, each a tuple."""

    place: int
    tags: dict[int, tuple[int, ...]]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.tags.get(256, (0,))[0], self.tags.get(257, (0,))[0]

    @property
    def reduced(self) -> bool:
        """Whether it says that it is a smaller version of another."""
        return bool(self.tags.get(254, (0,))[0] & 1)

    @property
    def page(self) -> bool:
        """Whether it says that it is one of several pages, or a mask."""
        return bool(self.tags.get(254, (0,))[0] & 6) or 297 in self.tags


def photo(stream: BinaryIO, notes: list[str]) -> tuple[int, int]:
    """Find the photo: (where its directory is, 0 for the first; the orientation, 0 for its own).

    Raises :class:`UnsupportedFormat` for a camera's raw file.
    """
    pages = directories(stream)
    if not pages:
        return 0, 0
    if any(d.tags.get(262, (0,))[0] in _SENSOR or 50706 in d.tags for d in pages):
        raise UnsupportedFormat(
            "this is a camera's raw file: develop it first, and give the TIFF or JPEG"
        )
    first = pages[0]
    if first.page:
        return 0, 0
    pictures = [
        d for d in pages if not (d.reduced or d.page) and (first.reduced or _alike(d, first))
    ]
    best = max(pictures, key=lambda d: d.size[0] * d.size[1], default=first)
    if best.size[0] * best.size[1] <= first.size[0] * first.size[1]:
        return 0, 0
    notes.append("the first picture is a smaller version: the largest was taken")
    return best.place, 0 if 274 in best.tags else first.tags.get(274, (0,))[0]


def _alike(one: Directory, other: Directory) -> bool:
    """Whether two have the same proportions, but for the rounding of a thumbnail's sides."""
    (a, b), (c, d) = one.size, other.size
    return abs(a * d - b * c) <= max(a, b)


def directories(stream: BinaryIO) -> list[Directory]:
    """Read the first directories and those below them; what is broken is passed over."""
    stream.seek(0)
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    read: list[Directory] = []
    waiting, seen = [place], set()
    while waiting and len(read) < _DIRECTORIES:
        place = waiting.pop(0)
        if not place or place in seen:
            continue
        seen.add(place)
        try:
            tags, following = _read(stream, place, order, big)
        except (struct.error, OSError, ValueError, OverflowError):
            continue
        read.append(Directory(place, tags))
        waiting += [*tags.get(330, ())[:_DIRECTORIES], following]
    return read


def _read(
    stream: BinaryIO, place: int, order: str, big: bool
) -> tuple[dict[int, tuple[int, ...]], int]:
    count, entry, width = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    stream.seek(place)
    (entries,) = struct.unpack(order + count, stream.read(struct.calcsize(order + count)))
    if entries > _ENTRIES:
        raise ValueError("too many entries")
    size = struct.calcsize(order + entry)
    block = stream.read(entries * size + width)
    tags: dict[int, tuple[int, ...]] = {}
    for number in range(entries):
        tag, kind, values, raw = struct.unpack_from(order + entry, block, number * size)
        if tag not in _WANTED or kind not in _SIZES or not 0 < values <= _DIRECTORIES:
            continue
        each = _SIZES[kind]
        if values * each > width:
            stream.seek(struct.unpack(order + ("Q" if big else "I"), raw)[0])
            raw = stream.read(values * each)
        tags[tag] = struct.unpack_from(f"{order}{values}{_CODES[each]}", raw)
    tail = block[entries * size :]
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), tail.ljust(width, b"\0"))
    return tags, following


def starting_at(stream: BinaryIO, place: int) -> bytes:
    """The file with another directory as its first."""
    stream.seek(0)
    data = bytearray(stream.read())
    order = "<" if data[:2] == b"II" else ">"
    if bytes(data[2:4]) in (b"+\0", b"\0+"):
        struct.pack_into(order + "Q", data, 8, place)
    else:
        struct.pack_into(order + "I", data, 4, place)
    return bytes(data)
