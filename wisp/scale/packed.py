"""Photos in larger files: rows of Parquet files, members of WebDataset tars.

A WebDataset (Aizman et al., "High Performance I/O For Large Scale Deep Learning", 2019) is a row of
tar files, in which neighbouring members with the same name up to the first dot are one sample.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import image_io
from pipeline.errors import SettingsError, quoted
from wisp.scale.places import Place, version
from wisp.scale.reading import MAX_BYTES
from wisp.scale.sources import (
    Item,
    Listed,
    Packed,
    Source,
    Unit,
    addressed,
    choose,
    marked,
    safe_name,
)

_ROWS = 16  # of pictures, read at a time
_ADDRESSES = 10_000
_MAGIC = re.compile(r"[*?\[]")


def open_packed(place: Place, ending: str, column: str | None, names: str | None) -> Source:
    """Open Parquet files or tars; see :func:`wisp.scale.sources.open_source`."""
    paths = _files(place)
    if ending == ".tar":
        if column or names:
            raise SettingsError("a tar has no columns: its members say what they are")
        return Packed(place.address, partial(_tars, place, paths))
    schema = _parquet(place, paths[0]).schema_arrow
    column = column or choose(schema.names)
    for wanted in (column, *([names] if names else [])):
        if wanted not in schema.names:
            raise SettingsError(
                f"there is no column {quoted(wanted)} in {paths[0]}: "
                f"there are {', '.join(schema.names)}"
            )
    kind = schema.field(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        base = Place(place.fs, posixpath.dirname(place.root)).address
        records = partial(_records, place, paths, [column, *([names] if names else [])])
        return Listed(place.address, lambda: addressed(records(), base, column, names))
    if not _holds_bytes(kind):
        raise SettingsError(f"column {quoted(column)} holds {kind}: neither addresses nor pictures")
    return Packed(place.address, partial(_row_groups, place, paths, column, names))


def _files(place: Place) -> list[str]:
    if not _MAGIC.search(place.root):
        return [place.root]
    paths = sorted(place.patience.call(f"cannot list {place.root}", place.fs.glob, place.root))
    if not paths:
        raise SettingsError(f"there is no {place.address}")
    return [str(path) for path in paths]


def _version(place: Place, path: str) -> str:
    try:
        info = place.patience.call(f"cannot read {path}", place.fs.info, path)
    except FileNotFoundError:
        raise SettingsError(f"there is no {path}") from None
    return version(place.fs, path, info)


def _stem(place: Place, path: str) -> str:
    """Name a file: by all that the pattern leaves open, so that no two share a name."""
    fixed = posixpath.dirname(_MAGIC.split(place.root, maxsplit=1)[0])
    return posixpath.splitext(safe_name(path[len(fixed) :]))[0]


def _flat(place: Place, paths: list[str]) -> list[str]:
    """Name the shards of files: a/b is a-b, and gets a digest where another file is a-b, too."""
    stems = [_stem(place, path) for path in paths]
    flat = [stem.replace("/", "-") for stem in stems]
    times = Counter(flat)
    return [
        marked(name, stem) if times[name] > 1 and name != stem else name
        for name, stem in zip(flat, stems, strict=True)
    ]


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):  # {"bytes", "path"}, as Hugging Face's datasets have it
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _parquet(place: Place, path: str) -> Any:
    try:
        return pq.ParquetFile(place.reading(path), pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise SettingsError(f"{path} is no Parquet file: {error}") from error


def _records(place: Place, paths: list[str], columns: list[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        for batch in _parquet(place, path).iter_batches(_ADDRESSES, columns=columns):
            yield from batch.to_pylist()


def _row_groups(place: Place, paths: list[str], column: str, names: str | None) -> Iterator[Unit]:
    for path, flat in zip(paths, _flat(place, paths), strict=True):
        file, made = _parquet(place, path), _version(place, path)
        stem, first = _stem(place, path), 0
        renamed = cache(partial(_renamed, file, names))
        for group in range(file.num_row_groups):
            items = partial(_unique, _rows, file, stem, group, first, column, names, renamed)
            yield Unit(f"{flat}-{group:05d}", made, items)
            first += file.metadata.row_group(group).num_rows


def _unique(read: Callable[..., Iterator[Item]], *args: Any) -> Iterator[Item]:
    """Read photos; of those with one name the second is called NAME-2, and so on."""
    seen: set[str] = set()
    for item in read(*args):
        path, number = item.path, 1
        stem, ending = posixpath.splitext(path)
        while path in seen:
            number += 1
            path = f"{stem}-{number}{ending}"
        seen.add(path)
        yield replace(item, path=path)


def _renamed(file: Any, names: str | None) -> dict[int, str]:
    """Name the cutouts, without an ending, of rows whose name an earlier row of the file has.

    That is known only of the whole file, as other row groups may be finished, or another machine's.
    """
    renamed, free, number = {}, _Free(), 0
    if names:
        for batch in file.iter_batches(_ADDRESSES, columns=[names]):
            for name in batch[0].to_pylist():
                stem = posixpath.splitext(safe_name(str(name)))[0]
                if (given := free(stem)) != stem:
                    renamed[number] = given
                number += 1
    return renamed


class _Free:
    """Gives names out once: of those who ask for one the second gets NAME-2, and so on."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def __call__(self, name: str) -> str:
        free = name
        while free in self._times:
            self._times[name] += 1
            free = f"{name}-{self._times[name]}"
        self._times[free] = 1
        return free


def _rows(
    file: Any,
    stem: str,
    group: int,
    first: int,
    column: str,
    names: str | None,
    renamed: Callable[[], dict[int, str]],
) -> Iterator[Item]:
    columns = [column, *([names] if names else [])]
    number, others = first, renamed()
    for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns):
        for record in batch.to_pylist():
            value = record[column]
            data = value.get("bytes") if isinstance(value, dict) else value
            name = safe_name(str(record[names])) if names else f"{number:08d}"
            other = f"{stem}/{others[number]}" if number in others else ""
            yield Item(f"{stem}/{name}", data=data or b"", stem=other)
            number += 1


def _tars(place: Place, paths: list[str]) -> Iterator[Unit]:
    for path, flat in zip(paths, _flat(place, paths), strict=True):
        yield Unit(flat, _version(place, path), partial(_unique, _members, place, path))


def _members(place: Place, path: str) -> Iterator[Item]:
    stem, seen, free = _stem(place, path), "", _Free()
    try:
        with (
            place.reading(path) as stream,
            tarfile.open(fileobj=stream, mode="r|*") as archive,
        ):
            for member in archive:
                name = safe_name(member.name)
                folder, _, last = name.rpartition("/")
                key = f"{folder}/{last.partition('.')[0]}"
                if not member.isfile() or not image_io.PICTURE.fullmatch(name) or key == seen:
                    continue
                seen = key  # of a sample's pictures the first
                file = archive.extractfile(member)
                data = file.read(MAX_BYTES + 1) if file else b""
                cutout = free(posixpath.splitext(f"{stem}/{name}")[0])
                yield Item(f"{stem}/{name}", data=data, stem=cutout)
                archive.members = []  # type: ignore[attr-defined]  # it would keep all
    except tarfile.TarError as error:
        raise SettingsError(f"{path} is no tar that can be read: {error}") from error
