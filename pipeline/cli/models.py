"""``wisp models``: which there are, where they lie, and what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from pipeline.errors import ModelMissing, quoted
from pipeline.models import (
    Prompted,
    checksum,
    coarse_model,
    listing,
    open_coarse,
    open_refiner,
    own,
    refiner_model,
    store,
)
from pipeline.models.catalogue import COARSE, PUBLIC, REFINERS, CoarseModel, RefinerModel
from pipeline.models.store import megabytes

_CPU = ("CPUExecutionProvider",)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Write the list as JSON.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models, fetch them, take in your own.

    Without a subcommand: the list. Models lie in WISP_HOME (default: your data folder); what
    rembg has downloaded is used where it lies. WISP_MODELS_URL names a mirror.
    """
    if ctx.invoked_subcommand:
        return
    rows = listing()
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    heads = ("name", "stage", "state", "size", "licence", "purpose")
    texts = [
        [
            row["name"],
            str(row["stage"]),
            row["state"],
            megabytes(row["bytes"]) if row["bytes"] else "?",
            row["licence"] + (" (!)" if row["noncommercial"] else ""),
            row["purpose"],
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    for line in [heads, *texts]:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())
    if any(row["noncommercial"] for row in rows):
        click.echo("\n(!) not for commercial use")


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def download(names: Sequence[str], quiet: bool) -> None:
    """Fetch public models; what broke off goes on where it was."""
    for name in names:
        if name not in PUBLIC:
            raise ModelMissing(f"no public model {quoted(name)}: one of {', '.join(PUBLIC)}")
    for name in names:
        for half in filter(None, (name, PUBLIC[name].decoder)):
            click.echo(store.ensure(half, quiet))


@models.command()
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.pass_context
def verify(ctx: click.Context, names: Sequence[str]) -> None:
    """Compare model files with the checksums on record (default: all that are here).

    The exit code is 1 when one differs or is missing.
    """
    bad = False
    for name, card in _here(names):
        wrong = store.mismatch(card.path, card) if card.path.is_file() else "missing"
        if not wrong and not card.sha256:
            wrong = "no checksum on record"
        else:
            bad |= bool(wrong)
        click.echo(f"{name}: {wrong or 'ok'}  {card.path}")
    ctx.exit(1 if bad else 0)


def _here(names: Sequence[str]) -> Iterator[tuple[str, CoarseModel | RefinerModel]]:
    from dataclasses import replace

    cards: list[tuple[str, CoarseModel | RefinerModel]] = [*COARSE.items(), *REFINERS.items()]
    for name, card in PUBLIC.items():
        path = store.find(name) or (store.model_path(name) if name in names else None)
        if path:
            cards.append((name, replace(card, path=path)))
    cards += [*own.imported(CoarseModel).items(), *own.imported(RefinerModel).items()]
    for name in names:
        if name not in dict(cards):
            raise ModelMissing(f"no model {quoted(name)}: `wisp models` lists them")
    return ((name, card) for name, card in cards if name in names or not names)


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def remove(names: Sequence[str]) -> None:
    """Delete downloaded or imported models."""
    for name in names:
        for path in store.remove(name):
            click.echo(f"deleted {path}")


@models.command()
@click.argument("name")
def path(name: str) -> None:
    """Print where the file of a model lies, or will lie."""
    if name in PUBLIC:
        click.echo(store.find(name) or store.model_path(name))
    else:
        click.echo(_look_up(name)[0].path)


@models.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--like", metavar="NAME", help="The model it is fed like; or: refiner.")
@click.option("--name", help="Default: the file's own.")
@click.option("--licence", default="unknown", show_default=True)
def import_(file: Path, like: str | None, name: str | None, licence: str) -> None:
    """Take in an ONNX file of your own, to use it by name.

    A file that is one of the public models is recognised, whatever its name.

    \b
      wisp models import trained.onnx --like u2net --name mine
      wisp models import edges.onnx --like refiner
      wisp cut photo.jpg --model mine --refiner edges
    """
    name = own.take_in(file, like, name, licence)
    click.echo(f"{name}: {store.model_path(name)}")


@models.command()
@click.argument("name", metavar="NAME|FILE")
@click.option(
    "--calibration",
    metavar="FOLDER",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Photos of the kind that will be cut out; some dozens.",
)
@click.option(
    "--to", "kind", type=click.Choice(["int8", "fp16"]), default="int8", show_default=True
)
def quantize(name: str, calibration: Path, kind: str) -> None:
    """Make the INT8 (or, for GPUs, FP16) variant of a stage-1 model.

    It is called NAME-int8 and used like any other. Every fourth photo is kept back to measure
    with: size, speed and how far its masks differ are reported.
    """
    from pipeline import batch
    from pipeline.models.quantize import quantize as make

    photos = [job.source for job in batch.find([str(calibration)], [])]
    click.echo(make(name, photos, kind))


@models.command()
@click.argument("name", metavar="NAME|FILE")
def show(name: str) -> None:
    """Show what is known of a model: its card, its ends, its checksum.

    Of a file that someone has trained, its ONNX metadata and a MODEL_CARD*.md beside it too.
    """
    if name in PUBLIC and not store.find(name):
        for key in ("licence", "source", "purpose", "url", "length", "sha256", "md5"):
            _fact(key, getattr(PUBLIC[name], key))
        _fact("file", f"not here yet; will lie at {store.model_path(name)}")
        return
    for card, network in _opened(name):
        _fact("stage", "1, coarse mask" if isinstance(card, CoarseModel) else "2, edges")
        _fact("file", card.path)
        _fact("size", megabytes(card.path.stat().st_size))
        _fact("sha256", checksum(card.path))
        for key in ("licence", "source", "purpose", "url"):
            _fact(key, getattr(card, key, ""))
        if isinstance(card, CoarseModel):
            _fact("seen at", f"{card.size[1]}×{card.size[0]}, {card.resampling}")
            _fact("mean, std", f"{card.mean}, {card.std}")
        session = network.session
        for end, ends in (("input", session.get_inputs()), ("output", session.get_outputs())):
            for tensor in ends:
                _fact(end, f"{tensor.name} {tensor.shape} {tensor.type}")
        for key, value in sorted(session.get_modelmeta().custom_metadata_map.items()):
            _fact(key, value)
        for text in _cards(card.path):
            click.echo(f"\n{text}")


def _fact(key: str, value: object) -> None:
    if value:
        click.echo(f"{key + ':':<10} {value}")


def _look_up(name: str) -> list[CoarseModel | RefinerModel]:
    """The models of that name: the bundled pair shares one."""
    if name in COARSE and name in REFINERS:
        return [COARSE[name], REFINERS[name]]
    if name in own.imported(RefinerModel):
        return [refiner_model(name)]
    return [coarse_model(name)]


def _opened(name: str) -> Iterator[tuple[CoarseModel | RefinerModel, Any]]:
    from pipeline.errors import ModelInvalid

    for card in _look_up(name):
        if isinstance(card, RefinerModel):
            yield card, open_refiner(card, _CPU, 1).session
            continue
        try:
            network, opened = open_coarse(card, _CPU, 1)
        except ModelInvalid as error:
            try:  # a file may be of either stage
                refiner = RefinerModel(card.path, card.licence, card.source, card.sha256)
                yield refiner, open_refiner(refiner, _CPU, 1).session
            except ModelInvalid:
                raise error from None
        else:
            if isinstance(network, Prompted):
                yield card, network.encoder
            else:
                yield opened, network


def _cards(path: Path) -> list[str]:
    """The model card beside a file: MODEL_CARD_NAME.md, or the only one there is."""
    own = path.with_name(f"MODEL_CARD_{path.stem.removesuffix('_int8')}.md")
    cards = [own] if own.is_file() else sorted(path.parent.glob("MODEL_CARD*.md"))
    return [cards[0].read_text(encoding="utf-8")] if len(cards) == 1 else []
