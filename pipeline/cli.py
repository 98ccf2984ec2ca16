"""The command ``wisp``.

Standard output carries a picture or a document that was asked for; everything said goes to
standard error. Exit code: 0; 1 when a photo failed; 2 for wrong usage; 130 after Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import click

from pipeline import batch, compose, image_io, models
from pipeline.background import FITS, ID_PHOTOS
from pipeline.batch import Job, Outcome
from pipeline.cutout import Cutout
from pipeline.errors import ImageError, ModelMissing, ProviderMissing, SettingsError, WispError
from pipeline.models.providers import DEVICES, providers
from pipeline.settings import Settings

_PLUGINS = "wisp.commands"  # entry-point group for subcommands that other packages add

#: Commands of our own that `wisp cut` need not load: where they are, and their line of help.
_LAZY = {
    "models": ("pipeline.commands_models:models", "List models, fetch them, take in your own."),
    "explain": ("pipeline.commands_explain:explain", "Show what happens inside the networks."),
}


class _WrongUsage(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Commands of our own, and those of other packages, which are loaded only when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY, *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if cmd_name in _LAZY:
            module, _, name = _LAZY[cmd_name][0].partition(":")
            return getattr(import_module(module), name)
        if own or cmd_name not in (plugins := _plugins()):
            return own
        try:
            command = plugins[cmd_name].load()
        except Exception as error:  # it is another's code
            raise click.ClickException(
                f"the command {cmd_name!r} ({plugins[cmd_name].value}) cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(command, click.Command):
            raise click.ClickException(
                f"the command {cmd_name!r} ({plugins[cmd_name].value}) is no click command"
            )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Not click's own, which would load every plugin for its line of help.
        own = {name: command.get_short_help_str(60) for name, command in self.commands.items()}
        own |= {name: line for name, (_, line) in _LAZY.items()}
        rows = sorted(own.items())
        rows += [
            (name, f"from {plugin.value.partition(':')[0]}")
            for name, plugin in sorted(_plugins().items())
            if name not in own
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WispError as error:
            wrong = isinstance(error, (SettingsError, ModelMissing, ProviderMissing))
            raise (_WrongUsage if wrong else click.ClickException)(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(130)


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points  # 50 ms that `wisp cut` need not pay

    return {plugin.name: plugin for plugin in entry_points(group=_PLUGINS)}


def version() -> str:
    """Return the version of the installed package; "unknown" where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("wisp")
    except PackageNotFoundError:
        return "unknown"


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"wisp {version()}")
        ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Remove the background of photos, and keep every wisp of hair."""


@main.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("-o", "--out", metavar="OUT", help="File, folder, or - for standard output.")
@click.option("--no-refine", is_flag=True, help="Stage 1 alone: faster, without fine edges.")
@click.option(
    "--model", metavar="NAME|FILE", default=Settings.model, help="Stage 1; see `wisp models`."
)
@click.option("--refiner", metavar="NAME|FILE", default=Settings.refiner, help="Stage 2.")
@click.option("--only-mask", is_flag=True, help="Write the alpha as a grey picture.")
@click.option(
    "--device", type=click.Choice(list(DEVICES)), default="cpu", help="What computes; default: cpu."
)
@click.option(
    "--background",
    metavar="COLOUR|FILE|…",
    help="Put behind the subject: white, #1e90ff, a picture, blur, gradient:white,#c8d0d8.",
)
@click.option("--fit", type=click.Choice(FITS), default="fill", help="How a picture is laid.")
@click.option("--shadow", metavar="0-1", type=float, default=0.0, help="Where products stand.")
@click.option("--linear", is_flag=True, help="Blend with the background in linear light.")
@click.option(
    "--id-photo",
    metavar="KIND",
    help=f"Size, colour and place of the head: {', '.join(ID_PHOTOS)}.",
)
@click.option("--crop", is_flag=True, help="Cut the picture down to the subject.")
@click.option("--margin", metavar="5%|20px", help="Room to leave when cropping.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(image_io.FORMATS)),
    help="Default: by the name of OUT, else png.",
)
@click.option("--quality", metavar="1-100", type=int, help="Of webp (100 is lossless) and jpg.")
@click.option("--save-stages", metavar="DIR", type=Path, help="Also write coarse, ROI, alpha, …")
@click.option(
    "--max-pixels",
    metavar="N",
    type=int,
    default=Settings.max_pixels,
    show_default=True,
    help="Refuse larger photos.",
)
@click.option("--jobs", metavar="N", type=click.IntRange(1), default=1, help="Photos at a time.")
@click.option("--overwrite", is_flag=True, help="Redo what is finished.")
@click.option("--report", metavar="FILE", type=Path, help="Write what was done, as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def cut(
    ctx: click.Context,
    inputs: tuple[str, ...],
    out: str | None,
    no_refine: bool,
    model: str,
    refiner: str,
    only_mask: bool,
    device: str,
    background: str | None,
    fit: str,
    shadow: float,
    linear: bool,
    id_photo: str | None,
    crop: bool,
    margin: str | None,
    format_: str | None,
    quality: int | None,
    save_stages: Path | None,
    max_pixels: int,
    jobs: int,
    overwrite: bool,
    report: Path | None,
    quiet: bool,
) -> None:
    """Cut the subject out of photos.

    INPUT is a photo, a folder (searched below), a pattern, or - for standard input. Without -o
    the cutout of a.jpg is a-cutout.png beside it; a folder needs -o, and is mirrored there.

    Photos that are finished (the cutout is there, and not older) are skipped, so the same command
    goes on where it was stopped. A photo that cannot be cut out is reported, and the rest go on.

    \b
      wisp cut photo.jpg                      photo-cutout.png
      wisp cut photos/ -o cutouts/            a folder
      wisp cut a.jpg -o a.webp --crop         as WebP, no larger than the subject
      wisp cut a.jpg -o b.jpg --background white
      curl … | wisp cut - > cutout.png        a pipe
    """
    _hush_libraries()
    if margin is not None and not crop:
        raise click.UsageError("--margin is for --crop")
    avoid = [folder for folder in (out and Path(out), save_stages) if folder]
    found = batch.find(inputs, avoid)
    if not found:
        _say(quiet, f"no pictures in {', '.join(inputs)}")
        return
    try:
        output = compose.Output(
            format=_format(inputs, found, out, format_),
            quality=quality,
            background=background,
            crop=crop,
            margin=compose.Output.margin if margin is None else margin,
            only_mask=only_mask,
            fit=fit,
            shadow=shadow,
            linear=linear,
            id_photo=id_photo,
        )
    except ImageError as error:  # the background's, or the name of the output
        raise SettingsError(str(error)) from error
    planned = batch.plan(inputs, found, out, image_io.FORMATS[output.format][0])
    if planned[0].target == batch.STREAM and _on_terminal(sys.stdout):
        raise click.UsageError("a picture is nothing for a terminal: redirect it, or give -o FILE")
    settings = Settings(
        model=model,
        refine=not no_refine,
        refiner=refiner,
        providers=providers(device),
        max_pixels=max_pixels,
    )
    done_before = [] if overwrite else [job for job in planned if batch.finished(job)]
    skipped = set(done_before)
    todo = [job for job in planned if job not in skipped]
    if todo and model in models.PUBLIC:
        models.coarse_model(model, quiet)  # fetched here, where nothing else shows a bar

    start = time.perf_counter()
    outcomes = [Outcome(job, "skipped") for job in done_before]
    interrupted = False
    try:
        with _interruptible(), _progress(len(planned), len(outcomes), quiet) as tell:
            if todo:
                cutout = Cutout(settings)

                def work(job: Job) -> Outcome:
                    return batch.process(job, cutout, output, save_stages)

                for outcome in batch.run(todo, work, jobs):
                    outcomes.append(outcome)
                    tell(outcome)
    except KeyboardInterrupt:
        interrupted = True
    _conclude(outcomes, len(planned), interrupted, quiet)
    if report:
        data = _report(outcomes, len(planned), interrupted, time.perf_counter() - start, settings)
        image_io.write(report, json.dumps(data, indent=2).encode() + b"\n")
    if interrupted:
        ctx.exit(130)
    ctx.exit(1 if any(outcome.status == "failed" for outcome in outcomes) else 0)


def _hush_libraries() -> None:
    """Keep libraries off standard error: what is wrong with a photo is ours to say, once."""
    import logging
    import warnings

    import cv2

    # OpenCV 5 has moved it.
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)  # silent
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def _format(inputs: Sequence[str], found: Sequence[Job], out: str | None, asked: str | None) -> str:
    """Choose the output format: as asked, or by the name of the one output file."""
    named = out is not None and out != str(batch.STREAM) and batch.names_file(inputs, found, out)
    if not named or not out or not Path(out).suffix:
        return asked or compose.Output.format
    if asked is None:
        return image_io.format_of(out)
    if Path(out).suffix.lower() not in image_io.FORMATS[asked]:
        raise click.UsageError(f"--format {asked} contradicts the name {out}")
    return asked


def _on_terminal(stream: TextIO) -> bool:
    return stream.isatty()


def _say(quiet: bool, line: str) -> None:
    if not quiet:
        click.echo(_printable(line), err=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: signals are another's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(total: int, finished: int, quiet: bool) -> Iterator[Any]:
    """Yield what is to be called with each outcome: it shows a bar, or prints a line, or nothing.

    Errors are always said.
    """
    bar = None
    if total > 1 and not quiet and _on_terminal(sys.stderr):
        from tqdm import tqdm  # here: one photo needs no bar, and should not wait for it

        bar = tqdm(total=total, initial=finished, unit="photo", dynamic_ncols=True, smoothing=0.1)
    count = finished

    def tell(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        line = _line(outcome, f"[{count}/{total}] " if total > 1 and not bar else "")
        if bar is not None:
            if outcome.status == "failed":
                bar.write(line, file=sys.stderr)
            bar.update()
        elif not quiet or outcome.status == "failed":
            click.echo(line, err=True)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


def _line(outcome: Outcome, prefix: str) -> str:
    job = outcome.job
    source = "standard input" if job.source == batch.STREAM else str(job.source)
    target = "standard output" if job.target == batch.STREAM else str(job.target)
    if outcome.status == "failed":
        return _printable(f"{prefix}{source}: {outcome.error}")
    notes = "".join(f"; {note}" for note in outcome.notes)
    return _printable(f"{prefix}{source} → {target}  {outcome.seconds:.2f} s{notes}")


def _printable(line: str) -> str:
    """Keep a file's name from breaking the line, or from commanding the terminal."""
    return "".join(char if char.isprintable() else "�" for char in line)


