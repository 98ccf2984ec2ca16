"""What each part of stage 2 is worth: one short training for each variant, all of one budget.

    python examples/ablate.py --data DIR --out RUNS [--steps 200] [--more NAME=DIR]...

Prints a Markdown table of the held-out figures. Every variant has the same seed,
sees the same patches in the same order, and is measured on the validation shards of ``--data``;
``--more`` adds a training on other data (such as simulated masks alone). The first row is run once
more with another seed: what lies closer to it than that is noise. What has been run is not run
again, so an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
from tqdm import tqdm

TRAIN = Path(__file__).parent.parent / "train_refiner.py"

VARIANTS: dict[str, list[str]] = {
    "as it is": [],
    "as it is, another seed": ["--seed", "1"],
    "without L1": ["--weigh", "l1", "0"],
    "without L2": ["--weigh", "l2", "0"],
    "without gradient": ["--weigh", "gradient", "0"],
    "without Laplacian": ["--weigh", "laplacian", "0"],
    "without composition": ["--weigh", "composition", "0"],
    "without foreground": ["--weigh", "foreground", "0"],
    "without attention": ["--no-attention"],
    "without nearby colours": ["--no-colours"],
    "attention gates on the skips": ["--gates"],
    "ASPP": ["--aspp"],
    "batch normalisation": ["--norm", "batch"],
    "group normalisation": ["--norm", "group"],
}

FIGURES = ("psnr", "sad ratio", "colour ratio", "worse")


def figures(log: str) -> dict[str, float]:
    """The held-out figures of the last step that a training printed."""
    last = [line for line in log.splitlines() if line.startswith("step ")][-1]
    return {name: float(re.search(rf"\b{name} (\S+)", last)[1]) for name in FIGURES}  # type: ignore[index]


def train(data: Path, run: Path, options: list[str]) -> dict[str, float]:
    """Train a variant, unless it has been; raises ``click.ClickException`` if that fails."""
    log = run / "figures.txt"
    if not log.exists():
        command = [sys.executable, str(TRAIN), "--data", str(data), "--out", str(run), *options]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise click.ClickException(f"{run.name}: {done.stderr[-2000:]}")
        log.write_text(done.stdout + done.stderr.replace("\r", "\n"))
    return figures(log.read_text())


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A run a variant.")
@click.option("--steps", default=200, help="Steps of each.")
@click.option("--threads", default=1, help="CPU threads.")
@click.option("--gan", type=click.Path(path_type=Path), help="Perceptual weights: adds a GAN row.")
@click.option("--more", multiple=True, help="NAME=DIR: a row trained on other shards.")
@click.option("--only", multiple=True, help="Only these rows.")
def main(
    data: Path,
    out: Path,
    steps: int,
    threads: int,
    gan: Path | None,
    more: tuple[str, ...],
    only: tuple[str, ...],
) -> None:
    """Train every variant and print what it reaches."""
    budget = ["--threads", str(threads), "--steps"]
    rows = {name: [*budget, str(steps), *options] for name, options in VARIANTS.items()}
    if gan:
        last = steps // 4  # the same number of steps in all, of which the last quarter adversarial
        rows["adversarial at the end"] = [
            *(*budget, str(steps - last), "--gan-steps", str(last)),
            *("--perceptual-weights", str(gan)),
        ]
    held = sorted(data.resolve().glob("valid-*.npy"))
    folders = {name: data for name in rows}
    for name, _, folder in (entry.partition("=") for entry in more):
        rows[name], folders[name] = [*budget, str(steps)], out / f"data of {name}"
        folders[name].mkdir(parents=True, exist_ok=True)
        for path in [*held, *sorted(Path(folder).resolve().glob("train-*.npy"))]:
            link = folders[name] / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path)
    chosen = [name for name in rows if not only or name in only]
    found = {n: train(folders[n], out / n, rows[n]) for n in tqdm(chosen, disable=None)}
    click.echo("| variant | PSNR dB | SAD of coarse | colour error of photo | patches worse |")
    click.echo("| --- | ---: | ---: | ---: | ---: |")
    for name, f in found.items():
        shares = " | ".join(f"{f[figure]:.1%}" for figure in FIGURES[1:])
        click.echo(f"| {name} | {f['psnr']:.2f} | {shares} |")


if __name__ == "__main__":
    main()
