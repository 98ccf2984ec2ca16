"""remove.bg's face, version 1.0: its clients work with only the host changed.

Written from its public documentation and its official clients (remove-bg/ruby, remove-bg/go).
What is not offered (artificial shadows) is refused in its error format; what only helps its own
networks (``type``, ``type_level``) is taken. Nothing is charged: every call costs 0 credits.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from pipeline import Output, output
from pipeline.errors import SettingsError
from service.api.common import PICTURE, Wisp, cut, fetched, headers, held
from service.body_limit import check_size
from service.context import Context
from service.errors import BadRequest, NoForeground, ServiceError, Unsupported
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
_TYPES += ("transportation", "graphics", "other")
_LEVELS = ("none", "1", "2", "latest")
_SOURCES = ("image_file", "image_file_b64", "image_url")
_FIELDS = {
    *_SOURCES,
    *("size", "type", "type_level", "format", "roi", "crop", "crop_margin", "scale", "position"),
    *("channels", "add_shadow", "shadow_type", "shadow_opacity", "semitransparency"),
    *("bg_color", "bg_image_url", "bg_image_file"),
}
_SPACES = dict.fromkeys(map(ord, " \t\r\n"))
_FREE_CALLS = 1_000_000  # what an account shows: clients ask before they call

_TEXT: dict[str, Any] = {"type": "string"}
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_PROPERTIES: dict[str, Any] = {
    "image_file": _FILE,
    "image_file_b64": _TEXT,
    "image_url": _TEXT,
    "size": {"type": "string", "enum": list(SIZES), "default": "preview"},
    "type": {"type": "string", "enum": list(_TYPES), "default": "auto"},
    "type_level": {"type": "string", "enum": list(_LEVELS), "default": "none"},
    "format": {"type": "string", "enum": ["auto", "png", "jpg", "webp", "zip"], "default": "auto"},
    "roi": {**_TEXT, "description": "x1 y1 x2 y2, each in px or %"},
    "crop": {"type": "boolean", "default": False},
    "crop_margin": {**_TEXT, "description": "One, two or four values in px or %"},
    "scale": {**_TEXT, "description": "10%..100%, or original"},
    "position": {**_TEXT, "description": "original, center, or one or two values in %"},
    "channels": {"type": "string", "enum": ["rgba", "alpha"], "default": "rgba"},
    "add_shadow": {"type": "boolean", "description": "Not offered"},
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


@dataclass(frozen=True)
class Asked:
    """A request's fields as text, and its files."""

    fields: dict[str, str]
    files: dict[str, bytes]

    def choice(self, name: str, default: str, among: tuple[str, ...]) -> str:
        value = self.fields.get(name) or default
        if value not in among:
            raise BadRequest(f"Invalid {name} parameter given: use {', '.join(among)}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.fields.get(name, "").lower()
        if value in ("true", "1", "yes", "on"):
            return True
        if value in ("false", "0", "no", "off", "none"):
            return False
        if value:
            raise BadRequest(f"Invalid {name} parameter given: use true or false")
        return default


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
            },
        }
    },
)
async def removebg(request: Request, context: Wisp) -> Response:
    """Remove the background of a picture, as remove.bg does."""
    asked = await _read(request, context)
    shown = await _output(asked, request, context)
    image = await _source(asked, request, context)
    pixels = SIZES[asked.choice("size", "preview", tuple(SIZES))]
    region = asked.fields.get("roi") or ""
    job = Job(image, context.engine.resolve(""), output=shown, pixels=pixels, region=region)
    answer = await cut(request, context, job)
    if answer.empty:
        raise NoForeground("Could not identify foreground in image.")
    return _answer(request, answer)


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


