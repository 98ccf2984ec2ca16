"""Files of a store: whole in one request, or in parts, of which each may be tried again."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, cast

from fsspec import AbstractFileSystem

from pipeline.errors import UnreadableImage
from wisp.scale.patience import Patience

#: Largest file of one photo, in bytes: 100 megapixels of 16-bit RGB.
MAX_BYTES = 600_000_000
_PASSING = (408, 425, 429)  # of HTTP's refusals: too slow, too early, too many
_PART = 8_000_000  # bytes asked for at a time


def protocols(fs: AbstractFileSystem) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def is_web(fs: AbstractFileSystem) -> bool:
    """Whether a store is a plain web server."""
    return bool({"http", "https"} & set(protocols(fs)))


def read_whole(fs: AbstractFileSystem, path: str, limit: int | None) -> bytes:
    """Return a file's bytes, of a longer one ``limit`` + 1.

    Raises what the store's library does, and :class:`pipeline.errors.UnreadableImage` where a web
    server refuses for good.
    """
    if is_web(fs):
        return _streamed(fs, path, MAX_BYTES if limit is None else limit)
    # gcsfs would cut a read into four, of which three begin beyond a photo's end.
    options = {"concurrency": 1} if "gs" in protocols(fs) else {}
    try:
        # A part that reaches beyond the end is the whole, in one request, and bounded.
        end = None if limit is None else limit + 1
        return bytes(fs.cat_file(path, start=0, end=end, **options))
    except FileNotFoundError:
        raise
    except Exception as error:
        # An empty file has no first byte to begin at.
        if "range" in str(error).lower() and fs.size(path) == 0:
            return b""
        raise


def _streamed(fs: AbstractFileSystem, path: str, limit: int) -> bytes:
    blocks, left = [], limit + 1
    try:
        # A stream, as a server may send without an end; with a size, or it would be asked for that
        # first, where any trouble is said to be a file that is not there.
        with fs.open(path, "rb", block_size=0, size=1) as stream:
            while left > 0 and (block := stream.read(min(left, 1 << 20))):
                blocks.append(block)
                left -= len(block)
    except Exception as error:
        status = getattr(error, "status", 0)
        if 400 <= status < 500 and status not in _PASSING:
            raise UnreadableImage(f"the server answers {status}") from error
        raise
    return b"".join(blocks)


def open_parts(fs: AbstractFileSystem, path: str, patience: Patience) -> BinaryIO:
    """Open a file that is read in parts, as they are needed."""
    size = patience.call(f"cannot read {path}", fs.size, path)
    return cast(BinaryIO, io.BufferedReader(_Parts(fs, path, size, patience), _PART))


class _Parts(io.RawIOBase):
    def __init__(self, fs: AbstractFileSystem, path: str, size: int, patience: Patience) -> None:
        self._fs, self._path, self._size, self._patience = fs, path, size, patience
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._patience.call(
            f"cannot read {self._path}", self._fs.cat_file, self._path, start=self._at, end=end
        )
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
