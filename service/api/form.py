"""The fields of our own face's forms, one for each of an output and of a selection."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from fastapi import File, Form, Request, UploadFile
from fastapi.dependencies.models import Dependant

from pipeline import Output, layout, output
from pipeline.id_photo import ID_PHOTOS
from pipeline.selection import HOLES, KEEP, Selection
from pipeline.sizes import SHOPS
from service.api.common import Wisp, uploaded
from service.api.fields import check_names, check_query
from service.edits import MOST_POINTS, few
from service.errors import BadRequest


class Format(str, Enum):
    png = "png"
    webp = "webp"
    jpg = "jpg"
    tiff = "tiff"
    zip = "zip"
    auto = "auto"


async def only_known(request: Request) -> None:
    """Refuse what the route's form does not have: FastAPI would pass over it."""
    known = _names(request.scope["route"].dependant)
    check_query(request, known)
    form = await request.form()  # which FastAPI has read
    check_names((name for name, _ in form.multi_items()), known)


def _names(dependant: Dependant) -> set[str]:
    """Return the names of all fields that a route, or what it depends on, takes."""
    names = {field.alias for field in dependant.body_params}
    return names.union(*map(_names, dependant.dependencies))


async def parse_output(
    context: Wisp,
    background: Annotated[
        str,
        Form(
            description="transparent, blur, a colour (a CSS name, 1e90ff, 1e90ff80), or "
            "gradient:white,#c8d0d8"
        ),
    ] = "transparent",
    background_file: Annotated[
        UploadFile | None, File(description="A picture to put behind the subject")
    ] = None,
    fit: Annotated[str, Form(description="How a picture is laid: fill, fit, tile")] = "fill",
    shadow: Annotated[float, Form(ge=0, le=1, description="Where products stand")] = 0.0,
    linear: Annotated[bool, Form(description="Blend in linear light")] = False,
    size: Annotated[
        str, Form(description=f"Lay the subject out: {', '.join(SHOPS)}, or 1600x1200 pixels")
    ] = "",
    id_photo: Annotated[str, Form(description=f"{', '.join(ID_PHOTOS)}")] = "",
    crop: Annotated[bool, Form(description="Cut down to the subject")] = False,
    margin: Annotated[str, Form(description="Room around it: 5%, 20px, or up to four")] = "0px",
    scale: Annotated[str, Form(description="Size of the subject: 80% of what fits")] = "",
    position: Annotated[str, Form(description="Where it goes: center, or 20% 100%")] = "",
    format: Annotated[Format, Form(description="zip holds color.jpg and alpha.png")] = Format.png,
    quality: Annotated[int | None, Form(ge=1, le=100, description="For webp and jpg")] = None,
    only_mask: Annotated[bool, Form(description="The alpha, as a grey picture")] = False,
    binary: Annotated[bool, Form(description="A mask of fully in and fully out")] = False,
    opaque: Annotated[bool, Form(description="No half-transparency inside the subject")] = False,
) -> Output:
    behind: Any = output.paint(background)
    if background_file is not None:
        if behind is not None:
            raise BadRequest("background and background_file: give one of the two")
        behind = await uploaded(background_file, context)
    if any(layout.margins(margin, 100, 100)) and not (crop or size):
        raise BadRequest("margin is for crop and for size")
    return Output(
        format=format.value,
        quality=quality,
        background=behind,
        fit=fit,
        shadow=shadow,
        linear=linear,
        size=size or None,
        id_photo=id_photo or None,
        crop=crop,
        margin=margin,
        scale=output.scale(scale),
        position=output.position(position),
        only_mask=only_mask,
        binary=binary,
        opaque=opaque,
    )


async def parse_selection(
    box: Annotated[
        str,
        Form(
            description="x0,y0,x1,y1: nothing outside stays; all up to 1 are shares of width and "
            "height, else all are whole pixels"
        ),
    ] = "",
    points: Annotated[
        str,
        Form(
            description=f"x,y of up to {MOST_POINTS} things to keep, separated by blanks; all lie "
            "inside the box"
        ),
    ] = "",
    not_points: Annotated[str, Form(description="x,y of things to drop, likewise")] = "",
    keep: Annotated[str, Form(description=f"Pieces to keep: {', '.join(KEEP)}")] = KEEP[0],
    holes: Annotated[str, Form(description=f"Holes in the subject: {', '.join(HOLES)}")] = HOLES[0],
    smallest_hole: Annotated[
        float, Form(ge=0, le=1, description="Share of the photo below which a hole is filled")
    ] = 0.0,
) -> Selection:
    return Selection(
        box=_numbers(box) if box else None,  # type: ignore[arg-type]
        points=_points(points),
        not_points=_points(not_points),
        keep=keep,
        holes=holes,
        smallest_hole=smallest_hole,
    )


def _points(text: str) -> Any:
    return tuple(map(_numbers, few(text.split())))


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))  # which the selection itself makes numbers of, or refuses
