"""``wisp scale``: many photos, from a store to a store."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import click

from pipeline import Output, Settings, batch
from pipeline.cli import terminal
from pipeline.cli.options import output_options, parsed
from pipeline.models.providers import DEVICES, providers, usable_cores
from pipeline.output import FORMATS

KINDS = ("files", "webdataset", "parquet")


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
@click.option("--no-refine", is_flag=True, help="Stage 1 alone: faster, without fine edges.")
@click.option(
    "--model", metavar="NAME|FILE", default=Settings.model, help="Stage 1; see `wisp models`."
)
@click.option("--refiner", metavar="NAME|FILE", default=Settings.refiner, help="Stage 2.")
@click.option(
    "--device", type=click.Choice(list(DEVICES)), default="cpu", help="What computes; default: cpu."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice([*FORMATS, "auto"]),
    default="png",
    help="Default: png.",
)
@output_options
@click.option(
    "--max-pixels",
    metavar="N",
    type=int,
    default=Settings.max_pixels,
    show_default=True,
    help="Refuse larger photos.",
)
@click.option(
    "--report", metavar="FILE", help="Write a row for each photo of all runs, as Parquet."
)
@click.option(
    "--metrics", metavar="PORT", type=click.IntRange(1, 65535), help="Serve counts for Prometheus."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def scale(ctx: click.Context, /, source: str, target: str, **given: Any) -> None:
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
    try:
        import fsspec  # noqa: F401
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise click.ClickException(
            "this needs more packages: pip install 'wispcut[scale]'"
        ) from None
    terminal.hush_libraries()
    output = parsed(ctx, given["format_"])
    settings = Settings(
        model=given["model"],
        refine=not given["no_refine"],
        refiner=given["refiner"],
        providers=providers(given["device"]),
        max_pixels=given["max_pixels"],
        threads=1,
    )
    ctx.exit(_run(source, target, settings, output, given))


def _run(
    source: str, target: str, settings: Settings, output: Output, given: dict[str, Any]
) -> int:
    from wisp.scale.cutter import Cutter
    from wisp.scale.hand import Hand
    from wisp.scale.on_ray import over_ray
    from wisp.scale.places import open_place
    from wisp.scale.progress import conclude, progress, prometheus
    from wisp.scale.run import cut_all
    from wisp.scale.sources import open_source
    from wisp.scale.summary import Wish
    from wisp.scale.workers import inline, processes

    quiet, part = given["quiet"], _part(given["shard"])
    out = open_place(target)
    found = open_source(source, given["column"], given["name_column"], avoid=out.address)
    if found.address.rstrip("/") == out.address.rstrip("/"):
        raise click.UsageError(f"{target} holds the photos: give another place for the cutouts")
    wish = Wish(
        given["to"], batch.settings_digest(settings, output), _facts(settings, output),
        output.ending, part, given["shards"], given["retry_failed"],
    )  # fmt: skip
    jobs = given["jobs"] or usable_cores()
    alone = out.here_alone or "memory://" in source  # other processes see another memory
    hand = Hand(Cutter(settings, output), out if given["to"] == "files" and not alone else None)
    if given["engine"] == "ray":
        execute = over_ray(given["address"], given["jobs"])
    elif alone:
        execute = inline
    else:

        def execute(tasks: Any, hand: Hand) -> Any:
            return processes(tasks, hand, jobs)

    metrics = prometheus(given["metrics"]) if given["metrics"] else None
    try:
        with terminal.interruptible(), progress(quiet, part.total == 1, metrics) as tell:
            summary = cut_all(found, out, hand, wish, execute, tell)
    except KeyboardInterrupt:
        click.echo("interrupted: the same command goes on from here", err=True)
        return 130
    conclude(summary, quiet)
    if given["report"]:
        _report(given["report"], out)
    seen = summary.listed or summary.done or summary.failed or summary.skipped
    if not seen and part.total == 1:
        raise click.ClickException(f"no pictures in {source}")
    return 1 if summary.failed or summary.failed_before else 0


def _part(text: str | None) -> Any:
    from wisp.scale.plan import Slice

    if text is None:
        return Slice()
    number, slash, total = text.partition("/")
    if not (slash and number.isdigit() and total.isdigit()):
        raise click.UsageError(f"--shard is K/N, such as 7/200, not {text!r}")
    return Slice(int(number), int(total))


def _facts(settings: Settings, output: Output) -> dict[str, Any]:
    """The settings as a person knows them; the digest has them all."""
    usual = Output()
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
