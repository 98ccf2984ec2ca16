"""What of Gradio a visitor can reach: the page's own requests, with none but the visitor's files.

Gradio's own check of paths is off in a page that is mounted and not launched, and it answers more
routes than the page asks for. So everything that is not in the lists below ends here, and the body
of an event is taken apart and put together anew before Gradio sees it: of a file only the path is
kept, and only that of an upload of the same visitor.
"""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import client
from service.errors import BadRequest, NotFound, TooLarge
from service.files import Files, keeper
from service.settings import ServiceSettings
from service.transfer import hand_out, hand_out_entry, take_in
from service.web.event_streams import EventStreams
from service.web.upload_progress import UploadProgress

_READS = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon)/?"
    r"|/(assets|static|svelte)/.+"
    r"|/gradio_api/(info|openapi\.json|startup-events|queue/data|heartbeat/\w+)/?"
    r"|/gradio_api/call/(v2/)?\w+/\w+/?",
    re.DOTALL,
)
_EVENTS = re.compile(r"/gradio_api/(queue/join|call/(v2/)?\w+|run/\w+|cancel|reset)/?")
_FILE = "/gradio_api/file="
_UPLOAD = "/gradio_api/upload"
_PROGRESS = "/gradio_api/upload_progress"

# Of an event's body: what Gradio's own clients send.
_FIELDS = ("data", "session_hash", "event_id", "event_data", "fn_index", "trigger_id")
_MOST_BYTES = 200_000  # of an event: the longest names 200 files, or has the list of the history
_MOST_LEVELS = 20  # Gradio walks values by recursion; its clients send up to six


class GuardMiddleware:
    """ASGI, around Gradio: lets the page's own requests through, and takes over its files."""

    def __init__(
        self, app: ASGIApp, files: Files, settings: ServiceSettings, unread: EventStreams
    ) -> None:
        self.app, self.files, self.settings, self.unread = app, files, settings, unread
        self.arriving = UploadProgress()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        read, write = method in ("GET", "HEAD"), method == "POST"
        request = Request(scope, receive)
        if read and path.startswith(_FILE):
            name, entry = path.removeprefix(_FILE), request.query_params.get("entry")
            upload = None if entry is None else False  # a stranger's zip is not opened here
            file = self.files.look_up(name, self._owner(scope), upload)
            answer = await (hand_out(file) if entry is None else hand_out_entry(file, entry))
            await answer(scope, receive, send)
        elif write and path.rstrip("/") == _UPLOAD:
            owner, who = self._owner(scope), client(scope)
            with self.arriving.follow(who, request) as tell:
                sent = await take_in(request, self.files, owner, who, self.settings, tell)
            await sent(scope, receive, send)
        elif read and path.rstrip("/") == _PROGRESS:
            answer = await self.arriving.stream(client(scope), request)
            await answer(scope, receive, send)
        elif write and _EVENTS.fullmatch(path):
            whole = path.startswith("/gradio_api/call/v2/")  # the arguments by their names
            body = self._screened(await _body(request), self._owner(scope), whole)
            await self.unread.sweep()
            await self.app(_typed(scope, body), _replay(body, receive), send)
        elif read and _READS.fullmatch(path):
            await self.app(scope, receive, send)
        else:
            raise NotFound("Not Found")

    def _owner(self, scope: Scope) -> str:
        return keeper(Headers(scope=scope), client(scope), self.settings.public)

    def _screened(self, body: bytes, owner: str, whole: bool) -> bytes:
        """Return an event's body with nothing in it but plain values and uploads of the visitor.

        Raises
        ------
        BadRequest
            It is no JSON object, nested too deeply, or names more files than a batch may have.
        NotAllowed
            It names a file that is no upload of the visitor; the same for all of those.
        """
        try:
            sent = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest("the body is no JSON") from error
        if not isinstance(sent, dict):
            raise BadRequest("the body is no JSON object")
        if whole:
            kept = sent
        else:
            kept = {name: sent[name] for name in _FIELDS if name in sent}
            if "event_data" in kept:
                kept["event_data"] = _event(kept["event_data"])
        named: list[str] = []
        plain = self._plain(kept, owner, named, _MOST_LEVELS)
        try:
            return json.dumps(plain, allow_nan=False).encode()
        except ValueError as error:
            raise BadRequest("a number in the body is none") from error

    def _plain(self, value: Any, owner: str, named: list[str], levels: int) -> Any:
        """Return a value with each file in it checked and reduced to its path."""
        if levels < 0:
            raise BadRequest("the body is nested too deeply")
        if isinstance(value, list):
            return [self._plain(entry, owner, named, levels - 1) for entry in value]
        if not isinstance(value, dict):
            return value
        if "path" not in value:
            return {
                name: self._plain(entry, owner, named, levels - 1) for name, entry in value.items()
            }
        if len(named) >= self.settings.max_batch_files + 2:  # a photo and a background beside
            raise TooLarge(f"more than {self.settings.max_batch_files} files at a time")
        named.append(self.files.look_up(value["path"], owner))
        return {"path": named[-1], "meta": {"_type": "gradio.FileData"}}


def _event(event: Any) -> dict[str, Any] | None:
    """Keep of an event which entry of a list was chosen: all that the page's functions ask for."""
    if not isinstance(event, dict):
        return None
    index = event.get("index")
    if isinstance(index, bool) or not isinstance(index, int):
        index = None
    return {"index": index, "value": None}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise TooLarge(f"an event is larger than {_MOST_BYTES / 1000:.0f} kB")
    return bytes(body)


def _typed(scope: Scope, body: bytes) -> Scope:
    """Describe the body that is sent on in place of the one that came."""
    dropped = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name not in dropped]
    headers += [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return {**scope, "headers": headers}


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
