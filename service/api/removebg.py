"""remove.bg's face, version 1.0: its clients work with only the host changed.

Written from its public documentation and its official clients (remove-bg/ruby, remove-bg/go).
Nothing is charged: every call costs 0 credits. How it differs is in ``docs/moving.md``.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from pipeline import Output, layout, output
from service.api.common import PICTURE, Wisp, as_base64, cut, fetched, headers, prefers_json
from service.api.fields import Fields, from_base64, invalid, naming, read
from service.context import Context
from service.errors import BadRequest, FetchFailed, NoForeground
from service.job import Answer, Job

router = APIRouter(prefix="/v1.0", tags=["remove.bg"])

#: The most pixels of an answer, by the name of its size; None: as many as the picture has.
SIZES: dict[str, int | None] = {
    "preview": 250_000,
    "small": 250_000,
    "regular": 250_000,
    "medium": 1_500_000,
    "hd": 4_000_000,
    "full": None,
    "4k": None,
    "50MP": None,
    "auto": None,
}
_TYPES: tuple[str, ...] = ("auto", "person", "product", "animal", "car", "car_interior", "car_part")
_TYPES += ("transportation", "graphic", "graphics", "other")
_LEVELS = ("none", "1", "2", "latest")
#: Each draws the one shadow that there is: where the subject touches the ground.
_SHADOWS = ("none", "auto", "car", "3D", "drop")
_SOURCES = ("image_file", "image_file_b64", "image_url")
_BACKGROUNDS = ("bg_color", "bg_image_url", "bg_image_file")
_FREE_CALLS = 1_000_000  # what an account shows: clients ask before they call

_TEXT: dict[str, Any] = {"type": "string"}
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_PROPERTIES: dict[str, Any] = {
    "image_file": _FILE,
    "image_file_b64": _TEXT,
    "image_url": _TEXT,
    "size": {"type": "string", "enum": list(SIZES), "default": "preview"},
    "type": {"type": "string", "enum": list(_TYPES), "default": "auto"},
    "type_level": {"type": "string", "enum": list(_LEVELS), "default": "1"},
    "format": {"type": "string", "enum": ["auto", "png", "jpg", "webp", "zip"], "default": "auto"},
    "roi": {**_TEXT, "description": "x1 y1 x2 y2, each in px or %"},
    "crop": {"type": "boolean", "default": False},
    "crop_margin": {**_TEXT, "description": "One, two or four values in px or %"},
    "scale": {**_TEXT, "description": "10%..100%, or original"},
    "position": {**_TEXT, "description": "original, center, or one or two values in %"},
    "channels": {"type": "string", "enum": ["rgba", "alpha"], "default": "rgba"},
    "add_shadow": {"type": "boolean", "default": False},
    "shadow_type": {"type": "string", "enum": list(_SHADOWS), "default": "none"},
    "shadow_opacity": {"type": "number", "minimum": 0, "maximum": 100, "default": 100},
    "shadow_method": {**_TEXT, "description": "Taken, no effect"},
    "semitransparency": {"type": "boolean", "default": True},
    "bg_color": {**_TEXT, "description": "Hex digits, with opacity or without, or a name"},
    "bg_image_url": _TEXT,
    "bg_image_file": _FILE,
}
_PLAIN = {name: kind for name, kind in _PROPERTIES.items() if kind is not _FILE}
_ERROR = {
    "type": "object",
    "required": ["errors"],
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["title"],
                "properties": {"title": _TEXT, "code": _TEXT, "detail": _TEXT},
            },
        }
    },
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": "Error", "content": {"application/json": {"schema": _ERROR}}}
    for status in (400, 403, 408, 413, 429, 500, 503, 504)
}


@router.post(
    "/removebg",
    summary="Remove the background",
    response_class=Response,
    responses={
        200: {
            "description": "The file, or JSON by the Accept header",
            "content": {"application/json": {}, "application/zip": PICTURE}
            | {f"image/{kind}": PICTURE for kind in ("png", "jpeg", "webp")},
        },
        **_ERRORS,
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"type": "object", "properties": _PROPERTIES}},
                "application/x-www-form-urlencoded": {
                    "schema": {"type": "object", "properties": _PLAIN}
                },
                "application/json": {"schema": {"type": "object", "properties": _PLAIN}},
                "application/octet-stream": {"schema": _FILE},
            },
        }
    },
)
async def removebg(request: Request, context: Wisp) -> Response:
    """Remove the background of a picture, as remove.bg does.

    The picture may also be the whole body (`Content-Type: image/jpeg`, say); the parameters are in
    the query then.
    """
    fields = await read(request, context, _PROPERTIES, raw="image_file")
    kind = fields.choice("type", "auto", _TYPES)
    level = fields.choice("type_level", "1", _LEVELS)
    pixels = SIZES[fields.choice("size", "preview", SIZES)]
    shown = await _output(fields, request, context)
    job = Job(
        await _source(fields, request, context),
        context.engine.resolve(""),
        output=shown,
        pixels=pixels,
        region=fields.text("roi"),
    )
    answer = await cut(request, context, job)
    if answer.empty:
        raise NoForeground("Could not identify foreground in image.")
    # What the subject is, is not looked at: what the client says it is, or nothing certain.
    named = {} if level == "none" else {"X-Type": "other" if kind == "auto" else kind}
    return _answer(request, answer, named)


@router.get("/account", summary="Credits", responses={**_ERRORS})
async def account(context: Wisp) -> dict[str, Any]:
    """Return an account in remove.bg's form: nothing is charged here."""
    return {
        "data": {
            "attributes": {
                "credits": {"total": 0, "subscription": 0, "payg": 0, "enterprise": 0},
                "api": {"free_calls": _FREE_CALLS, "sizes": "all"},
            }
        }
    }


