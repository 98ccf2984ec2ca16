"""How far the uploads on their way have come, for the bar that the page shows."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import StreamingResponse

from service.errors import NotFound

_OFTEN = 0.1  # seconds between two looks
_SOON = 30  # looks until an upload has to have begun


@dataclass
class _Upload:
    #: Bytes that came since they were last told, by the name of the file.
    came: dict[str, int] = field(default_factory=dict)
    done: bool = False

    def tell(self, name: str, size: int) -> None:
        self.came[name] = self.came.get(name, 0) + size


class UploadProgress:
    """The uploads on their way, by client and the number that the page gave them."""

    def __init__(self) -> None:
        self._uploads: dict[tuple[str, str], _Upload] = {}

    @contextlib.contextmanager
    def follow(self, client: str, request: Request) -> Iterator[Callable[[str, int], None]]:
        """Follow an upload for as long as the ``with`` lasts; yields what is told of its bytes."""
        upload, key = _Upload(), (client, request.query_params.get("upload_id", ""))
        self._uploads[key] = upload
        try:
            yield upload.tell
        finally:
            upload.done = True
            if self._uploads.get(key) is upload:
                del self._uploads[key]

    async def stream(self, client: str, request: Request) -> StreamingResponse:
        """Answer with what comes, in Gradio's words. Raises :class:`NotFound` for no upload."""
        key = (client, request.query_params.get("upload_id", ""))
        for _ in range(_SOON):
            if upload := self._uploads.get(key):
                return StreamingResponse(_events(upload), media_type="text/event-stream")
            await asyncio.sleep(_OFTEN)
        raise NotFound("there is no such upload, or no more")


async def _events(upload: _Upload) -> AsyncIterator[str]:
    while not upload.done:
        came, upload.came = upload.came, {}
        for name, size in came.items():
            yield _event(msg="update", orig_name=name, chunk_size=size)
        await asyncio.sleep(_OFTEN)
    yield _event(msg="done")


def _event(**fields: object) -> str:
    return f"data: {json.dumps(fields)}\n\n"
