"""Where cutouts go: a file each, WebDataset tars, or Parquet files.

Equal cutouts make equal files: members and rows are sorted by name, and hold no times. Cutouts come
in any order; they wait in a file on the local disk, and memory holds one at a time.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Protocol

from wisp.scale.places import Place
from wisp.scale.rows import Row

KINDS = ("files", "webdataset", "parquet")
ENDINGS = {"webdataset": ".tar", "parquet": ".parquet"}
_GROUP = 64_000_000  # bytes of pictures in a row group


class Sink(Protocol):
    """What takes the cutouts of one shard."""

    def add(self, row: Row, image: bytes | None) -> None:
        """Take a photo's row, and its cutout unless the worker has written it."""

    def finish(self, rows: list[Row]) -> None:
        """Write what is to be written; ``output`` of the rows is set."""

    def close(self) -> None:
        """Let go of what waits."""


class Files:
    """A file for each cutout; mostly the workers write them."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def add(self, row: Row, image: bytes | None) -> None:
        if image is not None and row.output:
            self._place.write(row.output, image)

    def finish(self, rows: list[Row]) -> None:
        pass

    def close(self) -> None:
        pass


class _Waiting:
    """Cutouts that wait on the local disk."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._file: IO[bytes] | None = None  # as many shards may wait for their first cutout
        self._where: dict[str, tuple[int, int]] = {}

    def add(self, row: Row, image: bytes | None) -> None:
        if image is not None:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="wisp-")  # noqa: SIM115
            self._where[row.path] = (self._file.seek(0, io.SEEK_END), len(image))
            self._file.write(image)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _pictures(self, rows: list[Row]) -> Iterator[tuple[Row, bytes | None]]:
        for row in sorted(rows, key=lambda row: row.path):
            image = None
            if self._file and row.path in self._where:
                start, size = self._where[row.path]
                self._file.seek(start)
                image = self._file.read(size)
            yield row, image


class Tar(_Waiting):
    """A WebDataset tar: ``NAME.png`` and ``NAME.json`` for each cutout."""

    def finish(self, rows: list[Row]) -> None:
        with (
            self._place.writing(self._name) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for row, image in self._pictures(rows):
                if image is None:
                    continue
                stem, _, ending = row.output.rpartition(".")
                folder, slash, last = stem.rpartition("/")
                # A sample's name goes up to the first dot.
                key = folder + slash + last.replace(".", "%2E")
                _member(archive, f"{key}.{ending}", image)
                _member(archive, f"{key}.json", json.dumps(_facts(row), sort_keys=True).encode())
        for row in rows:
            row.output = self._name if row.status == "done" else ""


class Table(_Waiting):
    """A Parquet file: path, image, status, error, confidence, width, height and notes."""

    def finish(self, rows: list[Row]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([
            ("path", pa.string()), ("image", pa.binary()), ("status", pa.string()),
            ("error", pa.string()), ("notes", pa.string()), ("confidence", pa.float64()),
            ("width", pa.int64()), ("height", pa.int64()),
        ])  # fmt: skip
        with (
            self._place.writing(self._name) as file,
            # Pictures are compressed already.
            pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer,
        ):
            group: list[dict[str, Any]] = []
            held = 0
            for row, image in self._pictures(rows):
                group.append({**_facts(row), "image": image})
                held += len(image or b"")
                if held > _GROUP:
                    writer.write_table(pa.Table.from_pylist(group, schema))
                    group, held = [], 0
            if group:
                writer.write_table(pa.Table.from_pylist(group, schema))
        for row in rows:
            row.output = self._name


def open_sink(kind: str, place: Place, name: str) -> Sink:
    """Open what takes the cutouts of the shard's part ``name``."""
    if kind == "files":
        return Files(place)
    return (Tar if kind == "webdataset" else Table)(place, name + ENDINGS[kind])


def _member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    archive.addfile(info, io.BytesIO(data))


def _facts(row: Row) -> dict[str, Any]:
    """What is said of a cutout beside it: nothing that two runs would say differently."""
    return {
        "path": row.path,
        "status": row.status,
        "error": row.error,
        "notes": row.notes,
        "confidence": row.confidence,
        "width": row.width,
        "height": row.height,
    }
