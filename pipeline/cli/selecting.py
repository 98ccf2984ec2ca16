"""The options that say what is to be cut, shared by all commands that cut: see `Selection`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline import image_io
from pipeline.batch import STREAM, Job
from pipeline.cli.options import with_options
from pipeline.errors import SettingsError, quoted
from pipeline.selection import HOLES, KEEP, Selection

Function = TypeVar("Function", bound=Callable[..., Any])
_KEY = "pipeline.selection"  # where click's context keeps the values
EACH = "each"


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value not in (None, ()):
        ctx.meta.setdefault(_KEY, {})[param.name] = value


def _numbers(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Read x,y or x0,y0,x1,y1, once or several times."""
    several = isinstance(value, tuple)
    try:
        numbers = [
            tuple(float(part) for part in text.split(","))
            for text in (value if several else [value] if value is not None else [])
        ]
    except ValueError as error:
        raise click.BadParameter(f"{param.metavar}, in numbers, not {quoted(value)}") from error
    if numbers:
        _keep(ctx, param, tuple(numbers) if several else numbers[0])


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        match = re.fullmatch(r"(\d+(?:\.\d*)?)%", value)
        if not match:
            raise click.BadParameter(f"a share of the photo, such as 0.5%, not {quoted(value)}")
        _keep(ctx, param, float(match[1]) / 100)


def _option(*names: str, callback: Callable[..., None] = _keep, **settings: Any) -> Any:
    return click.option(*names, callback=callback, expose_value=False, **settings)


HINTS = (
    _option(
        "--box",
        metavar="X0,Y0,X1,Y1",
        callback=_numbers,
        help="Nothing outside stays. All up to 1: shares of the photo; else whole pixels.",
    ),
    _option(
        "--point",
        "points",
        metavar="X,Y",
        multiple=True,
        callback=_numbers,
        help="Keep the thing there; may be repeated. Shares or pixels, as above.",
    ),
    _option(
        "--not-point",
        "not_points",
        metavar="X,Y",
        multiple=True,
        callback=_numbers,
        help="Drop the thing there; may be repeated.",
    ),
)
OPTIONS = (
    _option(
        "--mask",
        metavar="FILE|FOLDER",
        type=click.Path(exists=True, path_type=Path),
        help="A mask of your own in place of stage 1; a folder: by the photos' names.",
    ),
    *HINTS,
    _option(
        "--keep",
        type=click.Choice([*KEEP, EACH]),
        help="All pieces, the largest, or each in a file of its own: photo-1.png, …",
    ),
    _option("--holes", type=click.Choice(HOLES), help="Fill holes in the subject; default: keep."),
    _option(
        "--smallest-hole",
        metavar="0.5%",
        callback=_share,
        help="Fill holes smaller than this share of the photo.",
    ),
)


def selection_options(function: Function) -> Function:
    """Give a command the options; :func:`selected` reads them."""
    return with_options(OPTIONS, function)


def hint_options(function: Function) -> Function:
    """Give a command those of a box and points alone; :func:`selected` reads them too."""
    return with_options(HINTS, function)


@dataclass(frozen=True)
class Wanted:
    """What a command was asked to cut: a selection, the masks' place, and a file for each piece."""

    selection: Selection
    masks: Path | None
    each: bool

    def planned(self, jobs: Sequence[Job]) -> list[Job]:
        """Give every job its mask and, for pieces, the name of the first one's file."""
        if self.each and any(job.target == STREAM for job in jobs):
            raise click.UsageError("--keep each writes several files: give -o FOLDER")
        if self.masks and not os.path.isdir(self.masks) and len(jobs) > 1:
            raise click.UsageError(
                "--mask is one file, and there are several photos: give a folder"
            )
        return [self._planned(job) for job in jobs]

    def _planned(self, job: Job) -> Job:
        if self.each:
            job = replace(job, target=job.target.with_stem(f"{job.target.stem}-1"))
        if self.masks is None:
            return job
        if not os.path.isdir(self.masks):
            return replace(job, mask=self.masks)
        folder = self.masks / job.name.parent
        stem = job.source.stem
        masks = sorted(
            path
            for path in (folder.iterdir() if os.path.isdir(folder) else ())
            if path.stem == stem and image_io.PICTURE.fullmatch(path.name)
        )
        if not masks:
            return replace(job, problem=job.problem or f"there is no mask {folder / stem}.png")
        return replace(job, mask=masks[0])


def selected(ctx: click.Context) -> Wanted:
    """Return what the command was asked to cut. Raises :class:`SettingsError`."""
    values = dict(ctx.meta.get(_KEY, {}))
    masks, each = values.pop("mask", None), values.get("keep") == EACH
    if each:
        values["keep"] = "all"
    if masks and {"box", "points", "not_points"} & set(values):
        raise SettingsError("a mask says all: leave --box and --point out, or --mask")
    return Wanted(Selection(**values), masks, each)
