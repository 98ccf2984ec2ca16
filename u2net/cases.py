"""What networks are compared on beyond one mask a photo: composed scenes, and hints.

    python -m u2net.cases WEIGHTS/coarse.onnx u2netp isnet-general-use --prepared DIR

A case is a held-out photo, or a scene composed of held-out pieces (:mod:`u2net.scenes`), with the
one of its subjects that a hint means. A network that can be told hints is also given the true box,
and then three clicks, each on the largest mistake of the answer before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import coarse, models
from pipeline.cli.command import Command
from u2net import hints, metrics, scenes
from u2net.dataset import Prepared, evenly
from u2net.drawings import drawing
from u2net.evaluate import open_network, subject_map, takes_hints
from u2net.prepare import read_pieces
from u2net.pseudo import CPU
from u2net.scenes import Map
from u2net.settings import SIZE

#: Tells a network's map of a photo (S, S, 3) uint8 and hints (2, S, S): (S, S) float32 in 0..1.
Answer = Callable[[NDArray[np.uint8], NDArray[np.float32]], Map]
CLICKS = 3
FOUND = 14.0  # dB of the map: below, the subject was not found
WAYS = ("plain", "box", "clicks")
ALL = "all photos"  # the last rows of the table


@dataclass(frozen=True)
class Case:
    """``photo`` (S, S, 3) uint8, ``truth`` (S, S) in 0..1, and what a hint means of it."""

    source: str
    photo: NDArray[np.uint8]
    truth: Map
    meant: Map


def asker(network: str) -> tuple[Answer, bool]:
    """Open a U²-Net-P of this training (a file), or a stage-1 model by its name, as in use.

    Returns what asks it, and whether it can be told hints. Raises as :func:`models.coarse_model`.
    """
    if not network.endswith(".onnx"):
        session, card = models.open_coarse(models.coarse_model(network), CPU, 0)
        return lambda photo, _: _square(coarse.predict(session, card, photo)), False
    own = open_network(Path(network))
    hinted = takes_hints(own)
    low, high = models.catalogue.CONFIDENT

    def ask(photo: NDArray[np.uint8], planes: NDArray[np.float32]) -> Map:
        return np.clip((subject_map(own, photo, planes) - low) / (high - low), 0, 1)

    return ask, hinted


def _square(mask: Map) -> Map:
    return np.asarray(cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.float32)


def photo_cases(held: Prepared, most: int) -> Iterator[Case]:
    """Yield held-out photos with truth, at most ``most`` of a source, spread over it; 0 is all."""
    for source in np.unique(held.sources[held.has_truth]):
        inside = np.flatnonzero((held.sources == source) & held.has_truth)
        for k in inside[evenly(len(inside), most or len(inside))]:
            truth = held.pack[k][..., 3].astype(np.float32) / 255
            yield Case(str(source), held.pack[k][..., :3], truth, truth)


def scene_cases(prepared: Path, count: int) -> Iterator[Case]:
    """Yield ``count`` scenes of held-out products, and a sixth as many of each other kind."""
    pieces = read_pieces(prepared, "held")
    kinds = {"products": count, "light": count // 6, "drawing": count // 6, "empty": count // 6}
    for number, (kind, many) in enumerate(kinds.items()):
        for i in range(many):
            rng = np.random.default_rng((2026, number, i))
            if kind == "drawing":
                scene = drawing(rng, SIZE)
            elif kind == "empty":
                scene = scenes.empty(rng, pieces, SIZE)
            else:
                scene = scenes.arranged(rng, pieces, SIZE, "products", light=kind == "light")
            seen = [part for part in scene.parts if (part > 0.5).mean() > 0.003]
            yield Case(f"scene:{kind}", scene.photo, scene.truth, seen[0] if seen else scene.truth)


def answers(ask: Answer, case: Case, hinted: bool) -> Iterator[tuple[str, Map, Map]]:
    """Yield (way, map, what it should be) of a case: plain and, if ``hinted``, by hints."""
    nothing = np.zeros((2, SIZE, SIZE), np.float32)
    yield "plain", ask(case.photo, nothing), case.truth
    mask = case.meant > 0.5
    if not (hinted and mask.any()):
        return
    box = hints.bounding_box(mask)
    clicks = nothing.copy()

    def told() -> Map:
        planes = nothing.copy()
        strength = hints.FAINT if clicks[hints.KEEP].any() else 1.0  # as in use
        hints.draw_box(planes[hints.KEEP], box, strength)
        return ask(case.photo, np.maximum(planes, clicks))

    answer = told()
    yield "box", answer, case.meant
    for _ in range(CLICKS):
        clicks = hints.correction(clicks, answer, case.meant)
        answer = told()
    yield "clicks", answer, case.meant


def table(networks: dict[str, tuple[Answer, bool]], cases: list[Case]) -> str:
    """Return a Markdown table: for each source, for all photos, and for each way, each network.

    ``networks`` are answers by name, and whether they can be told hints. Max F (beta² 0.3),
    MAE, the share of cases with an IoU of 0.9 or more, of those found (a PSNR above
    14 dB), and the mean PSNR.
    """
    rows: dict[tuple[str, str, str], list[tuple]] = defaultdict(list)
    for case in cases:
        for name, (ask, hinted) in networks.items():
            for way, answer, truth in answers(ask, case, hinted):
                error = max(float(((answer - truth) ** 2).mean()), 1e-6)
                figures = (
                    metrics.precision_recall(answer, truth),
                    float(np.abs(answer - truth).mean()),
                    metrics.iou(answer, truth) >= 0.9,
                    -10 * np.log10(error),
                )
                rows[case.source, way, name].append(figures)
                if not case.source.startswith("scene:"):
                    rows[ALL, way, name].append(figures)
    lines = [
        "| held out | told | n | network | max F | MAE | IoU ≥ 0.9 | found | PSNR |",
        "| --- " * 9 + "|",
    ]
    order = {key: n for n, key in enumerate([*dict.fromkeys(case.source for case in cases), ALL])}
    for source, way, name in sorted(rows, key=lambda r: (order[r[0]], WAYS.index(r[1]))):
        curves, mae, right, psnr = zip(*rows[source, way, name], strict=True)
        lines.append(
            f"| {source} | {way} | {len(mae)} | {name} | {metrics.max_f_beta(list(curves)):.3f} "
            f"| {np.mean(mae):.4f} | {np.mean(right):.0%} "
            f"| {np.mean(np.array(psnr) > FOUND):.0%} | {np.mean(psnr):.1f} |"
        )
    return "\n".join(lines)


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("networks", nargs=-1, required=True)
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--most", default=60, help="Photos of a source, spread over it; 0 takes all.")
@click.option("--scenes", "count", default=200, help="Scenes of products; a sixth of each other.")
def main(networks: tuple[str, ...], prepared: Path, most: int, count: int) -> None:
    """Measure NETWORKS (files, names of models) on held-out photos and scenes, and by hints."""
    cases = [*photo_cases(Prepared(prepared, "held"), most), *scene_cases(prepared, count)]
    click.echo(table({Path(name).stem: asker(name) for name in networks}, cases))


if __name__ == "__main__":
    main()
