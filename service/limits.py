"""Bounds on what comes in: bodies, the time they take, and what archives unpack to."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.image_io import PICTURE
from service.budget import Budget
from service.errors import BadRequest, ServiceError, TimedOut, TooLarge
from service.gate import client
from service.settings import ServiceSettings

_OVERHEAD = 1_000_000  # bytes of a form beside its file: fields, boundaries, a small background
_PART = 65_536  # bytes of an answer handed on at a time
_RATIO = 200  # pictures are compressed already: what packs better than this is a bomb


class Bounded:
    """ASGI: bounds what a request's body and its answer hold, and for how long.

    A body that is too large or too slow ends the request while it is received; one for which there
    is no room in memory, before a byte of it is read. An answer is handed on in parts, so that a
    client which reads slowly is waited for here, and not in the memory of the connection.

    ``scope["state"]["held"]`` is the :class:`service.budget.Hold` of the request, for a face to
    grow by what else it takes.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, memory: Budget) -> None:
        self.app, self.settings, self.memory = app, settings, memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, weight = self._limit(scope["path"]), _weight(scope)
        state = scope.setdefault("state", {})
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.upload_timeout
        read, promised, complete = 0, 0, False

        async def bounded() -> Message:
            nonlocal read, complete
            if complete:  # waiting for the client to go may take as long as it likes
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, deadline - loop.time()))
            except asyncio.TimeoutError:
                raise TimedOut("the upload took too long", status=408) from None
            size = len(message.get("body", b""))
            held.grow(weight * max(0, min(size, read + size - promised)))
            read += size
            complete = not message.get("more_body", False)
            if read > limit:
                raise self._too_large(limit)
            return message

        async def in_parts(message: Message) -> None:
            body = message.get("body", b"")
            for at in range(0, len(body) - _PART, _PART):
                part = {"type": message["type"], "body": body[at : at + _PART], "more_body": True}
                await send(part)
            if len(body) > _PART:
                message["body"] = body[-(len(body) % _PART or _PART) :]
            await send(message)

        with self.memory.hold(client(scope)) as held:
            state["held"] = held
            said = dict(scope["headers"]).get(b"content-length", b"0")
            try:
                # Not raised from receive(), so that not one byte of it is read.
                if said.isdigit() and int(said) > limit:
                    raise self._too_large(limit)
                if said.isdigit() and "refused" not in state:
                    promised = int(said)
                    held.grow(weight * promised)
            except ServiceError as error:
                state["refused"] = error
            await self.app(scope, bounded, in_parts)

    def _limit(self, path: str) -> int:
        if path.startswith("/gradio_api/upload"):
            return self.settings.max_batch_bytes + _OVERHEAD
        # remove.bg takes base64 in a form: a third more, and percent signs.
        share = 1.4 if path.startswith("/v1.0/") else 1.0
        return int(self.settings.max_bytes * share) + _OVERHEAD

    def _too_large(self, limit: int) -> TooLarge:
        return TooLarge(f"the upload is larger than {limit / 1e6:.0f} MB: send a smaller file")


def _weight(scope: Scope) -> int:
    """How often a body is in memory. A file's part of a form is once: it arrives on the disk. Text
    is twice: as it came, and decoded. What the page takes stays on the disk."""
    if scope["path"].startswith("/gradio_api/upload"):
        return 0
    kind = dict(scope["headers"]).get(b"content-type", b"")
    return 1 if kind.lower().startswith(b"multipart/form-data") else 2


def check_size(data: bytes, settings: ServiceSettings) -> bytes:
    """Return a file's bytes. Raises :class:`TooLarge`, or :class:`BadRequest` for an empty one."""
    if len(data) > settings.max_bytes:
        raise TooLarge(f"the file is larger than {settings.max_bytes / 1e6:.0f} MB")
    if not data:
        raise BadRequest("the file is empty", code="invalid_file")
    return data


def pictures(data: bytes, settings: ServiceSettings) -> Iterator[tuple[str, bytes]]:
    """Unpack the pictures of a zip one by one, in memory and never to the disk.

    Yields (name, bytes). Everything else in the archive is passed over. Raises
    :class:`BadRequest` for a broken archive, :class:`TooLarge` for one that unpacks to more than
    ``max_batch_bytes``, holds more than ``max_batch_files`` pictures, or packs like a bomb.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise BadRequest("the zip is broken: pack it again", code="invalid_file") from error
    with archive:
        entries = [entry for entry in archive.infolist() if _wanted(entry)]
        if not entries:
            raise BadRequest("there is no picture in the zip", code="invalid_file")
        if len(entries) > settings.max_batch_files:
            raise TooLarge(
                f"{len(entries)} pictures in the zip, and the limit is {settings.max_batch_files}"
            )
        total = 0
        for entry in entries:
            # What the directory says may be a lie: it is counted while it is read.
            bound = min(settings.max_bytes, settings.max_batch_bytes - total)
            bound = min(bound, max(1_000_000, _RATIO * entry.compress_size))
            try:
                with archive.open(entry) as stream:
                    content = stream.read(bound + 1)
            except (zipfile.BadZipFile, RuntimeError, OSError, NotImplementedError) as error:
                raise BadRequest(
                    f"{entry.filename[:80]} in the zip is broken or encrypted", code="invalid_file"
                ) from error
            except Exception as error:  # zlib.error, lzma.LZMAError, EOFError
                raise BadRequest(
                    f"{entry.filename[:80]} in the zip is broken", code="invalid_file"
                ) from error
            if len(content) > bound:
                raise TooLarge("the zip unpacks to more than the limits allow: split it")
            total += len(content)
            yield PurePosixPath(entry.filename.replace("\\", "/")).name, content


def _wanted(entry: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(entry.filename).name
    hidden = name.startswith(".") or entry.filename.startswith("__MACOSX/")
    return not entry.is_dir() and not hidden and bool(PICTURE.fullmatch(name))
