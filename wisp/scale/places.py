"""Places: a local folder, ``s3://``, ``gs://``, ``az://``, ``https://``, ``memory://`` by one face.

An object store has no rename, and needs none: an object is there as a whole when its PUT ends, or
not at all. A local file is made so by :mod:`pipeline.files`. Credentials, endpoints and proxies are
found by each store's own library (``AWS_PROFILE``, ``AWS_ENDPOINT_URL``, …).
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from fsspec import AbstractFileSystem, available_protocols, get_filesystem_class
from fsspec.core import url_to_fs

from pipeline import files
from pipeline.batch import photo_digest
from pipeline.errors import ImageTooLarge, SettingsError
from wisp.scale.errors import StoreError
from wisp.scale.patience import Patience
from wisp.scale.reading import is_web, open_parts, protocols, read_whole

_ANSWER = 15.0  # seconds until a web server has said something; s3fs waits as long
_EXTRAS = {"s3": "s3", "s3a": "s3"}
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub"}
#: Kinds of addresses in which "::" is part of a name; others lead by it through a file in a store.
_PLAIN = {"", "file", "local", "http", "https", *_EXTRAS, *_PACKAGES}


class Entry(NamedTuple):
    """A file of a listing: its path in the store, its size in bytes, and a mark of its content."""

    path: str
    size: int | None
    version: str


@dataclass(frozen=True)
class Place:
    """A folder or a file of a store; pickles, so that another process opens it anew."""

    fs: AbstractFileSystem
    root: str
    patience: Patience = field(default_factory=Patience)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _prepare(self.fs)

    @property
    def address(self) -> str:
        """The whole address, the same for every way of writing it."""
        return str(self.fs.unstrip_protocol(self.root))

    @property
    def local(self) -> bool:
        return "file" in protocols(self.fs)

    @property
    def here_alone(self) -> bool:
        """Whether other processes see another place under this address."""
        return "memory" in protocols(self.fs)

    def path(self, name: str = "") -> str:
        """The path in the store of a name below this place."""
        return posixpath.join(self.root, name) if name else self.root

    def read(self, name: str = "", limit: int | None = None) -> bytes:
        """Return a file's bytes.

        Raises ``FileNotFoundError``, :class:`wisp.scale.errors.StoreError`, and
        :class:`pipeline.errors.ImageTooLarge` where there are more than ``limit``.
        """
        path = self.path(name)
        data = self.patience.call(f"cannot read {path}", read_whole, self.fs, path, limit)
        if limit is not None and len(data) > limit:
            raise ImageTooLarge(f"the file has more than {limit // 10**6} MB")
        return data

    def reading(self, path: str) -> BinaryIO:
        """Open a file of this store to read in parts; each part that fails is tried again.

        Raises :class:`pipeline.errors.SettingsError` where there is no such file, and
        :class:`wisp.scale.errors.StoreError`; the latter also as it is read.
        """
        try:
            if not self.local and not is_web(self.fs):  # whose servers need not know of parts
                return open_parts(self.fs, path, self.patience)
            return self.patience.call(f"cannot read {path}", _open, self.fs, path)
        except FileNotFoundError:
            raise SettingsError(f"there is no {path}") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all.

        Raises :class:`pipeline.errors.OutputError` or :class:`wisp.scale.errors.StoreError`.
        """
        path = self.path(name)
        if self.local:
            _make_folder(os.path.dirname(path))
            files.write(path, data)
        else:
            self.patience.call(f"cannot write {path}", self.fs.pipe_file, path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; tell whether it was written."""
        path = self.path(name)
        if self.local:
            _make_folder(os.path.dirname(path))
        try:
            self.patience.call(f"cannot write {path}", self.fs.pipe_file, path, data, mode="create")
        except FileExistsError:
            return False
        return True

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Yield a file that takes the name when the block ends, if it ends well.

        It can seek; what is bound for a store is kept on the local disk until it is whole.
        """
        path = self.path(name)
        if self.local:
            _make_folder(os.path.dirname(path))
            with files.replacing(path) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile(prefix="wisp-") as file:
            yield file  # type: ignore[misc]
            file.flush()
            self.patience.call(f"cannot write {path}", self.fs.put_file, file.name, path)

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is fine."""
        path = self.path(name)
        with suppress(FileNotFoundError):
            self.patience.call(f"cannot delete {path}", self.fs.rm_file, path)

    def names(self, folder: str = "") -> set[str]:
        """The names in a folder, without those in folders below it; none where it is not there."""
        path = self.path(folder)
        try:
            entries = self.patience.call(f"cannot list {path}", self.fs.ls, path, detail=False)
        except FileNotFoundError:
            return set()
        return {posixpath.basename(str(entry).rstrip("/")) for entry in entries}

    def listing(self) -> Iterator[Entry]:
        """Yield all files below, without hidden folders, as the store tells of them.

        On this machine and in S3 nothing is kept; other stores are asked folder by folder. Raises
        :class:`wisp.scale.errors.StoreError`.
        """
        if self.local:
            return _scanned(self)
        return _pages(self) if "s3" in protocols(self.fs) else _folders(self)

    def below(self, path: str) -> str:
        """The name below this place of a path in its store."""
        return path[len(self.root) :].lstrip("/")


def _open(fs: AbstractFileSystem, path: str) -> BinaryIO:
    return cast(BinaryIO, fs.open(path, "rb"))


@lru_cache(maxsize=256)
def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise files.output_error(f"cannot make the folder {path}", error) from error


def open_place(address: str | os.PathLike[str], patience: Patience | None = None) -> Place:
    """Open the place that an address names; nothing is asked of the store yet.

    Raises :class:`pipeline.errors.SettingsError` where its library is missing, or there is no such
    kind of address.
    """
    text = os.fspath(address)
    kind = text.partition("://")[0] if "://" in text else ""
    try:
        fs, root = _opened(text, kind)
    except ImportError as error:
        wanted = (
            f"'wispcut[{_EXTRAS[kind]}]'" if kind in _EXTRAS else _PACKAGES.get(kind, str(error))
        )
        raise SettingsError(f"{kind}:// needs an extra package: pip install {wanted}") from error
    except ValueError as error:
        raise SettingsError(f"{text}: {error}") from error
    if "file" in protocols(fs):
        root = Path(root).absolute().as_posix()
    _prepare(fs)
    if "data" not in protocols(fs):  # whose slashes are part of the picture
        root = root.rstrip("/") or root
    return Place(fs, root, patience or Patience())


def _opened(text: str, kind: str) -> tuple[AbstractFileSystem, str]:
    # A listing that is kept would grow with the number of pictures.
    options = {"use_listings_cache": False}
    if "::" in text and kind in _PLAIN and text.partition("::")[0] not in available_protocols():
        store = get_filesystem_class(kind or "file")
        fs = store(**store._get_kwargs_from_urls(text), **options)
        return fs, str(store._strip_protocol(text))
    return cast("tuple[AbstractFileSystem, str]", url_to_fs(text, **options))


def _prepare(fs: AbstractFileSystem) -> None:
    """Leave trying again to :class:`Patience`, and do not wait for ever.

    s3fs tries a read 25 times, and botocore each of those five times; an answer from the web is
    waited for five minutes. With ours on top that is hours for one photo whose answer never comes.
    """
    if "s3" in protocols(fs):
        fs.retries = 2  # as an upload in parts would else begin anew for each that fails
        fs.config_kwargs.setdefault("retries", {"total_max_attempts": 1})
    elif is_web(fs):
        import aiohttp

        waits = aiohttp.ClientTimeout(total=None, sock_connect=_ANSWER, sock_read=_ANSWER)
        fs.client_kwargs.setdefault("timeout", waits)


def version(fs: AbstractFileSystem, path: str, info: dict[str, Any]) -> str:
    """A short text that changes with a file's content: the digest of a local file that
    ``wisp cut`` writes into its cutout, a store's ETag, or size and time."""
    if "file" in protocols(fs):
        return photo_digest(Path(path))
    tag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or info.get("md5")
    when = info.get("LastModified") or info.get("last_modified") or info.get("mtime")
    return str(tag).strip('"') if tag else f"{info.get('size')} {when or info.get('created')}"


def _scanned(place: Place) -> Iterator[Entry]:
    waiting = [place.root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = Path(entry.path).as_posix()
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith("."):
                            waiting.append(path)
                    elif entry.is_file():
                        yield Entry(path, entry.stat().st_size, photo_digest(Path(path)))
        except FileNotFoundError:  # deleted meanwhile, or never there
            continue
        except OSError as error:
            raise StoreError(f"cannot list {folder}: {str(error.strerror).lower()}") from error


def _pages(place: Place) -> Iterator[Entry]:
    bucket, prefix, _ = place.fs.split_path(place.root)
    request = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    while True:
        page = place.patience.call(
            f"cannot list {place.address}", place.fs.call_s3, "list_objects_v2", **request
        )
        for entry in page.get("Contents", ()):
            yield Entry(f"{bucket}/{entry['Key']}", entry["Size"], entry["ETag"].strip('"'))
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _folders(place: Place) -> Iterator[Entry]:
    waiting = [place.root]
    while waiting:
        folder = waiting.pop()
        try:
            entries = place.patience.call(f"cannot list {folder}", place.fs.ls, folder, detail=True)
        except FileNotFoundError:
            continue
        for info in sorted(entries, key=lambda info: info["name"]):
            path = str(info["name"]).rstrip("/")
            if info["type"] == "directory":
                if path != folder and not posixpath.basename(path).startswith("."):
                    waiting.append(path)
            else:
                yield Entry(path, info.get("size"), version(place.fs, path, info))
