"""What a long run says: a bar on a terminal, a line now and then in a pipe, metrics on request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from pipeline.cli import terminal
from pipeline.errors import SettingsError
from wisp.scale.rows import Row
from wisp.scale.summary import Summary, Tell

_EVERY = 10.0  # seconds between the lines in a pipe
_NAMED = 100  # failed photos that are named as they come; all are in the manifests


@contextmanager
def progress(
    quiet: bool, alone: bool, metrics: Callable[[Summary, Row | None], None] | None
) -> Iterator[Tell]:
    """Yield what is to be called with each row.

    ``alone`` tells whether this run does all photos, so that their number is that of the listing.
    """
    bar: Any = None
    last, planning, named = time.monotonic(), True, 0
    if not quiet and terminal.on_terminal(sys.stderr):
        from tqdm import tqdm

        bar = tqdm(unit="photo", dynamic_ncols=True, smoothing=0.05, desc="listing")

    def tell(summary: Summary, row: Row | None) -> None:
        nonlocal last, planning, named
        if metrics:
            metrics(summary, row)
        if row is not None and row.status == "failed" and named < _NAMED:
            named += 1
            line = terminal.printable(f"{row.path}: {row.error}")
            if named == _NAMED:
                line += "\nfurther ones are not named here: the manifests have them all"
            bar.write(line, file=sys.stderr) if bar else click.echo(line, err=True)
        seen = summary.done + summary.failed + summary.skipped
        if bar is not None:
            if seen and planning:
                planning = False
                bar.reset(summary.listed if alone and summary.listed else None)
                bar.set_description("cutting")
            bar.update((seen or summary.listed) - bar.n)
        elif not quiet and time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            click.echo(_line(summary, seen, alone), err=True)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


def _line(summary: Summary, seen: int, alone: bool) -> str:
    if not seen:
        return f"listing: {summary.listed} photos so far"
    rate = (summary.done + summary.failed) / max(summary.seconds, 1e-9)
    of = left = ""
    if alone and summary.listed:
        of = f" of {summary.listed}"
        minutes = (summary.listed - seen) / rate / 60 if rate else 0
        left = f", {minutes:.0f} minutes left" if rate else ""
    return f"{seen}{of}, {summary.failed} failed, {rate:.2f} a second{left}"


def conclude(summary: Summary, quiet: bool) -> None:
    """Say what the run did."""
    seconds, new = summary.seconds, summary.done + summary.failed
    line = f"{summary.done} done, {summary.skipped} skipped, {summary.failed} failed"
    if new:
        line += (
            f" in {seconds:.0f} s: {new / seconds:.2f} a second, "
            f"{summary.bytes_in / 1e6:.1f} MB in, {summary.bytes_out / 1e6:.1f} MB out"
        )
    terminal.say(quiet, line)
    if summary.failed_before:
        terminal.say(
            quiet,
            f"{summary.failed_before} of the skipped failed before: --retry-failed tries again",
        )
    if new > len(summary.slowest) > 1:
        slowest = ", ".join(
            f"{path} {s:.2f} s" for s, path in sorted(summary.slowest, reverse=True)
        )
        terminal.say(quiet, f"slowest: {slowest}")


def prometheus(port: int) -> Callable[[Summary, Row | None], None]:
    """Serve the run's counts on a port of this machine for Prometheus to fetch.

    Raises :class:`SettingsError` where its library is missing, or the port is taken.
    """
    try:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            start_http_server,
        )
    except ImportError:
        raise SettingsError(
            "metrics need an extra package: pip install prometheus-client"
        ) from None
    registry = CollectorRegistry()
    photos = Counter(
        "wisp_scale_photos", "Photos by what became of them.", ["status"], registry=registry
    )
    size = Counter("wisp_scale_bytes", "Encoded bytes.", ["direction"], registry=registry)
    skipped = Gauge("wisp_scale_skipped", "Photos that were finished before.", registry=registry)
    seconds = Histogram(
        "wisp_scale_seconds", "Seconds a photo.", registry=registry,
        buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 600),
    )  # fmt: skip
    try:
        start_http_server(port, registry=registry)
    except OSError as error:
        raise SettingsError(f"metrics on port {port}: {error}") from error

    def tell(summary: Summary, row: Row | None) -> None:
        skipped.set(summary.skipped)
        if row is not None:
            photos.labels(row.status).inc()
            size.labels("in").inc(row.bytes_in or 0)
            size.labels("out").inc(row.bytes_out or 0)
            seconds.observe(row.seconds)

    return tell
