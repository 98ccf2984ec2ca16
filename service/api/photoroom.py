"""PhotoRoom's face: ``/v1/segment``, and of ``/v2/edit`` what a cutout has.

Written from its published OpenAPI document; it has not been compared with the live service. What
its other models draw (backgrounds from a prompt, light, texts, …) is refused by its name. Nothing
is charged.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from pipeline import Output, layout, output, sizes
from service.api.common import PICTURE, Wisp, as_base64, cut, fetched, headers, prefers_json
from service.api.fields import Fields, from_query, invalid, naming, read
from service.context import Context
from service.errors import BadRequest, NoForeground
from service.job import Answer, Job

router = APIRouter(tags=["PhotoRoom"])

#: The most pixels of an answer, by the name of its size; None: as many as the picture has.
SIZES: dict[str, int | None] = {
    "preview": 250_000,
    "medium": 1_500_000,
    "hd": 4_000_000,
    "full": None,
}
#: How dark the one shadow that there is is drawn; "ai.auto-with-overrides" says so itself.
_SHADOWS = {
    "ai.soft": 0.5,
    "ai.preset-soft": 0.5,
    "ai.floating": 0.5,
    "ai.hard": 0.9,
    "ai.preset-hard": 0.9,
    "ai.auto-with-overrides": 0.7,
}
_HORIZONTAL = {"left": 0.0, "center": 0.5, "right": 1.0}
_VERTICAL = {"top": 0.0, "center": 0.5, "bottom": 1.0}
_OUTPUTS = ("auto", "originalImage", "croppedSubject")
_SIDES = ("Top", "Right", "Bottom", "Left")
_FREE_CALLS = 1_000_000  # what an account shows: clients ask before they call

_TEXT: dict[str, Any] = {"type": "string"}
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_FLAG: dict[str, Any] = {"type": "string", "enum": ["true", "false"], "default": "false"}
SEGMENT: dict[str, Any] = {
    "image_file": _FILE,
    "format": {"type": "string", "enum": ["png", "jpg", "webp"], "default": "png"},
    "channels": {"type": "string", "enum": ["rgba", "alpha"], "default": "rgba"},
    "bg_color": _TEXT,
    "size": {"type": "string", "enum": list(SIZES), "default": "full"},
    "crop": _FLAG,
    "despill": {**_FLAG, "description": "Taken, no effect: colours are always cleaned"},
}
EDIT: dict[str, Any] = {
    "imageFile": _FILE,
    "imageUrl": _TEXT,
    "removeBackground": {"type": "string", "enum": ["true"], "default": "true"},
    "background.color": {**_TEXT, "default": "transparent"},
    "background.imageUrl": _TEXT,
    "background.imageFile": _FILE,
    "background.scaling": {"type": "string", "enum": ["fill", "fit"], "default": "fill"},
    "outputSize": {
        **_TEXT,
        "default": "auto",
        "description": f"{', '.join(_OUTPUTS)}, or width and height: 1000x1000",
    },
    "padding": {**_TEXT, "default": "0", "description": "0.1, 10% or 20px"},
    **{f"padding{side}": _TEXT for side in _SIDES},
    "margin": {**_TEXT, "default": "0", "description": "Added to padding"},
    **{f"margin{side}": _TEXT for side in _SIDES},
    "horizontalAlignment": {"type": "string", "enum": list(_HORIZONTAL)},
    "verticalAlignment": {"type": "string", "enum": list(_VERTICAL)},
    "shadow.mode": {"type": "string", "enum": list(_SHADOWS)},
    "shadow.intensityOverride": {"type": "number", "minimum": 0, "maximum": 1},
    "export.format": {"type": "string", "enum": ["png", "jpeg", "jpg", "webp"], "default": "png"},
}
_PARAMETERS = [
    {"name": name, "in": "query", "schema": kind}
    for name, kind in EDIT.items()
    if kind is not _FILE
]


def _responses(error: dict[str, Any], *media: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "object", "required": list(error), "properties": error}
    content: dict[str, Any] = {kind: PICTURE if "image" in kind else {} for kind in media}
    done = {"description": "The file", "content": content}
    failed = {"description": "Error", "content": {"application/json": {"schema": schema}}}
    statuses = (400, 401, 403, 408, 413, 429, 500, 503, 504)
    return {200: done, **dict.fromkeys(statuses, failed)}


_V1 = _responses(
    {"detail": _TEXT, "status_code": {"type": "integer"}, "type": _TEXT},
    *("image/png", "image/jpeg", "image/webp", "application/json"),
)
_V2 = _responses({"error": {"type": "object"}}, "image/png", "image/jpeg", "image/webp")


def _body(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


@router.post(
    "/v1/segment",
    summary="Remove the background",
    response_class=Response,
    responses=_V1,
    openapi_extra=_body(SEGMENT),
)
async def segment(request: Request, context: Wisp) -> Response:
    """Remove the background of a picture, as PhotoRoom does."""
    fields = await read(request, context, SEGMENT, raw="image_file")
    alpha = fields.choice("channels", "rgba", ("rgba", "alpha")) == "alpha"
    with naming("bg_color"):
        behind = output.colour(fields.text("bg_color"))
    if alpha and behind is not None:
        raise invalid("channels", "alpha goes with no background")
    shown = Output(
        format=fields.choice("format", "png", ("png", "jpg", "webp")),
        background=behind,
        crop=fields.flag("crop", False),
        only_mask=alpha,
    )
    fields.flag("despill", False)
    pixels = SIZES[fields.choice("size", "full", SIZES)]
    image = fields.files.get("image_file")
    if image is None:
        raise BadRequest("Please provide an image.", code="missing_image")
    job = Job(image, context.engine.resolve(""), output=shown, pixels=pixels)
    return await _answer(request, context, job)


@router.get(
    "/v2/edit",
    summary="Edit an image behind a URL",
    response_class=Response,
    responses=_V2,
    openapi_extra={"parameters": _PARAMETERS},
)
async def edit_url(request: Request, context: Wisp) -> Response:
    """Cut out the picture behind a URL, as PhotoRoom does."""
    return await _edit(from_query(request, EDIT), request, context)


@router.post(
    "/v2/edit",
    summary="Edit an image",
    response_class=Response,
    responses=_V2,
    openapi_extra=_body(EDIT),
)
async def edit(request: Request, context: Wisp) -> Response:
    """Cut out a picture, as PhotoRoom does."""
    return await _edit(await read(request, context, EDIT, raw="imageFile"), request, context)


async def _edit(fields: Fields, request: Request, context: Context) -> Response:
    shown = await _edited(fields, request, context)
    image = fields.files.get("imageFile")
    if (image is None) == (not fields.text("imageUrl")):
        raise BadRequest("give one of imageFile and imageUrl", code="missing_image")
    if image is None:
        image = await fetched(fields.text("imageUrl"), request, context)
    return await _answer(request, context, Job(image, context.engine.resolve(""), output=shown))


async def _edited(fields: Fields, request: Request, context: Context) -> Output:
    """Translate the parameters of an edit."""
    if not fields.flag("removeBackground", True):
        raise invalid("removeBackground", "the background is what is removed here: leave it out")
    named = fields.present(("background.color", "background.imageUrl", "background.imageFile"))
    if len(named) > 1:
        raise invalid(named[1], f"give it or {named[0]}")
    behind: Any = fields.files.get("background.imageFile")
    if fields.text("background.imageUrl"):
        behind = await fetched(fields.text("background.imageUrl"), request, context)
    with naming("background.color"):
        behind = behind or output.colour(fields.text("background.color"))
    size = _size(fields)
    crop = fields.text("outputSize") == "croppedSubject"
    place = _place(fields)
    if place and crop:
        raise invalid("outputSize", "in a cropped picture there is no room to align the subject in")
    kind = fields.choice("export.format", "png", EDIT["export.format"]["enum"])
    return Output(
        format=kind.replace("jpeg", "jpg"),
        background=behind,
        fit=fields.choice("background.scaling", "fill", ("fill", "fit")),
        shadow=_shadow(fields),
        size=size,
        crop=crop,
        margin=_margin(fields, crop or size is not None),
        position=place,
    )


def _size(fields: Fields) -> str | None:
    spec = fields.text("outputSize", "auto")
    if spec in _OUTPUTS:
        return None
    if not re.fullmatch(r"[0-9]+x[0-9]+", spec):
        raise invalid("outputSize", f"use {', '.join(_OUTPUTS)}, or a size such as 1000x1000")
    with naming("outputSize"):
        sizes.preset(spec)
    return spec


def _place(fields: Fields) -> tuple[float, float] | None:
    if not fields.present(("horizontalAlignment", "verticalAlignment")):
        return None
    x = fields.choice("horizontalAlignment", "center", _HORIZONTAL)
    y = fields.choice("verticalAlignment", "center", _VERTICAL)
    return _HORIZONTAL[x], _VERTICAL[y]


def _shadow(fields: Fields) -> float:
    mode = fields.choice("shadow.mode", "", ("", *_SHADOWS))
    intensity = fields.number("shadow.intensityOverride", _SHADOWS.get(mode, 0.0), most=1)
    return intensity if mode else 0.0


def _margin(fields: Fields, room: bool) -> str:
    """Add up paddings and margins, as :func:`pipeline.layout.margins` understands them.

    ``room`` is whether the picture has a place for them.
    """
    sides = []
    for side in _SIDES:
        pair = [_side(fields, kind, side, room) for kind in ("padding", "margin")]
        amounts = [float(text.rstrip("px%")) for text in pair]
        units = {text.endswith("%") for text, amount in zip(pair, amounts, strict=True) if amount}
        if len(units) == 2:
            raise invalid("margin", "with padding, give both as shares or both in pixels")
        sides.append(f"{sum(amounts):g}{'%' if True in units else 'px'}")
    return " ".join(sides)


def _side(fields: Fields, kind: str, side: str, room: bool) -> str:
    """Return the padding or the margin of one side."""
    name = f"{kind}{side}" if fields.text(f"{kind}{side}") else kind
    text = fields.text(name, "0").strip()
    if len(text.split()) != 1:
        raise invalid(name, "use one value such as 0.1, 10% or 20px")
    if re.fullmatch(r"0?\.\d+|0", text):  # a share, of less than half
        text = f"{float(text) * 100:g}%"
    with naming(name):
        layout.margins(text, 0, 0)
    if not room and any(layout.margins(text, 100, 100)):
        raise invalid(name, "it goes with outputSize=croppedSubject, or a size such as 1000x1000")
    return text


@router.get("/v1/account", summary="Credits", responses={**_V1, 200: {"description": "Credits"}})
async def account_v1(context: Wisp) -> dict[str, Any]:
    """Return an account in PhotoRoom's form: nothing is charged here."""
    return {"credits": {"available": _FREE_CALLS, "subscription": _FREE_CALLS}}


@router.get("/v2/account", summary="Images", responses={**_V2, 200: {"description": "Images"}})
async def account_v2(context: Wisp) -> dict[str, Any]:
    """Return an account in PhotoRoom's form: nothing is charged here."""
    return {"images": {"available": _FREE_CALLS, "subscription": _FREE_CALLS}, "plan": "wisp"}


async def _answer(request: Request, context: Context, job: Job) -> Response:
    answer: Answer = await cut(request, context, job)
    if answer.empty:
        raise NoForeground("no subject was found in the picture")
    facts = {"x-uncertainty-score": f"{1 - answer.confidence:.3f}", **headers(answer)}
    if prefers_json(request) and request.url.path.startswith("/v1/"):
        return JSONResponse({"base64img": as_base64(request, answer)}, headers=facts)
    return Response(answer.data, media_type=answer.media, headers=facts)