async def _read(request: Request, context: Context) -> Asked:
    """Read a form, or JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body: Any
    files: dict[str, bytes] = {}
    if kind == "application/json":
        try:
            body = json.loads(await request.body() or b"{}")
        except (ValueError, RecursionError) as error:
            raise BadRequest("The body is not valid JSON", code="invalid_json") from error
        if not isinstance(body, dict):
            raise BadRequest("The body must be a JSON object", code="invalid_json")
        fields = {str(k): _text(v) for k, v in body.items() if v is not None}
    else:
        async with request.form(
            max_files=4, max_fields=64, max_part_size=int(context.settings.max_bytes * 1.4) + 1024
        ) as form:
            fields = {k: v for k, v in form.multi_items() if isinstance(v, str)}
            held(request).grow(sum(map(len, fields.values())))  # beside the body itself
            files = await _files(form, context)
    unknown = set(fields) | set(files)
    unknown -= _FIELDS
    if unknown:
        # A misspelled wish that is passed over looks like a wrong answer.
        raise Unsupported(f"Unknown parameter {sorted(unknown)[0][:40]!r}")
    return Asked(fields, files)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


async def _files(form: FormData, context: Context) -> dict[str, bytes]:
    files = {}
    for name, upload in form.multi_items():
        if isinstance(upload, UploadFile):
            data = await upload.read(context.settings.max_bytes + 1)
            await upload.close()
            if data or upload.filename:
                files[name] = check_size(data, context.settings)
    return files


async def _source(asked: Asked, request: Request, context: Context) -> bytes:
    sources = [name for name in _SOURCES if asked.fields.get(name) or asked.files.get(name)]
    if not sources:
        raise BadRequest(
            "No image given: please provide the source image in the image_url, image_file or "
            "image_file_b64 parameter.",
            code="missing_source",
        )
    if len(sources) > 1:
        raise BadRequest(
            "Multiple image sources given: please provide either the image_url, image_file or "
            "image_file_b64 parameter.",
            code="multiple_sources",
        )
    (name,) = sources
    if name in asked.files:
        return asked.files[name]
    text = asked.fields.pop(name)  # which may be large, and is not needed again
    if name == "image_url":
        return await fetched(text, request, context)
    if name == "image_file":
        raise BadRequest("image_file must be a file", code="invalid_file")
    try:
        # As data URLs too, which browsers' clients send.
        plain = text.partition("base64,")[2] if text.startswith("data:") else text
        data = base64.b64decode(plain.translate(_SPACES), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("image_file_b64 is not base64", code="invalid_file") from error
    return check_size(data, context.settings)


async def _output(asked: Asked, request: Request, context: Context) -> Output:
    """Translate the parameters. Raises :class:`ServiceError` for what cannot be."""
    asked.choice("type", "auto", _TYPES)
    asked.choice("type_level", "none", _LEVELS)
    if asked.flag("add_shadow", False) or asked.fields.get("shadow_type", "none") not in (
        "none",
        "",
    ):
        raise Unsupported("Artificial shadows are not offered by this server")
    alpha = asked.choice("channels", "rgba", ("rgba", "alpha")) == "alpha"
    behind = await _background(asked, request, context)
    if alpha and behind is not None:
        raise BadRequest("channels=alpha goes with no background")
    crop = asked.flag("crop", False)
    margin = asked.fields.get("crop_margin") or "0px"
    if len(margin.split()) == 3:
        raise BadRequest("crop_margin takes one, two or four values")
    try:
        scale = output.scale(asked.fields.get("scale") or "")
        position = output.position(asked.fields.get("position") or "")
        if scale is not None and position is None:
            position = (0.5, 0.5)  # as documented, unless said otherwise
        return Output(
            format=asked.choice("format", "auto", ("auto", "png", "jpg", "webp", "zip")),
            background=behind,
            crop=crop,
            margin=margin,
            only_mask=alpha,
            opaque=not asked.flag("semitransparency", True),
            # Cropped to the subject there is no room to move it in.
            scale=None if crop else scale,
            position=None if crop else position,
        )
    except SettingsError as error:
        raise BadRequest(str(error)) from error


async def _background(asked: Asked, request: Request, context: Context) -> Any:
    named = ("bg_color", "bg_image_url", "bg_image_file")
    present = [name for name in named if asked.fields.get(name) or asked.files.get(name)]
    if len(present) > 1:
        raise BadRequest(f"Give only one of {', '.join(named)}")
    if not present:
        return None
    (name,) = present
    if name in asked.files:
        return asked.files[name]
    if name == "bg_image_file":
        raise BadRequest("bg_image_file must be a file", code="invalid_file")
    if name == "bg_image_url":
        return await fetched(asked.fields[name], request, context)
    try:
        return output.colour(asked.fields[name])
    except SettingsError as error:
        raise BadRequest(str(error)) from error


def _answer(request: Request, answer: Answer) -> Response:
    left, top, width, height = answer.box
    facts = {
        "X-Type": "other",  # what the subject is, is not looked at
        "X-Width": str(answer.width),
        "X-Height": str(answer.height),
        "X-Credits-Charged": "0",
        "X-Foreground-Top": str(top),
        "X-Foreground-Left": str(left),
        "X-Foreground-Width": str(width),
        "X-Foreground-Height": str(height),
        **headers(answer),
    }
    accept = request.headers.get("accept", "").partition(",")[0].partition(";")[0].strip()
    if accept == "application/json":
        held(request).grow(2 * len(answer.data))  # as base64, and within the JSON
        data = {
            "result_b64": base64.b64encode(answer.data).decode(),
            "foreground_top": top,
            "foreground_left": left,
            "foreground_width": width,
            "foreground_height": height,
        }
        return JSONResponse({"data": data}, headers=facts)
    return Response(answer.data, media_type=answer.media, headers=facts)


__all__ = ["ServiceError", "router"]
