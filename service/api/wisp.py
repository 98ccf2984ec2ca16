"""Our own face: a picture in, JSON or the picture itself out."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Path, Request, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import Output
from pipeline.selection import Selection
from service.api.common import PICTURE, Wisp, cut, errors, file, headers, held, uploaded
from service.api.form import only_known, parse_output, parse_selection
from service.auth import client
from service.edits import parse_strokes
from service.errors import NotFound
from service.job import MEDIA, Answer, Job

router = APIRouter(tags=["Wisp"])


class Done(BaseModel):
    """A finished cutout."""

    status: str
    result_url: str
    expires_at: str
    format: str
    bytes: int
    width: int
    height: int
    model: str
    refined: bool
    empty: bool
    confidence: float
    unsure: bool
    cached: bool
    seconds: dict[str, float]
    notes: list[str]


class ModelInfo(BaseModel):
    name: str
    default: bool
    loaded: bool


_FORM: dict[str, Any] = {
    "description": "The picture itself, or JSON, by the Accept header",
    "content": {"application/json": {}} | {media: PICTURE for media in MEDIA.values()},
}


@router.post(
    "/api/remove-background",
    dependencies=[Depends(only_known)],
    response_model=Done,
    responses={200: _FORM, **errors(507)},
    summary="Remove the background",
)
async def remove_background(
    request: Request,
    context: Wisp,
    file_: Annotated[UploadFile, File(alias="file", description="The picture")],
    shown: Annotated[Output, Depends(parse_output)],
    wanted: Annotated[Selection, Depends(parse_selection)],
    mask: Annotated[
        UploadFile | None, File(description="A mask in place of stage 1's, of any size")
    ] = None,
    strokes: Annotated[
        str,
        Form(
            description='A brush, as JSON: [{"points": [[x, y], …], "width": w, "restore": true, '
            '"exact": false}, …] in shares of the photo; [] says that some are to come'
        ),
    ] = "",
    enable_gan: Annotated[bool, Form(description="Redraw the edge with stage 2")] = True,
    model: Annotated[str, Form(description="See GET /api/models")] = "",
) -> Response:
    """Cut the subject out.

    With `Accept: image/*` (or the zip's type) the answer is the file itself; otherwise JSON with a
    URL at which the file lies for a day.

    Where there are `strokes`, the networks do not run again when the client sends the same photo
    with more of them, or fewer.
    """
    mask_data = None if mask is None else await uploaded(mask, context)
    job = Job(
        await uploaded(file_, context),
        context.engine.resolve(model),
        enable_gan,
        shown,
        wanted=wanted,
        mask=mask_data,
        strokes=parse_strokes(strokes) if strokes else (),
        visitor=client(request.scope) if strokes else "",
    )
    answer = await cut(request, context, job)
    if _wants_file(request.headers.get("accept", "")):
        return file(answer)
    return await _kept(request, context, answer)


@router.post(
    "/api/coarse",
    dependencies=[Depends(only_known)],
    response_class=Response,
    responses={200: {"description": "Grey PNG", "content": {"image/png": PICTURE}}, **errors()},
    summary="Find the subject",
)
async def coarse(
    request: Request,
    context: Wisp,
    file_: Annotated[UploadFile, File(alias="file", description="The picture")],
    wanted: Annotated[Selection, Depends(parse_selection)],
    model: Annotated[str, Form(description="See GET /api/models")] = "",
) -> Response:
    """Return stage 1's mask alone, as a grey PNG of the photo's size, for clients that draw.

    `X-Wisp-Confidence` says how likely the subject is whole, 0 to 1; `X-Wisp-Empty` whether there
    is none.
    """
    job = Job(
        await uploaded(file_, context),
        context.engine.resolve(model),
        refine=False,
        output=Output(only_mask=True),
        wanted=wanted,
    )
    return file(await cut(request, context, job))


def _wants_file(accept: str) -> bool:
    """Whether a file is liked better than JSON: */* says nothing, and gets JSON."""
    for entry in accept.split(","):
        kind = entry.partition(";")[0].strip().lower()
        if kind in ("application/json", "*/*", "application/*"):
            return False
        if kind.startswith("image/") or kind in ("application/zip", "application/octet-stream"):
            return True
    return False


async def _kept(request: Request, context: Wisp, answer: Answer) -> Response:
    kept = await asyncio.to_thread(
        context.results.add,
        answer.data,
        answer.format,
        context.settings.result_hours,
        visitor=client(request.scope),
    )
    expires = datetime.fromtimestamp(kept.expires, timezone.utc)
    done = Done(
        status="success",
        result_url=f"{request.scope.get('root_path', '')}/results/{kept.name}.{answer.format}",
        expires_at=expires.isoformat(timespec="seconds"),
        bytes=len(answer.data),
        notes=[*answer.notes, *(["no subject found"] if answer.empty else [])],
        **{
            name: value
            for name, value in asdict(answer).items()
            if name in Done.model_fields and name != "notes"
        },
    )
    return JSONResponse(done.model_dump(), headers=headers(answer))


@router.get(
    "/results/{name}",
    responses={
        200: {"description": "The file", "content": {m: PICTURE for m in MEDIA.values()}},
        **errors(404),
    },
    response_class=Response,
    summary="Fetch a result",
)
async def result(
    request: Request,
    context: Wisp,
    name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{32}(\.[a-z]{3,4})?$")],
) -> Response:
    """Return a result that was handed out; gone after a day."""
    token, _, ending = name.partition(".")
    kept = await asyncio.to_thread(context.results.get, token, data=False)
    if kept and ending in ("", kept.format):
        held(request).grow(kept.size)  # before it is read
        kept = await asyncio.to_thread(context.results.get, token)
    else:
        kept = None
    if kept is None:
        raise NotFound("there is no such result, or no more")
    return Response(
        kept.data,
        media_type=MEDIA[kept.format],
        headers={
            "Content-Disposition": f'inline; filename="wisp-{token[:8]}.{kept.format}"',
            "Cache-Control": "private, max-age=3600",
        },
    )


@router.post(
    "/api/matting",
    dependencies=[Depends(only_known)],
    response_class=Response,
    responses={200: {"description": "RGBA PNG", "content": {"image/png": PICTURE}}, **errors()},
    summary="Cut out as PNG",
)
async def matting(
    request: Request,
    context: Wisp,
    image: Annotated[UploadFile, File(description="The picture")],
) -> Response:
    """Return the cutout as a PNG with straight alpha."""
    job = Job(await uploaded(image, context), context.engine.resolve(""))
    return file(await cut(request, context, job))


@router.get("/api/models", responses=errors(), summary="List the models")
async def list_models(context: Wisp) -> list[ModelInfo]:
    """Return the models that can be asked for."""
    loaded = context.engine.loaded()
    return [
        ModelInfo(name=name, default=name == context.engine.default, loaded=name in loaded)
        for name in context.engine.names()
    ]
