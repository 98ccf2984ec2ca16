"""Which photos: below an address, by a pattern, or in a list of addresses, one after the other.

Nothing here is kept: ten million addresses need no more memory than ten.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from fsspec.utils import glob_translate

from pipeline import image_io
from pipeline.errors import SettingsError, quoted
from wisp.scale.places import Place, open_place
from wisp.scale.reading import MAX_BYTES

#: How columns with a photo's address, or its bytes, are called where nobody says it.
COLUMNS = ("path", "url", "uri", "address", "image_url", "file_name", "image", "bytes", "jpg")
_MAGIC = re.compile(r"[*?\[]")
_TEXT = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
_PACKED = (".parquet", ".tar")


@dataclass(frozen=True)
class Item:
    """One photo.

    Attributes
    ----------
    path
        What it is called: its name below the source, the same in every run.
    address
        Where its bytes are; "" where ``data`` holds them.
    version
        Changes with its content, where the store tells; "" elsewhere.
    size
        Bytes, where known.
    stem
        What its cutout is called, without the ending; "" where that is as ``path`` says.
    """

    path: str
    address: str = ""
    version: str = ""
    size: int | None = None
    data: bytes | None = None
    stem: str = ""


@dataclass(frozen=True)
class Listed:
    """Photos that lie in a store one by one."""

    address: str
    items: Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class Unit:
    """A part of a file that holds photos: a tar, or a row group of a Parquet file."""

    name: str
    version: str
    items: Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class Packed:
    """Photos that lie in larger files, which are read from beginning to end."""

    address: str
    units: Callable[[], Iterator[Unit]]


Source = Listed | Packed


def open_source(
    address: str, column: str | None = None, names: str | None = None, avoid: str = ""
) -> Source:
    """Open what an address stands for.

    Parameters
    ----------
    address
        A folder or prefix (searched below, for names that look like pictures), a pattern with
        ``*``, ``?``, ``[``, ``**``, a list of addresses (``.txt``, ``.csv``, ``.tsv``, ``.jsonl``,
        ``.parquet``), a Parquet file or pattern with a column of pictures, or a WebDataset
        (``.tar``, also as a pattern).
    column
        Where addresses, or the pictures' bytes, are in a table; by default the first of
        :data:`COLUMNS` that is there.
    names
        The column with the pictures' names; by default an address names itself, and bytes have the
        number of their row.
    avoid
        Address of a place below which nothing is looked for: where the cutouts go.

    Raises
    ------
    SettingsError
        For what cannot be.
    """
    place = open_place(address)
    ending = posixpath.splitext(place.root.removesuffix(".gz"))[1].lower()
    if ending in _PACKED:
        from wisp.scale import packed

        return packed.open_packed(place, ending, column, names)
    if ending in _TEXT or ending in (*_LINES, ".txt"):
        records = {".txt": _plain, ".csv": _table, ".tsv": _table}.get(ending, _json_lines)
        base = Place(place.fs, posixpath.dirname(place.root)).address
        return Listed(place.address, lambda: addressed(records(place), base, column, names))
    if column or names:
        raise SettingsError(f"{address} is no table: a column is for .csv, .jsonl and .parquet")
    if place.local and not _MAGIC.search(place.root) and not place.fs.exists(place.root):
        raise SettingsError(f"there is no {address}")
    return Listed(place.address, lambda: _below(place, avoid))


def _below(place: Place, avoid: str) -> Iterator[Item]:
    pattern, root = None, place
    if _is_pattern(place):
        pattern = re.compile(glob_translate(place.root))
        parts = place.root.split("/")
        count = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
        root = Place(place.fs, "/".join(parts[:count]), place.patience)
    shut = open_place(avoid) if avoid else None
    shut = shut if shut and shut.fs == place.fs else None
    whole = root.address.rstrip("/")
    for entry in root.listing():
        name = root.below(entry.path)
        if shut and (entry.path + "/").startswith(shut.root + "/"):
            continue
        if pattern and not pattern.match(entry.path):
            continue
        if not image_io.PICTURE.fullmatch(name) or _hidden(name):
            continue
        yield Item(safe_name(name), f"{whole}/{name}", entry.version, entry.size)


def _is_pattern(place: Place) -> bool:
    return bool(_MAGIC.search(place.root)) and not place.fs.exists(place.root)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


# -- lists of addresses ----------------------------------------------------------------------------


def addressed(
    records: Iterator[dict[str, Any]], base: str, column: str | None, names: str | None
) -> Iterator[Item]:
    """Turn rows of a table into photos; addresses may be relative to ``base``."""
    for number, record in enumerate(records, 1):
        column = column or choose(record.keys())
        for wanted in (column, *([names] if names else [])):
            if wanted not in record:
                known = ", ".join(map(str, record))
                raise SettingsError(
                    f"row {number} has no column {quoted(wanted)}: there are {known}"
                )
        address = str(record[column] or "").strip()
        if not address:
            continue
        inline = address.startswith("data:")  # the picture itself (RFC 2397)
        relative = "://" not in address and not address.startswith("/") and not inline
        path = safe_name(str(record[names])) if names else ""
        path = path or (f"{number:08}" if inline else _name_of(address))
        yield Item(path, f"{base.rstrip('/')}/{address}" if relative else address)


def choose(columns: Any) -> str:
    """Choose the column that holds the photos. Raises :class:`SettingsError` for none."""
    known = [str(column) for column in columns]
    for name in COLUMNS:
        if name in known:
            return name
    raise SettingsError(f"say with --column which one holds the photos: {', '.join(known)}")


def _name_of(address: str) -> str:
    """Name a photo by its address: without its kind, and never above where cutouts go."""
    if "://" not in address:
        return safe_name(address)
    parts = urlsplit(address)
    name = safe_name(f"{parts.netloc}{parts.path}")
    return marked(name, parts.query) if parts.query else name


def safe_name(text: str) -> str:
    """Make a name below a folder of any text: no "..", no empty parts, nothing unprintable.

    What had to be changed gets a digest, so that two texts never share a name.
    """
    text = text.strip("/")
    parts = [
        "".join(char if char.isprintable() and char != "\\" else "_" for char in part)
        for part in text.split("/")
        if part not in ("", ".", "..")
    ]
    name = "/".join(parts) or "photo"
    return name if name == text else marked(name, text)


def marked(name: str, text: str) -> str:
    stem, ending = posixpath.splitext(name)
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{stem}-{mark}{ending}"


def _text(place: Place) -> Any:
    stream = place.reading(place.root)
    if place.root.endswith(".gz"):
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _plain(place: Place) -> Iterator[dict[str, Any]]:
    with _text(place) as stream:
        for line in stream:
            yield {"path": line.strip()}


def _table(place: Place) -> Iterator[dict[str, Any]]:
    delimiter = _TEXT[posixpath.splitext(place.root.removesuffix(".gz"))[1].lower()]
    csv.field_size_limit(2 * MAX_BYTES)  # by default a field is too short to hold a picture
    with _text(place) as stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        try:
            yield from reader
        except csv.Error as error:
            raise SettingsError(f"{place.address}, line {reader.line_num}: {error}") from error


def _json_lines(place: Place) -> Iterator[dict[str, Any]]:
    with _text(place) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise SettingsError(
                    f"{place.address}: line {number} is no JSON: {error}"
                ) from error
            if not isinstance(record, dict):
                raise SettingsError(f"{place.address}: line {number} is no JSON object")
            yield record
