"""What a box and clicks are worth in use: ``python -m eval.hints DATA``.

Over photos that stage 1 was not trained on, ``Cutout()(photo, …)`` as shipped, both looks and
stage 2 included: told nothing; the true box; and the box with up to three clicks, each in the
middle of the largest mistake of the answer before it, as a person would set them. Networks by
themselves: :mod:`u2net.cases`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from eval.confidence import GOOD, Case, iou, read
from eval.metrics import sad
from pipeline import Cutout, Settings
from pipeline.cli.command import Command
from pipeline.looks import Looks
from pipeline.selection import EVERYTHING, Point, Selection
from u2net.dataset import evenly
from u2net.hints import bounding_box, deepest, largest_mistake
from u2net.prepare import find, find_held

FOUND = 14.0  # dB of the alpha: below, the subject was not found, as in the benchmark
CLICKS = 3
WAYS = ("nothing", "a box", "a box and three clicks")

Alpha = NDArray[np.float32]


def photos(root: Path, most: int, everything: bool) -> Iterator[Case]:
    """Yield held-out photos with truth below a folder, at most ``most`` of a source, spread over
    it; 0 is all. ``everything`` takes all photos for held out."""
    items, _, _ = find(root) if everything else find_held(root)
    chosen = [item for item in items if item.truth]
    for source in dict.fromkeys(item.source for item in chosen):
        own = [item for item in chosen if item.source == source]
        for k in evenly(len(own), most or len(own)):
            case = read(own[k])
            if case.truth.any():
                yield case


def mistaken(alpha: Alpha, case: Case) -> NDArray[np.bool_]:
    """Return where an alpha is on the wrong side of 0.5, where the truth is known."""
    return ((alpha > 0.5) != case.truth) & case.known


def true_box(case: Case) -> tuple[float, float, float, float]:
    """Return the box of what is true, x0, y0, x1, y1 in shares of the photo."""
    top, left, bottom, right = bounding_box(case.truth)
    height, width = case.truth.shape
    return left / width, top / height, right / width, bottom / height


def place(pixel: tuple[int, int], case: Case) -> Point:
    """Return a pixel (row, column) as (x, y) in shares of the photo."""
    height, width = case.truth.shape
    return (pixel[1] + 0.5) / width, (pixel[0] + 0.5) / height


def answers(cutout: Cutout, case: Case) -> Iterator[tuple[str, Alpha]]:
    """Yield each of :data:`WAYS` and the alpha that comes of it, (H, W) float32 in 0..1."""
    looks = Looks(1 << 24)

    def ask(wanted: Selection) -> Alpha:
        return cutout.cut(case.photo, wanted, looks=looks).alpha

    yield WAYS[0], ask(EVERYTHING)
    box = true_box(case)
    alpha = ask(Selection(box=box))
    yield WAYS[1], alpha
    keep: list[Point] = []
    drop: list[Point] = []
    for _ in range(CLICKS):
        wrong = mistaken(alpha, case)
        if not wrong.any():
            break
        y, x = deepest(largest_mistake(wrong))
        (keep if case.truth[y, x] else drop).append(place((y, x), case))
        alpha = ask(Selection(box=box, points=tuple(keep), not_points=tuple(drop)))
    yield WAYS[2], alpha


def figures(alpha: Alpha, case: Case) -> tuple[float, float, float]:
    """Return PSNR in dB, IoU, and SAD in thousands, where the truth is known."""
    truth = case.alpha if case.alpha is not None else case.truth.astype(np.float32)
    seen, truth = alpha[case.known][None], truth[case.known][None]
    mse = float(np.square(seen - truth, dtype=np.float64).mean())
    return -10 * np.log10(max(mse, 1e-10)), iou(alpha > 0.5, case), sad(seen, truth)


def table(rows: dict[str, list[tuple[float, float, float]]]) -> str:
    """Return the means of what :func:`figures` said, by way, as Markdown."""
    lines = ["| told | photos | found | PSNR | IoU of 0.8 or more | SAD |", "| --- " * 6 + "|"]
    for way, kept in rows.items():
        psnr, overlap, errors = np.array(kept).T
        lines.append(
            f"| {way} | {len(kept)} | {(psnr > FOUND).mean():.0%} | {psnr.mean():.1f} dB "
            f"| {(overlap >= GOOD).mean():.0%} | {errors.mean():.2f} |"
        )
    return "\n".join(lines)


def on_photos(measure: Callable[..., None]) -> click.Command:
    """Make a command of what measures :func:`photos` of a folder with a stage-1 model."""
    for parameter in (
        click.option("--all", "everything", is_flag=True, help="No photo of DATA was trained on."),
        click.option("--most", default=12, help="Photos of a source, spread over it; 0 takes all."),
        click.option("--model", default=Settings.model, help="Stage 1."),
        click.argument("data_folder", metavar="DATA", type=click.Path(exists=True, path_type=Path)),
    ):
        measure = parameter(measure)
    return click.command(cls=Command, context_settings={"show_default": True})(measure)


@on_photos
def main(data_folder: Path, model: str, most: int, everything: bool) -> None:
    """Measure what a box and clicks are worth, on the held-out photos with truth of DATA."""
    cutout = Cutout(model=model)
    rows: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for number, case in enumerate(photos(data_folder, most, everything), 1):
        for way, alpha in answers(cutout, case):
            rows[way].append(figures(alpha, case))
        if number % 20 == 0:
            click.echo(f"{number} photos", err=True)
    if not rows[WAYS[0]]:
        raise click.ClickException(f"{data_folder} holds no held-out photo with truth")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
