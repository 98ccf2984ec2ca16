"""What the faces share."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, UploadFile
from starlette.responses import Response

from service.body_limit import check_size
from service.budget import Hold
from service.context import Context
from service.errors import BadRequest
from service.fetch import fetch
from service.job import Answer, Job

T = TypeVar("T")


def _context(request: Request) -> Context:
    context = request.app.state.wisp
    assert isinstance(context, Context)
    return context


#: What the application holds, for a route that needs it.
Wisp = Annotated[Context, Depends(_context)]


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """Await ``work``, and cancel it when the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise asyncio.CancelledError("the client went away")
        return await task
    finally:
        gone.cancel()
        task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def held(request: Request) -> Hold:
    """Return what the request holds of the budget for memory."""
    hold = request.scope["state"]["held"]
    assert isinstance(hold, Hold)
    return hold


async def cut(request: Request, context: Context, job: Job) -> Answer:
    """Do a job for as long as its client waits, and note it for the log."""
    answer = await until_gone(request, context.queue.cut(job))
    held(request).grow(len(answer.data))  # it stays in memory until the client has read it
    request.scope.setdefault("state", {})["log"] = {
        "model": answer.model,
        "pixels": answer.width * answer.height,
        "cached": answer.cached,
        "work": answer.seconds["total"],
    }
    return answer


async def uploaded(file: UploadFile | None, context: Context) -> bytes:
    """Return the bytes of an upload. Raises for one that is missing, empty or too large."""
    if file is None:
        raise BadRequest("the file is missing", code="missing_source")
    data = await file.read(context.settings.max_bytes + 1)
    await file.close()  # what it lay in may be memory too: a container's /tmp often is
    return check_size(data, context.settings)


async def fetched(url: str, request: Request, context: Context) -> bytes:
    """Return the bytes behind a URL, where the settings allow it."""
    settings = context.settings
    if not settings.fetches:
        raise BadRequest("this server fetches no URLs: send the file", code="invalid_image_url")
    held(request).grow(settings.max_bytes)  # how much it will be is known only afterwards
    data = await until_gone(
        request,
        fetch(
            url,
            max_bytes=settings.max_bytes,
            seconds=settings.fetch_timeout,
            **context.fetch_options,
        ),
    )
    held(request).grow(len(data) - settings.max_bytes)
    return check_size(data, settings)


def headers(answer: Answer) -> dict[str, str]:
    """Tell what is worth knowing of an answer, beside the file itself."""
    return {
        "X-Wisp-Model": answer.model,
        "X-Wisp-Seconds": f"{answer.seconds['total']:.3f}",
        "X-Wisp-Cached": str(answer.cached).lower(),
        "X-Wisp-Empty": str(answer.empty).lower(),
        "X-Wisp-Confidence": f"{answer.confidence:.3f}",
    }


def file(answer: Answer, extra: dict[str, str] | None = None) -> Response:
    """Answer with the file itself."""
    return Response(answer.data, media_type=answer.media, headers=headers(answer) | (extra or {}))


def prefers_json(request: Request) -> bool:
    """Whether the client wants JSON instead of the picture.

    axios and n8n name JSON first in every request, also when they save the answer as a picture. So
    the picture is sent where it is named (``image/*``), or where anything is as welcome as JSON.
    """
    weights = {}
    for entry in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        quality = (re.fullmatch(r"q=([01](?:\.\d*)?)", one) for one in parameters)
        weights[kind] = next((float(one[1]) for one in quality if one), 1.0)
    picture = any(kind.startswith("image/") and weight for kind, weight in weights.items())
    return not picture and weights.get("application/json", 0.0) > weights.get("*/*", 0.0)


def as_base64(request: Request, answer: Answer) -> str:
    """Return the file as base64, for an answer in JSON."""
    held(request).grow(2 * len(answer.data))  # as base64, and within the JSON
    return base64.b64encode(answer.data).decode()


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe for OpenAPI how errors look."""
    schema = {
        "type": "object",
        "properties": {"detail": {"type": "string"}, "code": {"type": "string"}},
        "required": ["detail"],
    }
    usual = (400, 401, 403, 408, 413, 422, 429, 500, 503, 504)
    return {
        status: {
            "description": "Error",
            "content": {"application/json": {"schema": schema}},
        }
        for status in (*usual, *statuses)
    }


#: How a file looks to OpenAPI.
PICTURE = {"schema": {"type": "string", "format": "binary"}}
