"""Files on their way: from a visitor to the service's folder, and back."""

from __future__ import annotations

import asyncio
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from pipeline.errors import quoted
from service.budget import Hold
from service.errors import BadRequest, StorageFull, TooLarge
from service.files import Files, refusal
from service.settings import ServiceSettings

# What a browser may show. Everything else is a download: nothing that a visitor sent ever runs.
_SHOWN = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".apng": "image/apng",
    ".webm": "video/webm",
    ".mp4": "video/mp4",
}
_LONGEST_NAME = 200  # bytes: file systems take 255
_HEADER_BYTES = 4096  # of one part of a form; and of a field that is no file
_MOST_FIELDS = 32
_BLOCK = 1 << 18  # bytes of an entry that are in memory at a time


async def hand_out(path: str) -> Response:
    """Answer with a file of the page. Raises as :meth:`Files.look_up` where it is gone."""
    try:
        status = await asyncio.to_thread(os.lstat, path)
    except OSError as error:
        raise refusal() from error
    if not stat.S_ISREG(status.st_mode):
        raise refusal()
    media = _SHOWN.get(Path(path).suffix.lower())
    return FileResponse(
        path,
        media_type=media or "application/octet-stream",
        filename=Path(path).name,
        content_disposition_type="inline" if media else "attachment",
        headers={"Cache-Control": "private, max-age=3600"},
        stat_result=status,
    )


async def hand_out_entry(path: str, name: str) -> Response:
    """Answer with one file of a zip that the page made, as a download.

    Raises as :meth:`Files.look_up` for what is no zip, and for what is not in it.
    """

    def found() -> zipfile.ZipInfo:
        with zipfile.ZipFile(path) as archive:
            return archive.getinfo(name)

    def blocks() -> Iterator[bytes]:
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            while block := stream.read(_BLOCK):
                yield block

    try:
        entry = await asyncio.to_thread(found)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise refusal() from error
    return StreamingResponse(
        blocks(),
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(entry.file_size),
            "Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}",
            "Cache-Control": "private, max-age=3600",
        },
    )


async def take_in(
    request: Request,
    files: Files,
    owner: str,
    client: str,
    settings: ServiceSettings,
    tell: Callable[[str, int], None],
) -> Response:
    """Write the files of a form to the page's folder, and answer with their paths.

    They are ``owner``'s; the rest is as for :func:`receive`.
    """
    form = await receive(request, files, client, settings.max_batch_files, tell)
    return JSONResponse([files.add(sent.path, owner, sent.room, True) for sent in form.written])


async def receive(
    request: Request,
    files: Files,
    client: str,
    most: int,
    tell: Callable[[str, int], None] = lambda name, size: None,
) -> Form:
    """Write the files of a form, ``most`` of them, to the page's folder as its bytes come in.

    They count against the room of ``client``; ``tell`` is called with the name of a file and the
    bytes of it that came. What is not taken on with :meth:`Files.add` is the caller's to ``drop``.

    Raises
    ------
    BadRequest
        It is no form with files, or it ends too early.
    TooLarge
        It has more files than that.
    TooMany, StorageFull
        There is no room for it on the disk: of what is announced, before a byte of it is read.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequest("send the files as a form: multipart/form-data")
    announced = request.headers.get("content-length", "")
    if announced.isdigit():
        files.room(client, int(announced)).release()
    form = Form(files, client, boundary, most, tell)
    try:
        async for chunk in request.stream():
            await asyncio.to_thread(form.feed, chunk)
        await asyncio.to_thread(form.end)
    except OSError as error:
        form.drop()
        raise StorageFull("there is no room for the file on the server's disk") from error
    except BaseException:
        form.drop()
        raise
    return form


@dataclass(frozen=True)
class Sent:
    """A file of a form: the name of its field, where it lies, and the room that it takes."""

    field: str
    path: Path
    room: Hold


class Form:
    """Writes the files of a form as its bytes come in. Its other fields are ``texts``."""

    def __init__(
        self,
        files: Files,
        client: str,
        boundary: bytes,
        most: int,
        tell: Callable[[str, int], None],
    ) -> None:
        self.written: list[Sent] = []
        self._files, self._client, self._most = files, client, most
        self._tell, self._called = tell, ""
        self._stream: BinaryIO | None = None
        self._fields: dict[str, bytes] = {}
        self._field_name = ""  # of the field that is read, if it is no file
        self._header, self._name, self._value = b"", b"", b""
        self._whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._text,
                "on_header_end": self._told,
                "on_headers_finished": self._open,
                "on_part_data": self._data,
                "on_part_end": self._close,
                "on_end": self._end,
            },
        )

    @property
    def texts(self) -> dict[str, str]:
        """The fields that are no files."""
        return {name: value.decode("utf-8", "replace") for name, value in self._fields.items()}

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadRequest("the form cannot be understood") from error

    def end(self) -> None:
        """Make sure that everything is there."""
        if not self._whole:
            raise BadRequest("the form ends too early")
        if not self.written:
            raise BadRequest("there is no file in the form", code="missing_source")

    def drop(self) -> None:
        """Remove what was written."""
        self._close()
        for sent in self.written:
            self._files.remove(sent.path)
            sent.room.release()

    def _begin(self) -> None:
        self._header = self._name = self._value = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._bounded()

    def _text(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bounded()

    def _bounded(self) -> None:
        if len(self._name) + len(self._value) > _HEADER_BYTES:
            raise BadRequest("a header in the form is too long")

    def _told(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._header = self._value
        self._name = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._header)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        name = options.get(b"filename")
        if name is None:
            if len(self._fields) >= _MOST_FIELDS:
                raise TooLarge(f"more than {_MOST_FIELDS} fields in the form")
            if field in self._fields:
                raise BadRequest(f"Parameter {quoted(field)} is given twice: give it once")
            self._field_name, self._fields[field] = field, b""
            return
        if len(self.written) >= self._most:
            raise TooLarge(f"more than {self._most} files at a time")
        folder, room = self._files.begin(self._client)
        self._called = name.decode("utf-8", "replace")
        path = folder / _safe(self._called)
        self.written.append(Sent(field, path, room))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._stream = os.fdopen(descriptor, "wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._stream:
            self._files.grow(self.written[-1].room, end - start)
            self._stream.write(data[start:end])
            self._tell(self._called, end - start)
        else:
            self._fields[self._field_name] += data[start:end]
            if len(self._fields[self._field_name]) > _HEADER_BYTES:
                raise BadRequest("a field of the form is too long")

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream:
            stream.close()

    def _end(self) -> None:
        self._whole = True


def _safe(name: str) -> str:
    """Make a file name of what a client calls a file: it stands on the page, and in its folder."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(c if c.isalnum() or c in " .-_()[],+&'" else "_" for c in last).strip(" .")
    ending = PurePosixPath(kept).suffix[:10]
    room = _LONGEST_NAME - len(ending.encode())
    if len(kept.encode()) > _LONGEST_NAME:
        kept = kept.encode()[:room].decode("utf-8", "ignore") + ending
    return kept or "file"
