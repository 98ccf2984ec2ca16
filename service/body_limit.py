"""Bounds on what comes in: bodies, and the time they take."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import client
from service.budget import Budget
from service.errors import BadRequest, ServiceError, TimedOut, TooLarge
from service.faces import CLIPS, REMOVEBG
from service.settings import ServiceSettings

_OVERHEAD = 1_000_000  # bytes of a form beside its file: fields, boundaries, a small background
_PART = 65_536  # bytes of an answer handed on at a time


class BodyLimitMiddleware:
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
            length = dict(scope["headers"]).get(b"content-length", b"0")
            try:
                # Not raised from receive(), so that not one byte of it is read.
                if length.isdigit() and int(length) > limit:
                    raise self._too_large(limit)
                if length.isdigit() and "refused" not in state:
                    promised = int(length)
                    held.grow(weight * promised)
            except ServiceError as error:
                state["refused"] = error
            await self.app(scope, bounded, in_parts)

    def _limit(self, path: str) -> int:
        if path.startswith("/gradio_api/upload"):
            return self.settings.max_batch_bytes + _OVERHEAD
        if path == CLIPS:  # and what is to lie behind, which may be one too
            return 2 * self.settings.clip_bytes + _OVERHEAD
        # remove.bg takes base64 in a form: a third more, and percent signs.
        share = 1.4 if path.startswith(REMOVEBG) else 1.0
        return int(self.settings.max_bytes * share) + _OVERHEAD

    def _too_large(self, limit: int) -> TooLarge:
        return TooLarge(f"the upload is larger than {limit / 1e6:.0f} MB: send a smaller file")


def _weight(scope: Scope) -> int:
    """How often a body is in memory. A file's part of a form is once: it arrives on the disk. Text
    is twice: as it came, and decoded. What the page takes stays on the disk, and so do clips."""
    if scope["path"].startswith("/gradio_api/upload") or scope["path"] == CLIPS:
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
