"""The options that several commands share: how photos are cut out, and what is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import click

from pipeline import output
from pipeline.background import FITS
from pipeline.errors import ImageError, SettingsError
from pipeline.id_photo import ID_PHOTOS
from pipeline.models.providers import DEVICES, providers
from pipeline.output import FORMATS, Output
from pipeline.settings import Settings
from pipeline.sizes import SHOPS

Function = TypeVar("Function", bound=Callable[..., Any])
_OUTPUT, _SETTINGS = "pipeline.output", "pipeline.settings"  # where click's context keeps values
_ALIASES = {"jpeg": "jpg", "tif": "tiff"}


def _option(*names: str, of: str = _OUTPUT, **settings: Any) -> Callable[[Function], Function]:
    """An option whose value is kept with its command; one left out stays the default."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.meta.setdefault(of, {})[param.name] = value

    return click.option(*names, callback=keep, expose_value=False, default=None, **settings)


_setting = partial(_option, of=_SETTINGS)

#: What computes.
NETWORKS = (
    _setting("--no-refine", is_flag=True, help="Stage 1 alone: faster, without fine edges."),
    _setting("--model", metavar="NAME|FILE", help="Stage 1; see `wisp models`."),
    _setting(
        "--views",
        type=click.IntRange(1, 2),
        help="Looks of stage 1; 1 is faster, and less sure. Default: 2, and 1 for clips.",
    ),
    _setting("--refiner", metavar="NAME|FILE", help="Stage 2."),
    _setting(
        "--detail",
        metavar="PX",
        type=click.IntRange(min=128),
        help="A larger subject is reduced for stage 2, to a longer side of so many px or more; "
        f"more takes longer, and keeps the thinnest hair. Default: {Settings.detail}.",
    ),
    _setting(
        "--device",
        type=click.Choice(list(DEVICES)),
        help="What computes; default: cpu.",
    ),
)

#: What is refused.
READING = (
    _setting(
        "--max-pixels",
        metavar="N",
        type=int,
        help=f"Refuse larger photos; default: {Settings.max_pixels}.",
    ),
    _setting(
        "--decode-seconds",
        metavar="S",
        type=float,
        help=f"Refuse photos that take longer to decode; default: {Settings.decode_seconds:g}.",
    ),
)

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
        "--size",
        metavar="NAME|1600x1200",
        help=f"Lay the subject out for a shop ({', '.join(SHOPS)}), or on so many pixels.",
    ),
    _option(
        "--id-photo",
        metavar="KIND",
        help=f"Size, colour and place of the head: {', '.join(ID_PHOTOS)}.",
    ),
    _option("--crop", is_flag=True, help="Cut the picture down to the subject."),
    _option("--margin", metavar="5%|20px", help="Room to leave with --crop or --size; up to four."),
    _option("--scale", metavar="80%", help="Size of the subject, of the largest that fits."),
    _option("--position", metavar="X% Y%", help="Where the subject goes in the free room."),
    _option("--only-mask", is_flag=True, help="Write the alpha as a grey picture."),
    _option("--binary", is_flag=True, help="A mask of fully in and fully out, smoothed."),
    _option("--opaque", is_flag=True, help="No half-transparency inside the subject."),
    _option("--quality", metavar="1-100", type=int, help="Of webp (100 is lossless) and jpg."),
)


def refuse_empty(*names: str | None) -> None:
    """Refuse an empty name of a file or folder: it would stand for the working folder."""
    if "" in names:
        raise click.UsageError("a name is empty: is a variable of the shell not set?")


def with_options(options: Iterable[Callable[[Function], Function]], function: Function) -> Function:
    """Give a command several options, in this order."""
    for option in reversed(tuple(options)):
        function = option(function)
    return function


def output_options(function: Function) -> Function:
    """Give a command the options; :func:`parsed` reads them."""
    return with_options(OPTIONS, function)


def network_options(function: Function) -> Function:
    """Give a command the options of the networks; :func:`chosen_settings` reads them."""
    return with_options(NETWORKS, function)


def reading_options(function: Function) -> Function:
    """Give a command the limits for photos; :func:`chosen_settings` reads them."""
    return with_options(READING, function)


def format_option(help: str) -> Callable[[Function], Function]:
    """Give a command ``format_``: one of :data:`FORMATS`, "auto", or None where it is left out."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice([*FORMATS, "auto", *_ALIASES], case_sensitive=False),
        callback=lambda ctx, param, value: _ALIASES.get(value, value),
        help=help,
    )


def chosen_settings(ctx: click.Context, usual: Settings) -> Settings:
    """The settings that a command was asked for; what was not is as ``usual``.

    Raises :class:`SettingsError` for what cannot be.
    """
    values = dict(ctx.meta.get(_SETTINGS, {}))
    if "device" in values:
        values["providers"] = providers(values.pop("device"))
    if values.pop("no_refine", False):
        values["refine"] = False
    return replace(usual, **values)


def parsed(ctx: click.Context, format: str) -> Output:
    """The output that a command was asked for.

    Raises :class:`SettingsError` for what cannot be, also for a background that is no picture.
    """
    values = dict(ctx.meta.get(_OUTPUT, {}))
    if "margin" in values and not (values.get("crop") or values.get("size")):
        raise click.UsageError("--margin is for --crop and for --size")
    for name in ("scale", "position"):
        if name in values:
            values[name] = getattr(output, name)(values[name])
    try:
        return Output(format=format, **values)
    except ImageError as error:  # the background's
        raise SettingsError(str(error)) from error
