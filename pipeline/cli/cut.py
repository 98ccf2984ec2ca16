"""``wisp cut``: cut the subject out of photos."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pipeline import batch
from pipeline.batch import Job
from pipeline.cli import terminal
from pipeline.cli.options import (
    chosen_settings,
    format_option,
    network_options,
    output_options,
    parsed,
    reading_options,
    refuse_empty,
)
from pipeline.cli.run import CLIPBOARD, Task, across_clipboard, on_and_on, once
from pipeline.cli.selecting import selected, selection_options
from pipeline.errors import UnsupportedFormat
from pipeline.output import DEFAULT_FORMAT, FORMATS, format_of
from pipeline.settings import Settings


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.option("-o", "--out", metavar="OUT", help="File, folder, or - for standard output.")
@network_options
@format_option("Default: by the name of OUT, else png.")
@selection_options
@output_options
@click.option("--save-stages", metavar="DIR", type=Path, help="Also write coarse, ROI, alpha, …")
@reading_options
@click.option("--jobs", metavar="N", type=click.IntRange(1), default=1, help="Photos at a time.")
@click.option("--overwrite", is_flag=True, help="Redo what is finished.")
@click.option("--report", metavar="FILE", type=Path, help="Write what was done, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Write a line of JSON for each photo.")
@click.option("--watch", is_flag=True, help="Go on with what comes into the folders.")
@click.option("--paste", is_flag=True, help="Take the picture that is on the clipboard.")
@click.option("--copy", "copies", is_flag=True, help="Put the result onto the clipboard.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def cut(
    ctx: click.Context,
    inputs: tuple[str, ...],
    out: str | None,
    format_: str | None,
    save_stages: Path | None,
    jobs: int,
    overwrite: bool,
    report: Path | None,
    as_json: bool,
    watch: bool,
    paste: bool,
    copies: bool,
    quiet: bool,
) -> None:
    """Cut the subject out of photos.

    INPUT is a photo, a folder (searched below), a pattern, or - for standard input. Without -o
    the cutout of a.jpg is a-cutout.png beside it; a folder needs -o, and is mirrored there.

    Photos that are finished (the cutout is there, made of this very photo and with the same
    settings) are skipped, so the same command goes on where it was stopped. A photo that cannot be
    cut out is reported, and the rest go on.

    \b
      wisp cut photo.jpg                      photo-cutout.png
      wisp cut photos/ -o cutouts/            a folder
      wisp cut a.jpg -o a.webp --crop         as WebP, no larger than the subject
      wisp cut a.jpg -o b.jpg --background white
      wisp cut a.jpg --box 0.1,0.2,0.6,0.9     nothing outside of it
      wisp cut a.jpg --mask a-mask.png        another tool's mask, with a better edge
      wisp cut inbox/ -o cutouts/ --watch     what is there, and what comes
      wisp cut --paste --copy                 from the clipboard, and back to it
      curl … | wisp cut - > cutout.png        a pipe
    """
    terminal.hush_libraries()
    for address in (name for name in inputs if re.match(r"https?://", name)):
        raise click.UsageError(
            f"{address} is an address, not a file: curl -L ADDRESS | wisp cut - > cutout.png"
        )
    refuse_empty(*inputs, out)
    if bool(inputs) == paste:
        raise click.UsageError("Missing argument 'INPUT...': give photos, or --paste, not both")
    avoid = [folder for folder in (out and Path(out), save_stages) if folder]
    photos = [Job(CLIPBOARD)] if paste else batch.find(inputs, avoid)
    if not photos and not watch:
        terminal.say(quiet, f"no pictures in {', '.join(inputs)}")
    output = parsed(ctx, _format(inputs, photos, out, format_))
    wanted, settings = selected(ctx), chosen_settings(ctx, Settings())
    task = Task(settings, output, wanted, save_stages, jobs, overwrite, as_json, quiet)
    if not photos and not watch:
        ctx.exit(once(task, [], report))

    def planned(photos: Sequence[Job]) -> list[Job]:
        return wanted.planned(batch.plan(inputs, photos, out, output.ending))

    if paste or copies:
        if len(photos) > 1 or watch or report or not (copies or out) or os.path.isdir(out or ""):
            raise click.UsageError("the clipboard is for one picture: -o FILE, or --copy, or both")
        ctx.exit(across_clipboard(task, photos[0], out, copies))
    if watch:
        _check_watched(inputs, out, report)
        ctx.exit(on_and_on(task, inputs, lambda: planned(batch.find(inputs, avoid))))
    todo = planned(photos)
    if sys.stdin is None and any(job.source == batch.STREAM for job in todo):
        raise click.UsageError("standard input is closed: give a file")
    if todo[0].target == batch.STREAM:
        if as_json:
            raise click.UsageError("standard output takes the picture or the JSON: give -o FILE")
        if terminal.on_terminal(sys.stdout):
            raise click.UsageError(
                "a picture is nothing for a terminal: redirect it, or give -o FILE"
            )
        if sys.stdout is None:
            raise click.UsageError("standard output is closed: give -o FILE")
    alone = len(todo) == 1 and not any(os.path.isdir(name) for name in (*inputs, out or ""))
    ctx.exit(once(task, todo, report, alone))


def _check_watched(inputs: Sequence[str], out: str | None, report: Path | None) -> None:
    for name in inputs:
        if not os.path.isdir(name):
            raise click.UsageError(f"--watch is for folders, and {name} is none")
    if out is None or out == str(batch.STREAM) or os.path.isfile(out):
        raise click.UsageError("--watch needs a folder for the cutouts: -o FOLDER")
    if report:
        raise click.UsageError("--report is for a run that ends: with --watch take --json")


def _format(inputs: Sequence[str], jobs: Sequence[Job], out: str | None, asked: str | None) -> str:
    """Choose the output format: as asked, or by the name of the one output file."""
    named = out is not None and out != str(batch.STREAM) and batch.names_file(inputs, jobs, out)
    if not named or not out or not Path(out).suffix:
        return asked or DEFAULT_FORMAT
    if asked in (None, "auto"):
        try:
            return format_of(out)
        except UnsupportedFormat as error:
            raise click.UsageError(str(error)) from error
    if Path(out).suffix.lower() not in FORMATS[asked]:
        raise click.UsageError(f"--format {asked} contradicts the name {out}")
    return asked
