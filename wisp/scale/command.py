"""``wisp scale``: many photos, from a store to a store."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any

import click

from pipeline import Output, Settings, batch
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
from pipeline.errors import quoted
from pipeline.models.providers import usable_cores
from pipeline.output import DEFAULT_FORMAT

KINDS = ("files", "webdataset", "parquet")


@dataclass(frozen=True)
class Request:
    """What the command was asked for, beside how photos are cut out and written."""

    source: str
    target: str
    to: str
    column: str | None
    name_column: str | None
    shard: str | None
    shards: int | None
    jobs: int | None
    engine: str
    address: str | None
    retry_failed: bool
    format_: str | None
    report: str | None
    metrics: int | None
    quiet: bool


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option(
    "--to",
    type=click.Choice(KINDS),
    default="files",
    help="How cutouts are written; default: files.",
)
@click.option("--column", metavar="NAME", help="Where a table has addresses, or pictures.")
@click.option("--name-column", metavar="NAME", help="Where a table has the photos' names.")
@click.option("--shard", metavar="K/N", help="Do the K-th of N parts; K goes from 1 to N.")
@click.option(
    "--shards",
    metavar="N",
    type=click.IntRange(1),
    help="Cut the work into so many; default: 1000 photos each.",
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1),
    help="Worker processes; default: one a processor.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Who does the work; default: local.",
)
@click.option(
    "--address", metavar="HOST:PORT|auto", help="Of the Ray cluster; default: one on this machine."
)
@click.option(
    "--retry-failed", is_flag=True, help="Try photos again that failed in an earlier run."
)
@network_options
@format_option("Default: png.")
@output_options
@reading_options
@click.option(
    "--report", metavar="FILE", help="Write a row for each photo of all runs, as Parquet."
)
@click.option(
    "--metrics", metavar="PORT", type=click.IntRange(1, 65535), help="Serve counts for Prometheus."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def scale(ctx: click.Context, /, **options: Any) -> None:
    """Cut the subject out of very many photos.

    SRC is a folder or prefix, a pattern, a list of addresses (.txt, .csv, .tsv, .jsonl, .parquet),
    a Parquet file with pictures, or a WebDataset (.tar). It and DST may lie on this machine, or in
    a store: s3://, gs://, az://; lists may name https:// addresses.

    What is finished is written down in DST, so that the same command goes on where it was stopped,
    and other settings are refused. A photo that cannot be cut out is a row that says why; the exit
    code is 1 then.

    \b
      wisp scale s3://shop/photos/ s3://shop/cutouts/
      wisp scale s3://shop/photos/ s3://shop/cutouts/ --shard 7/200
      wisp scale photos.parquet out/ --column image --to webdataset
      wisp scale s3://… s3://… --engine ray --address auto
    """
    terminal.hush_libraries()
    request = Request(**options)
    output = parsed(ctx, request.format_ or DEFAULT_FORMAT)
    settings = chosen_settings(ctx, Settings(threads=1))
    ctx.exit(_run(request, settings, output))


def _run(request: Request, settings: Settings, output: Output) -> int:
    from wisp.scale.cutter import Cutter
    from wisp.scale.hand import Hand
    from wisp.scale.on_ray import over_ray
    from wisp.scale.places import open_place
    from wisp.scale.progress import conclude, progress, prometheus
    from wisp.scale.run import cut_all
    from wisp.scale.sources import open_source
    from wisp.scale.summary import Wish
    from wisp.scale.workers import inline, processes

    refuse_empty(request.source, request.target)
    quiet, part = request.quiet, _part(request.shard)
    out = open_place(request.target)
    source = open_source(request.source, request.column, request.name_column, avoid=out.address)
    if source.address.rstrip("/") == out.address.rstrip("/"):
        raise click.UsageError(
            f"{request.target} holds the photos: give another place for the cutouts"
        )
    wish = Wish(
        request.to, batch.settings_digest(settings, output), _facts(settings, output),
        output.ending, part, request.shards, request.retry_failed,
    )  # fmt: skip
    jobs = request.jobs or usable_cores()
    alone = out.here_alone or "memory://" in request.source  # other processes see another memory
    hand = Hand(Cutter(settings, output), out if request.to == "files" and not alone else None)
    if request.engine == "local" and any(map(os.path.isfile, (settings.model, settings.refiner))):
        Cutter(settings, output).open()  # a file may hold no network: that is said before all else
    if request.engine == "ray":
        execute = over_ray(request.address, request.jobs)
    elif alone:
        execute = inline
    else:

        def execute(tasks: Any, hand: Hand) -> Any:
            return processes(tasks, hand, jobs)

    metrics = prometheus(request.metrics) if request.metrics else None
    try:
        with terminal.interruptible(), progress(quiet, part.total == 1, metrics) as tell:
            summary = cut_all(source, out, hand, wish, execute, tell)
    except KeyboardInterrupt:
        click.echo("interrupted: the same command goes on from here", err=True)
        return 130
    conclude(summary, quiet)
    if request.report:
        _report(request.report, out)
    seen = summary.listed or summary.done or summary.failed or summary.skipped
    if not seen and part.total == 1:
        raise click.ClickException(f"no pictures in {request.source}")
    return 1 if summary.failed or summary.failed_before else 0


def _part(text: str | None) -> Any:
    from wisp.scale.plan import Slice

    if text is None:
        return Slice()
    number, slash, total = text.partition("/")
    if not (slash and number.isdigit() and total.isdigit()):
        raise click.UsageError(f"--shard is K/N, such as 7/200, not {quoted(text)}")
    return Slice(int(number), int(total))


def _facts(settings: Settings, output: Output) -> dict[str, Any]:
    """The settings as a person knows them; the digest has them all."""
    usual = Output(format=DEFAULT_FORMAT)
    asked = {
        field.name: str(getattr(output, field.name))[:100]
        for field in fields(output)
        if field.name != "background" and getattr(output, field.name) != getattr(usual, field.name)
    }
    if output.background is not None:
        asked["background"] = str(output.background)[:40]
    return {
        "model": settings.model,
        "refiner": settings.refiner if settings.refine else None,
        "output": asked,
    }


def _report(address: str, out: Any) -> None:
    import pyarrow.parquet as pq

    from wisp.scale.ledger import SCHEMA, report
    from wisp.scale.places import open_place

    place = open_place(address)
    folder, _, name = place.root.rpartition("/")

    with (
        replace(place, root=folder).writing(name) as file,
        pq.ParquetWriter(file, SCHEMA) as writer,
    ):
        for table in report(out):
            writer.write_table(table)
