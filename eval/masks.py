"""What Wisp makes of other tools' masks: ``python -m eval.masks DATA``.

Over held-out cutouts on backgrounds, whose alpha is exact, and held-out photos with soft mattes:
OpenCV's GrabCut begun from a box around the subject (Rother et al., 2004), the subject's outline
drawn with 20 points, and with ``--model`` what another stage-1 network finds by itself. SAD against
the truth, of the mask as it is and as ``Cutout()(photo, mask=…)`` redraws it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from eval.confidence import Case, cases
from eval.metrics import sad
from pipeline import Cutout, snap
from pipeline.cli.command import Command

POINTS = 20
ROUNDS = 5
RIGHT = 0.8  # IoU with the truth from which on a mask counts as right

Mask = NDArray[np.float32]


def grabcut(case: Case) -> Mask:
    """Cut the subject out with GrabCut, from a box 3 % wider than it is."""
    height, width = case.truth.shape
    x, y, w, h = cv2.boundingRect(case.truth.astype(np.uint8))
    spare = round(0.03 * max(w, h))
    left, top = max(1, x - spare), max(1, y - spare)
    right, bottom = min(width - 1, x + w + spare), min(height - 1, y + h + spare)
    labels = np.full(case.truth.shape, cv2.GC_BGD, np.uint8)
    labels[top:bottom, left:right] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)
    return snap.grabcut(case.photo[..., ::-1], labels, ROUNDS)


def polygon(case: Case) -> Mask:
    """Draw the outline of the largest piece with so many points, evenly along it."""
    outlines, _ = cv2.findContours(
        case.truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    longest = max(outlines, key=len)[:, 0]
    corners = longest[np.linspace(0, len(longest), POINTS, endpoint=False).astype(int)]
    drawn = np.zeros(case.truth.shape, np.uint8)
    cv2.fillPoly(drawn, [np.asarray(corners, np.int32)], 1)
    return drawn.astype(np.float32)


Tools = dict[str, Callable[[Case], Mask]]
TOOLS: Tools = {"GrabCut": grabcut, "20 points": polygon}


def network(model: str) -> Callable[[Case], Mask]:
    """Return what finds the subject with one look of a stage-1 network."""
    cutout = Cutout(model=model, refine=False, views=1)
    return lambda case: cutout(case.photo).coarse


def pairs(
    cutout: Cutout, cases: Iterator[Case], tools: Tools
) -> Iterator[tuple[str, float, float, bool]]:
    """Yield the tool, SAD of its mask before and after, and whether the mask is right."""
    for case in cases:
        truth = case.alpha
        if truth is None or not case.truth.any():
            continue
        for name, tool in tools.items():
            mask = tool(case)
            inside, any_ = (mask > 0.5) & case.truth, (mask > 0.5) | case.truth
            after = cutout(case.photo, mask=mask).alpha
            right = inside.sum() >= RIGHT * any_.sum()
            yield name, sad(mask, truth), sad(after, truth), bool(right)


@click.command(cls=Command)
@click.argument("data_folder", metavar="DATA", type=click.Path(exists=True, path_type=Path))
@click.option("--composites", default=40, show_default=True, help="Cutouts on backgrounds.")
@click.option("--model", "models", multiple=True, help="A stage-1 model, too; repeatable.")
def main(data_folder: Path, composites: int, models: tuple[str, ...]) -> None:
    """Measure what stage 2 makes of the masks of other tools."""
    tools = TOOLS | {Path(model).stem: network(model) for model in models}
    rows: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in tools}
    found = cases(data_folder, composites, soft=True)
    for name, before, after, right in pairs(Cutout(), found, tools):
        rows[name].append((before, after, right))
    click.echo("| masks | right ones | SAD before | after | change | worse by over 5 % |")
    click.echo("| --- " * 6 + "|")
    for name, outcomes in rows.items():
        kept = np.array([(b, a) for b, a, right in outcomes if right])
        if not len(kept):
            continue
        before, after = kept.mean(0)
        click.echo(
            f"| {name} | {len(kept)} of {len(outcomes)} | {before:.2f} | {after:.2f} "
            f"| {after / before - 1:+.0%} | {(kept[:, 1] > 1.05 * kept[:, 0]).mean():.0%} |"
        )


if __name__ == "__main__":
    main()
