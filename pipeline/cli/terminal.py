"""What a run says on standard error: a bar on a terminal, lines in a pipe, nothing if quiet."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from pipeline import batch
from pipeline.batch import Outcome

_NAMED = 5  # files that are named one by one in the end


def hush_libraries() -> None:
    """Keep libraries off standard error: what is wrong with a photo is ours to say, once."""
    import logging
    import warnings

    import cv2

    # OpenCV 5 has moved it.
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)  # silent
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads there; a stream that was closed is None."""
    return stream is not None and stream.isatty()


def say(quiet: bool, line: str) -> None:
    if not quiet:
        click.echo(printable(line), err=True)


@contextmanager
def interruptible() -> Iterator[None]:
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
def progress(total: int, finished: int, quiet: bool) -> Iterator[Any]:
    """Yield what is to be called with each outcome: it shows a bar, or prints a line, or nothing.

    Errors are always said.
    """
    bar = None
    if total > 1 and not quiet and on_terminal(sys.stderr):
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
    if outcome.status == "failed":
        return printable(f"{prefix}{source}: {outcome.error}")
    notes = "".join(f"; {note}" for note in outcome.notes)
    return printable(f"{prefix}{source} → {_targets(outcome)}  {outcome.seconds:.2f} s{notes}")


def _targets(outcome: Outcome) -> str:
    """Name the files of a cutout; of many, which differ in their number, the first and last."""
    if outcome.job.target == batch.STREAM:
        return "standard output"
    names = [str(path) for path in outcome.outputs]
    if len(names) > _NAMED:
        return f"{names[0]} to {names[-1]} ({len(names)} files)"
    return ", ".join(names)


def printable(line: str) -> str:
    """Keep a file's name from breaking the line, or from commanding the terminal."""
    return "".join(char if char.isprintable() else "�" for char in line)


def conclude(outcomes: Sequence[Outcome], total: int, interrupted: bool, quiet: bool) -> None:
    count = batch.counts(outcomes)
    if interrupted:
        click.echo(
            f"interrupted: {count['done']} done, {total - len(outcomes)} left; "
            "the same command goes on from here",
            err=True,
        )
        return
    left = total - len(outcomes)
    unknown = [outcome for outcome in outcomes if outcome.status == "skipped" and outcome.notes]
    if total > 1:
        line = ", ".join(f"{number} {status}" for status, number in count.items())
        say(quiet, line + (f", {left} left" if left else ""))
    elif count["skipped"] and not unknown:
        verb = "are" if outcomes[0].others else "is"
        line = f"{_targets(outcomes[0])} {verb} finished already: --overwrite does it again"
        say(quiet, line)
    for outcome in unknown[:_NAMED]:
        say(quiet, f"{outcome.job.target} is left as it is: {outcome.notes[0]}")
    if len(unknown) > _NAMED:
        say(quiet, f"… and {len(unknown) - _NAMED} others")
    if unknown:
        say(quiet, "--overwrite makes them anew")
