"""Our own face for clips: a job that is asked how far it is, and a file at its end."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel
from starlette.responses import Response

from pipeline.background import FITS
from service.api.common import PICTURE, Wisp, errors
from service.api.fields import Fields, check_names, check_query
from service.auth import client
from service.clips.job import ClipJob
from service.clips.wish import MEDIA, Wish
from service.context import Context
from service.errors import BadRequest, NotFound
from service.faces import CLIPS
from service.files import keeper
from service.transfer import Form, receive

router = APIRouter(tags=["Wisp"])

_FILES = ("file", "background_file")
_FLAG: dict[str, Any] = {"type": "boolean"}
_PROPERTIES: dict[str, Any] = {
    "file": {"type": "string", "format": "binary", "description": "The clip"},
    "format": {"type": "string", "enum": list(MEDIA), "default": Wish.format},
    "background": {
        "type": "string",
        "default": Wish.background,
        "description": "transparent, blur, a colour, or gradient:white,#c8d0d8; mp4 needs one",
    },
    "background_file": {
        "type": "string",
        "format": "binary",
        "description": "A picture or another clip to put behind the subject",
    },
    "fit": {"type": "string", "enum": list(FITS), "default": Wish.fit},
    "linear": {**_FLAG, "default": False, "description": "Blend in linear light"},
    "only_mask": {**_FLAG, "default": False, "description": "The alpha, as a grey clip"},
    "model": {"type": "string", "description": "See GET /api/models"},
    "enable_gan": {**_FLAG, "default": True, "description": "Redraw the edge with stage 2"},
    "steady": {**_FLAG, "default": True, "description": "Keep the alpha from flickering"},
}
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{32}$")]


class ClipState(BaseModel):
    """How far a clip is."""

    status: Literal["waiting", "working", "done", "failed"]
    job_url: str
    result_url: str | None
    frames: int
    of: int | None
    seconds_left: float | None
    notes: list[str]
    detail: str | None
    code: str | None


@router.post(
    CLIPS,
    status_code=202,
    response_model=ClipState,
    responses=errors(501, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": _PROPERTIES,
                    }
                }
            },
        }
    },
    summary="Cut the subject out of a clip",
)
async def start(request: Request, context: Wisp) -> Response:
    """Take a short clip, and say at once where to ask how far it is (`job_url`).

    One clip is cut out at a time. The result is kept for a day, or until newer ones need its room.
    """
    context.clips.check()
    check_query(request, _PROPERTIES)
    visitor = client(request.scope)
    owner = keeper(request.headers, visitor, context.settings.public)
    form = await receive(request, context.files, visitor, len(_FILES))
    sent: dict[str, str] = {}
    try:
        wish = _wish(form)
        for one in form.written:
            sent[one.field] = context.files.add(one.path, owner, one.room, True)
        job = await context.clips.add(
            wish, sent["file"], sent.get("background_file"), visitor, owner
        )
    finally:  # the job has copies of its own
        await asyncio.to_thread(form.drop)
    state = _state(job, request)
    return JSONResponse(state.model_dump(), 202, {"Location": state.job_url})


@router.get(f"{CLIPS}/{{name}}", responses=errors(404), summary="Ask how far a clip is")
async def ask(request: Request, context: Wisp, name: Name) -> ClipState:
    """Say how far a clip is: frames done, the seconds left, or why it failed."""
    return _state(_job(context, name), request)


@router.get(
    f"{CLIPS}/{{name}}/file",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": {media: PICTURE for media in MEDIA.values()}},
        **errors(404),
    },
    summary="Fetch a finished clip",
)
async def fetch(context: Wisp, name: Name) -> Response:
    """Return what became of a clip; parts of it by the Range header."""
    job = _job(context, name)
    if job.state != "done":
        raise NotFound("the clip is not done: ask how far it is")
    return FileResponse(
        job.file,
        media_type=MEDIA[job.wish.format],
        filename=job.file.name,
        content_disposition_type="inline",
        headers={"Cache-Control": "private, max-age=3600"},
    )


@router.delete(
    f"{CLIPS}/{{name}}", status_code=204, responses=errors(404), summary="Stop or delete a clip"
)
async def drop(context: Wisp, name: Name) -> Response:
    """End the work on a clip, and delete what came of it."""
    await context.clips.drop(_job(context, name))
    return Response(status_code=204)


def _job(context: Context, name: str) -> ClipJob:
    job = context.clips.get(name)
    if job is None or (job.state == "done" and not job.there):
        raise NotFound("there is no such clip, or no more")
    return job


def _state(job: ClipJob, request: Request) -> ClipState:
    problem = job.problem
    url = f"{request.scope.get('root_path', '')}{CLIPS}/{job.name}"
    return ClipState(
        status=job.state,
        job_url=url,
        result_url=f"{url}/file" if job.state == "done" else None,
        frames=job.frames,
        of=job.of,
        seconds_left=None if job.left is None or not job.active else round(job.left, 1),
        notes=list(job.notes),
        detail=problem.message if problem else None,
        code=problem.code if problem else None,
    )


def _wish(form: Form) -> Wish:
    """Understand the form. Raises :class:`ServiceError` for what cannot be."""
    fields = Fields(form.texts, {})
    names = [one.field for one in form.written]
    check_names((*form.texts, *names), _PROPERTIES)
    if "file" not in names or not set(names) <= set(_FILES):
        raise BadRequest("send the clip as file", code="missing_source")
    return Wish(
        format=fields.choice("format", Wish.format, MEDIA),
        background=fields.text("background", Wish.background),
        fit=fields.choice("fit", Wish.fit, FITS),
        linear=fields.flag("linear", Wish.linear),
        only_mask=fields.flag("only_mask", Wish.only_mask),
        model=fields.text("model"),
        refine=fields.flag("enable_gan", Wish.refine),
        steady=fields.flag("steady", Wish.steady),
    )
