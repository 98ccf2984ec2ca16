"""The options that describe an output, shared by all commands that write one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pipeline import output
from pipeline.background import FITS
from pipeline.errors import ImageError, SettingsError
from pipeline.id_photo import ID_PHOTOS
from pipeline.output import Output

Function = TypeVar("Function", bound=Callable[..., Any])
_KEY = "pipeline.output"  # where click's context keeps the values


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep a value with its command; one left out stays the default of :class:`Output`."""
    if value is not None:
        ctx.meta.setdefault(_KEY, {})[param.name] = value


def _option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    return click.option(*names, callback=_keep, expose_value=False, default=None, **settings)


#: One for each field of :class:`Output`, but for the format, which a file's name can tell.
OPTIONS = (
    _option(
        "--background",
        metavar="COLOUR|FILE|…",
        help="Put behind the subject: white, #1e90ff, a picture, blur, gradient:white,#c8d0d8.",
    ),
    _option("--fit", type=click.Choice(FITS), help="How a picture is laid; default: fill."),
    _option("--shadow", metavar="0-1", type=float, help="Where products stand."),
    _option("--linear", is_flag=True, help="Blend with the background in linear light."),
    _option(
        "--id-photo",
        metavar="KIND",
        help=f"Size, colour and place of the head: {', '.join(ID_PHOTOS)}.",
    ),
    _option("--crop", is_flag=True, help="Cut the picture down to the subject."),
    _option("--margin", metavar="5%|20px", help="Room to leave when cropping; up to four values."),
    _option("--scale", metavar="80%", help="Size of the subject, of the largest that fits."),
    _option("--position", metavar="X% Y%", help="Where the subject goes in the free room."),
    _option("--only-mask", is_flag=True, help="Write the alpha as a grey picture."),
    _option("--binary", is_flag=True, help="A mask of fully in and fully out, smoothed."),
    _option("--opaque", is_flag=True, help="No half-transparency inside the subject."),
    _option("--quality", metavar="1-100", type=int, help="Of webp (100 is lossless) and jpg."),
)


def output_options(function: Function) -> Function:
    """Give a command the options; :func:`parsed` reads them."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def parsed(ctx: click.Context, format: str) -> Output:
    """The output that a command was asked for.

    Raises :class:`SettingsError` for what cannot be, also for a background that is no picture.
    """
    values = dict(ctx.meta.get(_KEY, {}))
    if "margin" in values and not values.get("crop"):
        raise click.UsageError("--margin is for --crop")
    for name in ("scale", "position"):
        if name in values:
            values[name] = getattr(output, name)(values[name])
    try:
        return Output(format=format, **values)
    except ImageError as error:  # the background's
        raise SettingsError(str(error)) from error
