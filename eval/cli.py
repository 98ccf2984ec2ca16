"""``wisp bench``: the harness as a command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from eval.request import Request, size

# Everything heavy is imported where it is used: the worker processes import this module too, and
# their memory is measured.


@click.command()
@click.argument("dataset", required=False)
@click.option("--layout", help="Published layout of DATASET, see --list.")
@click.option(
    "--backgrounds", type=click.Path(path_type=Path), help="Photos to put foregrounds on."
)
@click.option(
    "--size",
    default="640x480",
    callback=size,
    show_default=True,
    help="Size of the built-in set's images.",
)
@click.option(
    "--subject",
    type=click.FloatRange(0.1, 1),
    default=1.0,
    help="Share of each side that the built-in set's subjects take.  [default: all]",
)
@click.option(
    "--video", is_flag=True,
    help="DATASET holds clips, com/ beside pha/: measure flicker; method 'video' is wisp.video.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples, or frames.")
@click.option("--skip-bad", is_flag=True, help="Leave unusable samples out, and count them.")
@click.option(
    "--methods",
    default="coarse,wisp",
    show_default=True,
    help="METHOD[:key=value,…],METHOD…; as=NAME names one; see --list.",
)
@click.option(
    "--method-command",
    "commands",
    multiple=True,
    metavar="[NAME=]'tool {in} {out}'",
    help="A command as a method, timed with its start; NAME has no blanks. May be repeated.",
)
@click.option(
    "--method-folder",
    "folders",
    multiple=True,
    metavar="[NAME=]DIR",
    help="A folder of finished results as a method. May be repeated.",
)
@click.option("--model", help="Stage 1 for every method that does not say otherwise.")
@click.option("--refiner", help="Stage 2 for every method that does not say otherwise.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for the report's files."
)
@click.option("--against", help="Method that the others are compared with [default: wisp].")
@click.option(
    "--table",
    type=click.Choice(["quality", "speed", "both"]),
    default="both",
    show_default=True,
    help="What to print, as Markdown.",
)
@click.option(
    "--footprint", is_flag=True,
    help="Measure Wisp's own command at 2, 8 and 24 megapixels too, and its import.",
)  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=300.0, show_default=True,
    help="Seconds that a method may take for one image.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True,
    help="Processes that compute figures; methods always run alone.",
)  # fmt: skip
@click.option("--lpips/--no-lpips", default=True, help="Compute LPIPS where it can be had.")
@click.option(
    "--images/--no-images", "crops", default=True,
    help="Show crops in the page. Leave out for data that may not be passed on.",
)  # fmt: skip
@click.option("--cache", "cache_root", type=click.Path(path_type=Path), help="Cache folder.")
@click.option("--fresh", is_flag=True, help="Run again what the cache has.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--list", "listing", is_flag=True, help="List data sets and methods.")
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="OLD NEW",
    help="Compare two results.json instead; exit code 1 on a regression beyond a bound.",
)
@click.option(
    "--bound",
    "bounds",
    multiple=True,
    metavar="FIGURE=AMOUNT[%]",
    help="With --compare: how much worse a figure may get, such as psnr=0.1 or sad=2%.",
)
def bench(**options: Any) -> None:
    """Measure background removal methods on DATASET, and compare them.

    DATASET is 'builtin', or a folder: images/ with alphas/ or masks/ (and trimaps/, foregrounds/),
    a published set (--layout), or RGBA cutouts (--backgrounds). Prints Markdown tables; -o writes
    index.html, table.md, results.csv and results.json. The exit code is 1 if a method was not
    available, or failed on an image.
    """
    from pipeline.errors import WispError

    request = Request(**options)
    try:
        if request.listing:
            _list()
        elif request.compare:
            _compare(*request.compare, request.bounds)
        elif request.dataset is None:
            raise click.UsageError("name a DATASET, or --list, or --compare OLD NEW")
        elif request.video:
            _video(Path(request.dataset), request)
        else:
            _bench(request.dataset, request)
    except WispError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Stopped. The same command goes on where this one was.", err=True)
        sys.exit(130)


def _video(root: Path, request: Request) -> None:
    from eval import video
    from eval.methods import Spec

    names = request.methods.split(",")
    specs = request.specs(",".join(name for name in names if name.strip() != video.VIDEO))
    if video.VIDEO in (name.strip() for name in names):
        specs.append(Spec(video.VIDEO, (), video.VIDEO))
    clips = video.find(root, request.limit)
    figures = video.run(clips, specs, lambda line: None if request.quiet else _tell(line))
    click.echo(video.table(figures))
    if request.output:
        video.save(request.output, figures, _typed())


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _bench(name: str, request: Request) -> None:
    from dataclasses import replace

    from eval import cache, footprint, results, run
    from eval.datasets import find
    from eval.metrics import perceptual
    from pipeline import Settings
    from pipeline.settings import changed

    specs = request.specs()
    if not specs:
        raise click.UsageError("no method: see --list")
    reference = request.reference(specs)

    dataset = find(name, request.layout, request.backgrounds, request.size, request.subject)
    if request.limit:
        dataset = replace(dataset, samples=dataset.samples[: request.limit])
    for spec in specs:
        cache.model_files(spec)  # a model that is not there is better told now than in an hour
    lpips = perceptual.why_unavailable() if request.lpips else "switched off"
    plan = run.Plan(
        repeats=request.repeats,
        timeout=request.timeout,
        jobs=request.jobs,
        fresh=request.fresh,
        skip_bad=request.skip_bad,
        lpips=lpips is None,
    )
    store = cache.Cache(request.cache_root or cache.default_root())
    shown = run.silent if request.quiet else progress
    finished = run.execute(dataset, specs, plan, store, shown)
    document = results.collect(dataset, specs, plan, finished, _typed(), lpips)
    if request.footprint:
        settings = changed(Settings(), request.models)
        document["footprint"] = footprint.measure(settings, plan.repeats, progress=shown)
    if reference not in document["subsets"]["all"]["means"]:
        reference = next(iter(document["subsets"]["all"]["means"]), reference)

    if request.output:
        from eval.report import save

        save(request.output, document, finished, store, reference, request.crops)
        click.echo(f"report: {request.output / 'index.html'}", err=True)
    _print(document, reference, request.table)
    if finished.unavailable or any(sample["failures"] for sample in document["samples"]):
        sys.exit(1)


def _print(document: dict[str, Any], reference: str, tables: str) -> None:
    """Print the tables that were asked for: quality, speed, both or none."""
    from eval import table

    dataset = document["dataset"]["title"]
    if tables in ("quality", "both"):
        for subset, part in document["subsets"].items():
            click.echo(f"\n{dataset}: {part['title']}\n\n{table.quality(document, subset)}")
    if tables in ("speed", "both"):
        title = document["subsets"]["all"]["title"]
        click.echo(f"\n{dataset}: {title}\n\n{table.speed(document, reference)}")
    if "footprint" in document:
        click.echo(f"\nWisp by size of photo\n\n{table.footprint(document)}")
    click.echo()
    click.echo(table.notes(document), err=True)


def _compare(old: Path, new: Path, bounds: tuple[str, ...]) -> None:
    from eval import compare

    changes = compare.compare(compare.load(old), compare.load(new), compare.read_bounds(bounds))
    click.echo(compare.table(changes))
    if any(change.regression for change in changes):
        sys.exit(1)


def _list() -> None:
    from eval.layouts import LAYOUTS
    from eval.methods import KINDS

    click.echo("Methods:")
    for name, kind in KINDS.items():
        options = f" [{', '.join(kind.options)}]" if kind.options else ""
        click.echo(f"  {name:20} {kind.summary}{options}")
    click.echo("\nData sets:\n  builtin              needs no download")
    for layout in LAYOUTS.values():
        click.echo(f"  {layout.name:20} {layout.title}\n{'':23}{layout.where}; {layout.terms}")


def _typed() -> str:
    """Return the command line, however it was started (wisp bench, python -m eval)."""
    words = sys.argv[1:]
    return shlex.join(
        ["wisp", "bench", *words[words.index("bench") + 1 if "bench" in words else 0 :]]
    )


def progress(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
    """Show how far an iteration is: a bar on a terminal, a line a step in a pipe."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        yield from tqdm(items, title, total, unit="image")
        return
    for number, item in enumerate(items, 1):
        yield item
        click.echo(f"{title}: {number}/{total}", err=True)