def _conclude(outcomes: Sequence[Outcome], total: int, interrupted: bool, quiet: bool) -> None:
    count = _counts(outcomes)
    if interrupted:
        click.echo(
            f"interrupted: {count['done']} done, {total - len(outcomes)} left; "
            "the same command goes on from here",
            err=True,
        )
    elif total > 1:
        _say(quiet, ", ".join(f"{number} {status}" for status, number in count.items()))
    elif count["skipped"]:
        target = outcomes[0].job.target
        _say(quiet, f"{target} is finished already: --overwrite does it again")


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("done", "skipped", "failed")
    }


def _report(
    outcomes: Sequence[Outcome],
    total: int,
    interrupted: bool,
    seconds: float,
    settings: Settings,
) -> dict[str, Any]:
    from pipeline.doctor import versions

    return {
        "versions": versions(),
        "settings": {
            "model": settings.model,
            "refine": settings.refine,
            "refiner": settings.refiner,
        },
        "interrupted": interrupted,
        "totals": {
            **_counts(outcomes),
            "left": total - len(outcomes),
            "seconds": round(seconds, 3),
        },
        "files": [
            {
                "input": os.fsdecode(outcome.job.source),
                "output": os.fsdecode(outcome.job.target),
                "status": outcome.status,
                "seconds": round(outcome.seconds, 4),
                "timings": {stage: round(t, 4) for stage, t in outcome.timings.items()},
                "size": outcome.size,
                "notes": outcome.notes,
                "error": outcome.error or None,
            }
            for outcome in outcomes
        ],
    }


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Write the findings as JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the installation: versions, models, and a cutout.

    The exit code is 1 when something is wrong.
    """
    from pipeline import doctor as checks

    findings = checks.examine()
    click.echo(json.dumps(findings, indent=2) if as_json else checks.describe(findings))
    ctx.exit(0 if findings["well"] else 1)
