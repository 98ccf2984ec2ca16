"""Pictures in a zip: listed without unpacking anything, and unpacked one at a time."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from pipeline.image_io import PICTURE
from service.errors import BadRequest, TooLarge
from service.settings import ServiceSettings

_RATIO = 200  # pictures are compressed already: what packs better than this is a bomb
_SMALL = 1_000_000  # bytes up to which it may: an even picture does pack well
_DIRECTORY = 1_000_000  # bytes of a zip's own list: ten thousand files; each takes 1 kB in memory
_BROKEN = (zipfile.BadZipFile, RuntimeError, OSError, NotImplementedError, ValueError, EOFError)


@dataclass(frozen=True)
class Entry:
    """A picture in a zip: its name, and the bytes that it unpacks to."""

    name: str
    size: int
    info: zipfile.ZipInfo


class Archive:
    """A zip of pictures; everything else in it is passed over.

    Raises
    ------
    BadRequest
        The zip is broken, or there is no picture in it.
    TooLarge
        It lists too much, more pictures than ``max_batch_files``, one that is larger than
        ``max_bytes`` or packs like a bomb, or more than ``max_batch_bytes`` in all. What it says of
        itself is enough: :meth:`read` reads no byte more than that.
    """

    def __init__(self, stream: BinaryIO, settings: ServiceSettings) -> None:
        bounded = _Bounded(stream)
        try:
            self._zip = zipfile.ZipFile(bounded)
        except TooLarge:
            raise
        except Exception as error:  # BadZipFile, struct.error, UnicodeDecodeError, and others
            raise BadRequest("the zip is broken: pack it again", code="invalid_file") from error
        bounded.limit = None  # the list is read
        wanted = [info for info in self._zip.infolist() if _wanted(info)]
        if not wanted:
            raise BadRequest("there is no picture in the zip", code="invalid_file")
        if len(wanted) > settings.max_batch_files:
            raise TooLarge(
                f"{len(wanted)} pictures in the zip, and the limit is {settings.max_batch_files}"
            )
        for info in wanted:
            bound = min(settings.max_bytes, max(_SMALL, _RATIO * info.compress_size))
            if info.file_size > bound:
                raise TooLarge("the zip unpacks to more than the limits allow: split it")
        if sum(info.file_size for info in wanted) > settings.max_batch_bytes:
            raise TooLarge("the zip unpacks to more than the limits allow: split it")
        self.entries = [Entry(_name(info), info.file_size, info) for info in wanted]

    def read(self, entry: Entry) -> bytes:
        """Unpack a picture in memory. Raises :class:`BadRequest` where it is not what was said."""
        named = entry.info.filename[:80]
        if entry.info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadRequest(f"{named} in the zip is packed in a rare way: pack it again")
        try:
            with self._zip.open(entry.info) as stream:
                content = stream.read(entry.size + 1)
        except _BROKEN as error:
            raise BadRequest(
                f"{named} in the zip is broken or encrypted", code="invalid_file"
            ) from error
        except Exception as error:  # zlib.error
            raise BadRequest(f"{named} in the zip is broken", code="invalid_file") from error
        if len(content) != entry.size:
            raise BadRequest(f"{named} in the zip is not as large as said", code="invalid_file")
        return content


class _Bounded(io.RawIOBase):
    """A file of which no more is read at once than ``limit``: a zip's list is read in one piece."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.limit: int | None = _DIRECTORY

    def read(self, size: int = -1) -> bytes:
        if self.limit is None:
            return self._stream.read(size)
        data = self._stream.read(min(size, self.limit + 1) if size >= 0 else self.limit + 1)
        if len(data) > self.limit:
            raise TooLarge("the zip lists too many files: split it")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True


def _name(info: zipfile.ZipInfo) -> str:
    return PurePosixPath(info.filename.replace("\\", "/")).name


def _wanted(info: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(info.filename).name
    hidden = name.startswith(".") or info.filename.startswith("__MACOSX/")
    return not info.is_dir() and not hidden and bool(PICTURE.fullmatch(name))
