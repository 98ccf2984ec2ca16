"""What networks are compared on beyond one mask a photo: composed scenes, and hints.

    python -m u2net.cases WEIGHTS/coarse.onnx u2netp isnet-general-use --prepared DIR
    python -m u2net.cases wisp u2netp --prepared DIR --data DATA --looks 2   # as in use

A case is a held-out photo, or a scene composed of held-out pieces (:mod:`u2net.scenes`), with the
one of its subjects that a hint means. A network that can be told hints is also given the true box,
and then three clicks, each on the largest mistake of the answer before it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from eval.confidence import read
from pipeline import models, views
from pipeline.cli.command import Command
from u2net import hints, metrics, scenes
from u2net.dataset import Prepared, evenly
from u2net.drawings import drawing
from u2net.evaluate import open_network, subject_map, takes_hints
from u2net.prepare import find_held, read_pieces
from u2net.pseudo import CPU
from u2net.scenes import Map
from u2net.settings import SIZE

#: Tells a network's map of a photo (H, W, 3) uint8 and hints (2, S, S): (H, W) float32 in 0..1.
#: One that is told hints sees photos of S × S px alone.
Answer = Callable[[NDArray[np.uint8], NDArray[np.float32]], Map]
CLICKS = 3
FOUND = 14.0  # dB of the map: below, the subject was not found
WAYS = ("plain", "box", "clicks")
ALL = "all photos"  # the last rows of the table
SEVERAL, EMPTY = "scene:several products", "scene:empty"


@dataclass(frozen=True)
class Case:
    """``photo`` (H, W, 3) uint8, ``truth`` (H, W) in 0..1, and what a hint means of it.

    ``also`` is another row of the table, beside its source's, that it counts in.
    """

    source: str
    photo: NDArray[np.uint8]
    truth: Map
    meant: Map
    also: str = ""


def asker(network: str, looks: int = 1) -> tuple[Answer, bool]:
    """Open a U²-Net-P of this training (a file), or a stage-1 model by its name, as in use.

    The latter looks at a photo once or twice (:func:`pipeline.views.see`), a file once.

    Returns what asks it, and whether it can be told hints. Raises as :func:`models.coarse_model`.
    """
    if not network.endswith(".onnx"):
        session, card = models.open_coarse(models.coarse_model(network), CPU, 0)
        return lambda photo, _: views.see(session, card, photo, looks).mask, False
    own = open_network(Path(network))
    hinted = takes_hints(own)
    low, high = models.catalogue.CONFIDENT

    def ask(photo: NDArray[np.uint8], planes: NDArray[np.float32]) -> Map:
        return np.clip((subject_map(own, photo, planes) - low) / (high - low), 0, 1)

    return ask, hinted


def photo_cases(held: Prepared, most: int) -> Iterator[Case]:
    """Yield held-out photos with truth, at most ``most`` of a source, spread over it; 0 is all."""
    for source in np.unique(held.sources[held.has_truth]):
        inside = np.flatnonzero((held.sources == source) & held.has_truth)
        for k in inside[evenly(len(inside), most or len(inside))]:
            truth = held.pack[k][..., 3].astype(np.float32) / 255
            yield Case(str(source), held.pack[k][..., :3], truth, truth, ALL)


def whole_photos(root: Path, most: int) -> Iterator[Case]:
    """Yield the same from a data folder, not squashed, at most ``eval.confidence.LONGEST`` px."""
    items = [item for item in find_held(root)[0] if item.truth]
    for source in sorted({item.source for item in items}):
        inside = [item for item in items if item.source == source]
        for k in evenly(len(inside), most or len(inside)):
            case = read(inside[k])
            truth = case.truth.astype(np.float32) if case.alpha is None else case.alpha
            yield Case(source, case.photo, truth, truth, ALL)


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
            meant = seen[0] if seen else scene.truth
            also = SEVERAL if kind == "products" and len(seen) > 1 else ""
            yield Case(f"scene:{kind}", scene.photo, scene.truth, meant, also)


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


def table(networks: dict[str, tuple[Answer, bool]], cases: Iterable[Case]) -> str:
    """Return a Markdown table: for each source, for all photos, and for each way, each network.

    ``networks`` are answers by name, and whether they can be told hints. Max F (beta² 0.3),
    MAE, the share of cases with an IoU of 0.9 or more, of those found (a PSNR above
    14 dB), and the mean PSNR. Of scenes without a subject max F says nothing, and an IoU of 1
    means that the map stays empty: nothing in it is likelier in than out.
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
                for row in filter(None, (case.source, case.also)):
                    rows[row, way, name].append(figures)
    lines = [
        "| held out | told | n | network | max F | MAE | IoU ≥ 0.9 or empty | found | PSNR |",
        "| --- " * 9 + "|",
    ]
    order = [source for source in dict.fromkeys(key[0] for key in rows) if source != ALL] + [ALL]
    for source, way, name in sorted(rows, key=lambda r: (order.index(r[0]), WAYS.index(r[1]))):
        curves, mae, right, psnr = zip(*rows[source, way, name], strict=True)
        best = "–" if source == EMPTY else f"{metrics.max_f_beta(list(curves)):.3f}"
        lines.append(
            f"| {source} | {way} | {len(mae)} | {name} | {best} "
            f"| {np.mean(mae):.4f} | {np.mean(right):.0%} "
            f"| {np.mean(np.array(psnr) > FOUND):.0%} | {np.mean(psnr):.1f} |"
        )
    return "\n".join(lines)


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("networks", nargs=-1, required=True)
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Take the photos from here, as they are, not as prepared. Names of models only.",
)
@click.option("--looks", type=click.IntRange(1, 2), default=1, help="2: as in use. Names only.")
@click.option("--most", default=60, help="Photos of a source, spread over it; 0 takes all.")
@click.option("--scenes", "count", default=200, help="Scenes of products; a sixth of each other.")
def main(
    networks: tuple[str, ...],
    prepared: Path,
    data: Path | None,
    looks: int,
    most: int,
    count: int,
) -> None:
    """Measure NETWORKS (files, names of models) on held-out photos and scenes, and by hints."""
    if (data or looks > 1) and any(name.endswith(".onnx") for name in networks):
        raise click.UsageError("A file sees prepared photos, once. Leave out --data and --looks.")
    photos = whole_photos(data, most) if data else photo_cases(Prepared(prepared, "held"), most)
    cases = itertools.chain(photos, scene_cases(prepared, count))
    click.echo(table({Path(name).stem: asker(name, looks) for name in networks}, cases))


if __name__ == "__main__":
    main()
