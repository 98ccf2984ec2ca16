"""rembg's face: ``rembg s`` 2.0, so that a client written for it works unchanged.

Parameters, their names, defaults and ranges are those of ``rembg/commands/s_command.py`` 2.0.86.
Alpha matting (``a``, ``af``, ``ab``, ``ae``) and ViTMatte (``vm``) ask for a better edge, and
colour decontamination (``dc``) for clean colours: here every answer has both, so these are taken
and change nothing. The model names of rembg are taken too; one that is not here is answered by
the default model, and ``X-Wisp-Model`` says which it was.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import JSONResponse
from starlette.responses import Response

from pipeline import Output
from pipeline.output import RGBA
from service.api.common import (
    PICTURE,
    Wisp,
    as_base64,
    cut,
    errors,
    fetched,
    file,
    headers,
    prefers_json,
    uploaded,
)
from service.context import Context
from service.job import Job
from wisp.rembg import MODELS

router = APIRouter(tags=["rembg"])

_IMAGE = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": {"type": "string", "format": "byte"}},
}
_PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "PNG, or JSON by the Accept header",
        "content": {"image/png": PICTURE, "application/json": {"schema": _IMAGE}},
    },
    **errors(),
    422: {"description": "As FastAPI has it", "content": {"application/json": {}}},
}


def _wrong(field: str, message: str) -> HTTPException:
    error = {"type": "value_error", "loc": ["query", field], "msg": message}
    return HTTPException(422, [error])


def _job(context: Context, image: bytes, model: str, om: bool, ppm: bool, bgc: str | None) -> Job:
    known = context.engine.names()
    if model not in known:
        if model and model not in MODELS:
            raise _wrong("model", f"unknown model: use one of {', '.join((*known, *MODELS))}")
        model = context.engine.default
    behind: RGBA | None = None
    if bgc:
        try:
            red, green, blue, alpha = (int(part) for part in bgc.split(","))
            behind = red, green, blue, alpha
        except ValueError:
            raise _wrong("bgc", "must be four numbers as 255,255,255,255") from None
        if not all(0 <= part <= 255 for part in behind):
            raise _wrong("bgc", "each number must lie within 0..255")
    # rembg composites a mask as it does a cutout; on a grey picture that changes nothing of use.
    output = Output(only_mask=om, binary=ppm, background=None if om else behind)
    return Job(image, model, output=output)


async def _answer(request: Request, context: Context, job: Job) -> Response:
    answer = await cut(request, context, job)
    if not prefers_json(request):
        return file(answer)
    # Not rembg's, but what many a page that was written around it expects.
    return JSONResponse({"image": as_base64(request, answer)}, headers=headers(answer))


@router.get("/api/remove", response_class=Response, responses=_PNG, summary="Remove from URL")
async def remove_url(
    request: Request,
    context: Wisp,
    url: Annotated[str, Query(description="URL of the image")],
    model: Annotated[str, Query()] = "",
    a: Annotated[bool, Query(description="Alpha matting: always on")] = False,
    af: Annotated[int, Query(ge=0, le=255, description="Taken, no effect")] = 240,
    ab: Annotated[int, Query(ge=0, le=255, description="Taken, no effect")] = 10,
    ae: Annotated[int, Query(ge=0, description="Taken, no effect")] = 10,
    om: Annotated[bool, Query(description="Only the mask")] = False,
    ppm: Annotated[bool, Query(description="Post-process the mask")] = False,
    dc: Annotated[bool, Query(description="Decontaminate: always on")] = False,
    vm: Annotated[bool, Query(description="Refine edges: always on")] = False,
    bgc: Annotated[str | None, Query(description="Background r,g,b,a")] = None,
    extras: Annotated[str | None, Query(description="Taken, no effect")] = None,
) -> Response:
    """Remove the background of the image behind a URL."""
    image = await fetched(url, request, context)
    return await _answer(request, context, _job(context, image, model, om, ppm, bgc))


@router.post("/api/remove", response_class=Response, responses=_PNG, summary="Remove from stream")
async def remove_file(
    request: Request,
    context: Wisp,
    file_: Annotated[UploadFile, File(alias="file", description="Image file")],
    model: Annotated[str, Form()] = "",
    a: Annotated[bool, Form(description="Alpha matting: always on")] = False,
    af: Annotated[int, Form(ge=0, le=255, description="Taken, no effect")] = 240,
    ab: Annotated[int, Form(ge=0, le=255, description="Taken, no effect")] = 10,
    ae: Annotated[int, Form(ge=0, description="Taken, no effect")] = 10,
    om: Annotated[bool, Form(description="Only the mask")] = False,
    ppm: Annotated[bool, Form(description="Post-process the mask")] = False,
    dc: Annotated[bool, Form(description="Decontaminate: always on")] = False,
    vm: Annotated[bool, Form(description="Refine edges: always on")] = False,
    # In the query, also here: so it is in rembg.
    bgc: Annotated[str | None, Query(description="Background r,g,b,a")] = None,
    extras: Annotated[str | None, Query(description="Taken, no effect")] = None,
) -> Response:
    """Remove the background of an uploaded image."""
    image = await uploaded(file_, context)
    return await _answer(request, context, _job(context, image, model, om, ppm, bgc))
