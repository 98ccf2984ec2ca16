"""``wisp video``: clips as a command."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from pipeline import Output
from pipeline.cli.options import chosen_settings, network_options, refuse_empty
from pipeline.cli.selecting import hint_options, selected
from pipeline.cli.terminal import hush_libraries, on_terminal, say
from pipeline.errors import ImageError, SettingsError, UnsupportedFormat, WispError, quoted

_EVERY = 10.0  # seconds between the lines of progress in a pipe


@click.command()
@click.argument("clip", metavar="CLIP")
@click.option("-o", "--out", metavar="OUT", required=True, help="Clip, sequence, or - for raw.")
@click.option(
    "--background",
    metavar="COLOUR|FILE|…",
    help="Put behind the subject: green, #fff, a picture, another clip, blur.",
)
@click.option("--fit", default="fill", metavar="fill|fit|tile", help="How a picture is laid.")
@click.option("--linear", is_flag=True, help="Blend with the background in linear light.")
@click.option("--only-mask", is_flag=True, help="Write the alpha as a grey clip.")
@hint_options
@network_options
@click.option("--no-steady", is_flag=True, help="Each frame by itself, as if it were a photo.")
@click.option("--fps", metavar="N", help="Frames a second, of pictures and raw frames. [25]")
@click.option(
    "--raw", nargs=2, metavar="FORMAT SIZE", help="CLIP - is raw frames: --raw rgb24 1920x1080."
)
@click.option("--resume", is_flag=True, help="Go on where a run was stopped.")
@click.option("--overwrite", is_flag=True, help="Write over what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def video(
    ctx: click.Context,
    clip: str,
    out: str,
    background: str | None,
    fit: str,
    linear: bool,
    only_mask: bool,
    no_steady: bool,
    fps: str | None,
    raw: tuple[str, str] | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Cut the subject out of a clip.

    CLIP is a video, a folder of pictures, a sequence such as frames/%05d.png, or - for raw frames
    (--raw). The name of OUT chooses how it is written: .mov is ProRes 4444, .webm VP9 and .mkv
    FFV1, all with alpha; .webp, .apng and .gif are short loops; .mp4 needs a --background. Sound
    and subtitles are taken over as they are. A box or points say what to cut in the first frame;
    from then on it is followed.

    Ctrl-C leaves a clip of what is done; with --resume the same command goes on from there.

    \b
      wisp video clip.mp4 -o clip.mov
      wisp video clip.mp4 -o frames/%05d.png
      wisp video clip.mp4 -o clip.mp4 --background green
      wisp video clip.mp4 -o clip.mov --box 0.1,0.2,0.6,0.9
      … | wisp video - --raw rgb24 1920x1080 -o - | …
    """
    from wisp.video.cutout import SETTINGS, Cutout, CutoutVideo
    from wisp.video.parts import parts_folder
    from wisp.video.run import cut_clip
    from wisp.video.sources import is_sequence

    hush_libraries()
    settings, wanted = chosen_settings(ctx, SETTINGS), selected(ctx).selection
    refuse_empty(clip, out)
    if resume and wanted.hinted and is_sequence(Path(out)):
        raise click.UsageError("where a box or points say what to cut, pictures are made in one go")
    choices = {
        "background": background, "fit": fit, "linear": linear, "only_mask": only_mask,
        "model": settings.model, "views": settings.views,
        "refiner": settings.refiner, "refine": settings.refine, "steady": not no_steady,
        "wanted": wanted.key if wanted.hinted else "",
    }  # fmt: skip
    try:
        source, sink, behind = _open(clip, out, raw, fps, resume, overwrite, choices)
    except UnsupportedFormat as error:  # the name of OUT is at fault
        raise SettingsError(str(error)) from error
    cutout = CutoutVideo(Cutout(settings), steady=not no_steady, wanted=wanted)
    for note in source.notes:
        say(quiet, f"{clip}: {note}")
    with _stoppable() as stop, _progress(sink.written, source.count, quiet) as tell:
        try:
            report = cut_clip(source, sink, cutout, behind, tell, stop)
        except WispError:
            if parts_folder(Path(out)).exists():
                click.echo("what is done is kept: the same command with --resume goes on", err=True)
            raise
    _conclude(report, clip, out, quiet)
    ctx.exit(0 if report.whole else 130)


