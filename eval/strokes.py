"""What strokes of the brush are worth, and how long one waits: ``python -m eval.strokes DATA``.

Each photo is cut out as by default. Then strokes are drawn with :meth:`pipeline.Cutout.retouch`,
each along the largest mistake that is left, as a person would (:mod:`eval.hand`).

Times are of photos resized, in their proportions, to as many pixels as 1920×1080 has: of the same
strokes, and of a click in the middle of the subject and its true box where the first look is kept
(:class:`pipeline.looks.Looks`) as the page's server keeps it. All are with stage 2, and without
the way to a browser. Beside what one waits stands what the processors worked, which other work on
the machine hardly changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np

from eval.confidence import LOOKS, Case
from eval.hand import next_stroke
from eval.hints import FOUND, figures, on_photos, photos, place, true_box
from pipeline import Cutout, Result, Settings, retouch
from pipeline.looks import Looks
from pipeline.retouch import Stroke
from pipeline.selection import EVERYTHING, Selection
from u2net.hints import deepest

STROKES = (0, 2, 4)
PIXELS = 1920 * 1080
TIMED = 4  # every so many-th photo is timed
WANTED = 0.3  # seconds
FIRST = "the first look"

Figures = tuple[float, float, float]


@dataclass
class Measured:
    """Of each photo :func:`eval.hints.figures` after each of :data:`STROKES`; seconds of waiting
    and of processors, by what was done; strokes drawn, and pixels that changed far from one."""

    figures: list[list[Figures]] = field(default_factory=list)
    seconds: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    strokes: int = 0
    beyond: int = 0

    def timed(self, what: str, work: Callable[[], Result]) -> Result:
        start, spent = time.perf_counter(), time.process_time()
        result = work()
        taken = time.perf_counter() - start, time.process_time() - spent
        self.seconds.setdefault(what, []).append(taken)
        return result

    def drew(self, cutout: Cutout, drawn: Stroke, before: Result, after: Result) -> None:
        self.strokes += 1
        self.beyond += beyond(drawn, before, after, cutout.settings)


def beyond(drawn: Stroke, before: Result, after: Result, settings: Settings) -> int:
    """Count the pixels that changed, in alpha or colours, farther away than a stroke may reach."""
    height, width = before.alpha.shape
    margin = retouch.margin((height, width), before.cells, settings)
    wide = replace(drawn, width=min(1.0, drawn.width + 2 * (margin + 1) / max(height, width)))
    whole = Stroke(((0.5, 0.5),), 1.0, True).box((height, width), max(height, width))
    near = wide.cover((height, width), whole) > 0
    changed = (before.alpha != after.alpha) | (before.foreground != after.foreground).any(-1)
    return int((changed & ~near).sum())


def corrected(
    cutout: Cutout, case: Case, result: Result, kept: Measured
) -> Iterator[tuple[Stroke | None, Result]]:
    """Draw stroke after stroke; yield each and what it makes of a result, first None and itself.
    None stands for those that nobody would draw, too."""
    rng = np.random.default_rng(5)
    yield None, result
    for _ in range(max(STROKES)):
        drawn = next_stroke(result.alpha, case, rng)
        if drawn:
            before, result = result, cutout.retouch(result, drawn)
            kept.drew(cutout, drawn, before, result)
        yield drawn, result


def wait(cutout: Cutout, case: Case, strokes: list[Stroke], kept: Measured) -> None:
    """Time, at 1080p, what one waits for: each stroke, a click, and a box."""
    height, width = case.truth.shape
    scale = math.sqrt(PIXELS / (height * width))
    size = round(width * scale), round(height * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photo = np.asarray(cv2.resize(case.photo, size, interpolation=how), np.uint8)
    looks = Looks(LOOKS)  # in the server there is room for those of several photos

    def ask(wanted: Selection) -> Result:
        return cutout.cut(photo, wanted, looks=looks)

    result = kept.timed(FIRST, lambda: ask(EVERYTHING))
    at = place(deepest(case.truth), case)
    kept.timed("a click to keep", lambda: ask(Selection(points=(at,))))
    kept.timed("a box", lambda: ask(Selection(box=true_box(case))))
    for drawn in strokes:
        before = result
        result = kept.timed("a stroke", partial(cutout.retouch, before, drawn))
        kept.drew(cutout, drawn, before, result)


def measure(cutout: Cutout, cases: Iterator[Case]) -> Measured:
    """Measure each photo, and tell of it on stderr."""
    kept = Measured()
    for number, case in enumerate(cases):
        steps = list(corrected(cutout, case, cutout.cut(case.photo), kept))
        kept.figures.append([figures(steps[count][1].alpha, case) for count in STROKES])
        if number % TIMED == 0:
            wait(cutout, case, [drawn for drawn, _ in steps if drawn], kept)
        told = ", ".join(f"{psnr:.1f} dB" for psnr, _, _ in kept.figures[-1])
        click.echo(f"{case.name}: {told}", err=True)
    return kept


def table(rows: list[list[Figures]]) -> str:
    """Return the means after each of :data:`STROKES`, of all photos and of those not found at
    first, as Markdown. What is left of the SAD is a geometric mean of the photos drawn on."""
    lines = ["| photos | strokes | found | PSNR | SAD of what it was |", "| --- " * 5 + "|"]
    every = np.array(rows)  # (photos, STROKES, 3)
    for name, some in (("all", every), ("not found", every[every[:, 0, 0] <= FOUND])):
        drawn = some[(some != some[:, :1]).any((1, 2))]
        for k, count in enumerate(STROKES if len(some) else ()):
            psnr, sad = some[:, k, 0], np.maximum(drawn[..., 2], 1e-3)
            left = np.exp(np.log(sad[:, k] / sad[:, 0]).mean()) if len(drawn) else 1.0
            found = f"{(psnr > FOUND).mean():.0%} | {psnr.mean():.1f} dB"
            lines.append(f"| {name}, {len(some)} | {count or 'none'} | {found} | {left:.2f} |")
    return "\n".join(lines)


def times(seconds: dict[str, list[tuple[float, float]]]) -> str:
    """Return what was waited for, as Markdown."""
    lines = ["| at 1080p | times | median | slowest | of processors | wanted |"]
    lines += ["| --- " * 6 + "|"]
    for what, taken in seconds.items():
        waited, worked = np.array(taken).T
        spent = f"{np.median(waited):.2f} s | {waited.max():.2f} s | {np.median(worked):.2f} s"
        wanted = f"{WANTED} s" if what != FIRST else ""
        lines.append(f"| {what} | {len(taken)} | {spent} | {wanted} |")
    return "\n".join(lines)


@on_photos
def main(data_folder: Path, model: str, most: int, everything: bool) -> None:
    """Measure strokes on the held-out photos with truth of DATA, and seconds at 1080p."""
    kept = measure(Cutout(model=model), photos(data_folder, most, everything))
    if not kept.figures:
        raise click.ClickException(f"{data_folder} holds no held-out photo with truth")
    click.echo(table(kept.figures))
    click.echo(f"\n{kept.beyond} pixels changed beyond the reach of {kept.strokes} strokes\n")
    click.echo(times(kept.seconds))


if __name__ == "__main__":
    main()
