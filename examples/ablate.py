"""What each part of stage 2 is worth: one short training for each variant, all of one budget.

    python examples/ablate.py --shards DIR --out RUNS [--steps 200] [--more NAME=DIR]...

Prints a Markdown table of the held-out figures. Every variant has the same seed,
sees the same patches in the same order, and is measured on the validation shards of ``--shards``;
``--more`` adds a training on other data (such as simulated masks alone). The first row is run once
more with another seed: what lies closer to it than that is noise. What has been run is not run
again, so an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import torch
from tqdm import tqdm

import train_refiner
from refiner.settings import Settings
from training import recipe

VARIANTS: dict[str, list[str]] = {
    "as it is": [],
    "as it is, another seed": ["seed=1"],
    "without L1": ["weights.l1=0"],
    "without L2": ["weights.l2=0"],
    "without gradient": ["weights.gradient=0"],
    "without Laplacian": ["weights.laplacian=0"],
    "without composition": ["weights.composition=0"],
    "without foreground": ["weights.foreground=0"],
    "without attention": ["shape.attention=false"],
    "without nearby colours": ["shape.colours=false"],
    "with a guided filter": ["shape.guided_filter=true"],
}

FIGURES = ("psnr", "sad ratio", "colour ratio", "worse")


def train(
    shards: Path, run: Path, steps: int, changes: list[str], init: str = ""
) -> dict[str, float]:
    """Train a variant, unless it has been, and return its last held-out figures."""
    log = run / "figures.json"
    if not log.exists():
        settings = recipe.changed(replace(Settings(), steps=steps, warmup=20), changes)
        first = run.parent / init / "last.pt" if init else None
        run.mkdir(parents=True, exist_ok=True)
        log.write_text(json.dumps(train_refiner.train(settings, shards, run, first)))
    return json.loads(log.read_text())


@click.command(context_settings={"show_default": True})
@click.option("--shards", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A run a variant.")
@click.option("--steps", default=200, help="Steps of each.")
@click.option("--threads", default=1, help="CPU threads.")
@click.option("--gan", is_flag=True, help="Adds a row with an adversarial phase; needs lpips.")
@click.option("--more", multiple=True, help="NAME=DIR: a row trained on other shards.")
@click.option("--only", multiple=True, help="Only these rows.")
def main(
    shards: Path,
    out: Path,
    steps: int,
    threads: int,
    gan: bool,
    more: tuple[str, ...],
    only: tuple[str, ...],
) -> None:
    """Train every variant and print what it reaches."""
    torch.set_num_threads(threads)
    rows = {name: (shards, steps, changes, "") for name, changes in VARIANTS.items()}
    if gan:  # goes on from the first row with a third as many adversarial steps
        changes = ["phase=adversarial", "lr=1e-4"]
        rows["and adversarial at the end"] = (shards, steps // 3, changes, "as it is")
    held = sorted(shards.resolve().glob("valid-*.npy"))
    for name, _, folder in (entry.partition("=") for entry in more):
        linked = out / f"data of {name}"
        linked.mkdir(parents=True, exist_ok=True)
        for path in [*held, *sorted(Path(folder).resolve().glob("train-*.npy"))]:
            link = linked / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        rows[name] = (linked, steps, [], "")
    figures = {}
    for name in tqdm([name for name in rows if not only or name in only], disable=None):
        data, count, changes, init = rows[name]
        figures[name] = train(data, out / name, count, changes, init)
    click.echo("| variant | PSNR dB | SAD of coarse | colour error of photo | patches worse |")
    click.echo("| --- | ---: | ---: | ---: | ---: |")
    for name, f in figures.items():
        shares = " | ".join(f"{f[figure]:.1%}" for figure in FIGURES[1:])
        click.echo(f"| {name} | {f['psnr']:.2f} | {shares} |")


if __name__ == "__main__":
    main()