async def _source(fields: Fields, request: Request, context: Context) -> bytes:
    sources = fields.present(_SOURCES)
    if len(sources) != 1:
        which = "Multiple image sources given" if sources else "No image given"
        raise BadRequest(
            f"{which}: please provide the source image in one of {', '.join(_SOURCES)}.",
            code="multiple_sources" if sources else "missing_source",
        )
    (name,) = sources
    if name in fields.files:
        return fields.files[name]
    text = fields.texts.pop(name)  # which may be large, and is not needed again
    if name == "image_url":
        return await fetched(text, request, context)
    if name == "image_file":
        raise BadRequest("image_file must be a file", code="invalid_file")
    return from_base64(text, name, context)


async def _output(fields: Fields, request: Request, context: Context) -> Output:
    """Translate the parameters. Raises :class:`ServiceError` for what cannot be."""
    alpha = fields.choice("channels", "rgba", ("rgba", "alpha")) == "alpha"
    behind = await _background(fields, request, context)
    shadow = _shadow(fields)
    if alpha and (behind is not None or shadow):
        raise invalid("channels", "alpha goes with no background and no shadow")
    crop = fields.flag("crop", False)
    margin = fields.text("crop_margin", "0px")
    with naming("crop_margin"):
        layout.margins(margin, 0, 0)
    if len(margin.split()) == 3:
        raise invalid("crop_margin", "use one, two or four values")
    with naming("scale"):
        scale = Output(scale=output.scale(fields.text("scale"))).scale
    with naming("position"):
        position = output.position(fields.text("position"))
    if scale is not None and position is None:
        position = (0.5, 0.5)  # as documented, unless said otherwise
    return Output(
        format=fields.choice("format", "auto", ("auto", "png", "jpg", "webp", "zip")),
        background=behind,
        shadow=shadow,
        crop=crop,
        margin=margin,
        only_mask=alpha,
        opaque=not fields.flag("semitransparency", True),
        # Cropped to the subject there is no room to move it in.
        scale=None if crop else scale,
        position=None if crop else position,
    )


def _shadow(fields: Fields) -> float:
    wanted = fields.flag("add_shadow", False)
    kind = fields.choice("shadow_type", "auto" if wanted else "none", _SHADOWS)
    opacity = fields.number("shadow_opacity", 100, most=100)
    return opacity / 100 if kind != "none" else 0.0


async def _background(fields: Fields, request: Request, context: Context) -> Any:
    named = fields.present(_BACKGROUNDS)
    if len(named) > 1:
        raise BadRequest(
            f"Multiple background sources given: give only one of {', '.join(_BACKGROUNDS)}",
            code="multiple_bg_sources",
        )
    if not named:
        return None
    (name,) = named
    if name in fields.files:
        return fields.files[name]
    if name == "bg_image_file":
        raise BadRequest("bg_image_file must be a file", code="invalid_file")
    if name == "bg_color":
        with naming("bg_color"):
            return output.colour(fields.texts[name])
    try:
        return await fetched(fields.texts[name], request, context)
    except (FetchFailed, BadRequest) as error:
        wrong = error.code == "invalid_image_url"
        code = "invalid_bg_image_url" if wrong else "failed_bg_download"
        raise BadRequest(f"bg_image_url: {error}", code=code) from error


def _answer(request: Request, answer: Answer, named: dict[str, str]) -> Response:
    left, top, width, height = answer.box
    facts = {
        "X-Width": str(answer.width),
        "X-Height": str(answer.height),
        "X-Credits-Charged": "0",
        "X-Foreground-Top": str(top),
        "X-Foreground-Left": str(left),
        "X-Foreground-Width": str(width),
        "X-Foreground-Height": str(height),
        **named,
        **headers(answer),
    }
    if prefers_json(request):
        data = {
            "result_b64": as_base64(request, answer),
            "foreground_top": top,
            "foreground_left": left,
            "foreground_width": width,
            "foreground_height": height,
        }
        return JSONResponse({"data": data}, headers=facts)
    return Response(answer.data, media_type=answer.media, headers=facts)