def _open(
    clip: str,
    out: str,
    raw: tuple[str, str] | None,
    fps: str | None,
    resume: bool,
    overwrite: bool,
    choices: dict[str, Any],
) -> tuple[Any, Any, Any]:
    """Open what is read and what is written; both are checked before a network is loaded."""
    from wisp.video.behind import Behind, clip_behind
    from wisp.video.coding import coding_for
    from wisp.video.parts import parts_folder
    from wisp.video.sinks import Pipe, sink_for
    from wisp.video.sources import RAW, Raw, is_sequence, open_source, raw_size, sequence

    rate = None if fps is None else _rate(fps)
    if (clip == "-") != (raw is not None):
        raise click.UsageError("raw frames come from standard input: - with --raw rgb24 1920x1080")
    if raw is not None:
        if raw[0] not in RAW:
            raise click.UsageError(f"raw frames are one of {', '.join(RAW)}, not {quoted(raw[0])}")
        source: Any = Raw(sys.stdin.buffer, raw[0], raw_size(raw[1]), rate or Fraction(25))
    else:
        source = open_source(clip, rate)
    moving = clip_behind(choices["background"])
    try:
        output = Output(
            background=None if moving else choices["background"],
            fit=choices["fit"],
            linear=choices["linear"] and moving is None,
            only_mask=choices["only_mask"],
        )
    except ImageError as error:
        raise SettingsError(str(error)) from error
    behind = Behind(output, source.size, moving, linear=choices["linear"])
    if out == "-":
        if on_terminal(sys.stdout):
            raise click.UsageError("frames are nothing for a terminal: pipe them on")
        return source, Pipe(sys.stdout.buffer), behind
    target = Path(out)
    pictures = is_sequence(target)
    there = sequence(target) if pictures else [target] if target.exists() else []
    read = getattr(source, "pictures", (Path(clip),))
    if {path.resolve() for path in there} & {path.resolve() for path in read}:
        raise click.UsageError(f"{out} is the clip itself: give another name")
    if there and not overwrite:
        stopped = pictures or parts_folder(target).exists()
        loop = not pictures and coding_for(target, behind.alpha).loop
        if resume and not stopped and not loop:  # a script may say --resume every time
            context = click.get_current_context()
            say(context.params["quiet"], f"{out} is finished: --overwrite does it again")
            context.exit(0)
        if not resume:
            ways = "--resume goes on, " if stopped else ""
            raise click.UsageError(f"{out} is there already: {ways}--overwrite writes over it")
    facts = Path(clip).stat() if source.path.exists() else None
    fingerprint = {
        **choices,
        "clip": None if facts is None else [facts.st_size, facts.st_mtime_ns],
        "frame": [*source.size],
    }
    return source, sink_for(target, source, behind.alpha, resume, fingerprint), behind


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise click.UsageError(f"--fps is a number such as 25 or 30000/1001, not {quoted(text)}")
    return rate


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM end the work after the frame under way; a second one ends it now."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    try:
        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are another's business
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(done: int, total: int | None, quiet: bool) -> Iterator[Callable[..., None] | None]:
    """A bar with the time left on a terminal, a line now and then in a pipe."""
    if quiet:
        yield None
    elif on_terminal(sys.stderr):
        from tqdm import tqdm

        with tqdm(total=total, initial=done, unit="frame", dynamic_ncols=True) as bar:
            yield lambda now, _: bar.update(now - bar.n)
    else:
        begun = last = time.monotonic()

        def line(now: int, total: int | None) -> None:
            nonlocal last
            if (moment := time.monotonic()) - last < _EVERY:
                return
            last = moment
            each = (moment - begun) / (now - done)
            left = "" if total is None else f" of {total}, {_minutes((total - now) * each)} left"
            click.echo(f"{now} frames{left}, {each:.2f} s a frame", err=True)

        yield line


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _conclude(report: Any, clip: str, out: str, quiet: bool) -> None:
    target = "standard output" if out == "-" else out
    notes = list(report.notes)
    if report.damaged:
        notes.append(f"{report.damaged} damaged, which repeat the frame before")
    remarks = "".join(f"; {note}" for note in notes)
    if not report.whole:
        goes_on = "" if out == "-" else "; with --resume the same command goes on"
        click.echo(f"stopped: {target} holds the first {report.frames} frames{goes_on}", err=True)
    say(quiet, f"{clip} → {target}  {report.frames} frames, {report.seconds:.1f} s{remarks}")
