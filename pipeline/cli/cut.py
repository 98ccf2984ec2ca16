"""``wisp cut``: cut the subject out of photos."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from pipeline import batch, files, models
from pipeline.batch import Job, Outcome, State
from pipeline.cli import terminal
from pipeline.cli.options import (
    chosen_settings,
    format_option,
    network_options,
    output_options,
    parsed,
    reading_options,
)
from pipeline.cli.selecting import selected, selection_options
from pipeline.cutout import Cutout
from pipeline.errors import UnsupportedFormat
from pipeline.output import FORMATS, Output, format_of
from pipeline.settings import Settings


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
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
      curl … | wisp cut - > cutout.png        a pipe
    """
    terminal.hush_libraries()
    for address in (name for name in inputs if re.match(r"https?://", name)):
        raise click.UsageError(
            f"{address} is an address, not a file: curl -L ADDRESS | wisp cut - > cutout.png"
        )
    avoid = [folder for folder in (out and Path(out), save_stages) if folder]
    found = batch.find(inputs, avoid)
    if not found:
        terminal.say(quiet, f"no pictures in {', '.join(inputs)}")
        return
    output = parsed(ctx, _format(inputs, found, out, format_))
    wanted = selected(ctx)
    planned = wanted.planned(batch.plan(inputs, found, out, output.ending))
    if planned[0].target == batch.STREAM and terminal.on_terminal(sys.stdout):
        raise click.UsageError("a picture is nothing for a terminal: redirect it, or give -o FILE")
    settings = chosen_settings(ctx, Settings())
    digests = {  # where a model's name is wrong, this says so
        mask: batch.settings_digest(settings, output, wanted.selection, mask)
        for mask in {job.mask for job in planned}
    }
    states = {
        job: State.MISSING if overwrite else batch.state(job, digests[job.mask]) for job in planned
    }
    todo = [job for job in planned if states[job] is State.MISSING]
    if todo and settings.model in models.PUBLIC:
        models.coarse_model(settings.model, quiet)  # fetched here, where nothing else shows a bar
    journal = _report(report, planned, settings)
    for folder in {job.target.parent for job in planned}:
        files.remove_leftovers(folder)

    outcomes: list[Outcome] = []
    interrupted = False

    def work(job: Job) -> Outcome:
        asked = replace(wanted.selection, mask=job.mask)
        take = partial(cutout.cut, wanted=asked)
        return batch.process(job, take, output, save_stages, digests[job.mask], wanted.each)

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if journal:
            journal.add(outcome)

    for job, state in states.items():
        if state is not State.MISSING:
            note(Outcome(job, "skipped", notes=_NOTES[state]))
    try:
        with (
            terminal.interruptible(),
            terminal.progress(len(planned), len(outcomes), quiet) as tell,
        ):
            if todo:
                cutout = Cutout(settings)
                for outcome in batch.run(todo, work, jobs):
                    note(outcome)
                    tell(outcome)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        ended = interrupted or len(outcomes) < len(planned)
        if journal:
            journal.close(interrupted=ended)
    terminal.conclude(outcomes, len(planned), interrupted, quiet)
    if interrupted:
        ctx.exit(130)
    ctx.exit(1 if any(outcome.status == "failed" for outcome in outcomes) else 0)


_NOTES = {
    State.FINISHED: (),
    State.UNKNOWN: ("nothing in the file tells how it was made",),
}


def _report(path: Path | None, jobs: Sequence[Job], settings: Settings) -> batch.Report | None:
    """Begin the report, before any work: one that cannot be written ends the run here."""
    if path is None:
        return None
    if any(
        os.path.realpath(path) == os.path.realpath(p) for j in jobs for p in (j.source, j.target)
    ):
        raise click.UsageError(f"the report would overwrite the picture {path}")
    from pipeline.doctor import versions

    named = ("model", "views", "refine", "refiner")
    facts = {name: getattr(settings, name) for name in named}
    return batch.Report(path, len(jobs), {"versions": versions(), "settings": facts})


def _format(inputs: Sequence[str], found: Sequence[Job], out: str | None, asked: str | None) -> str:
    """Choose the output format: as asked, or by the name of the one output file."""
    named = out is not None and out != str(batch.STREAM) and batch.names_file(inputs, found, out)
    if not named or not out or not Path(out).suffix:
        return asked or Output.format
    if asked in (None, "auto"):
        try:
            return format_of(out)
        except UnsupportedFormat as error:
            raise click.UsageError(str(error)) from error
    if Path(out).suffix.lower() not in FORMATS[asked]:
        raise click.UsageError(f"--format {asked} contradicts the name {out}")
    return asked
