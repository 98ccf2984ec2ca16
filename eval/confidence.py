"""Measure stage 1 on photos it has not seen, and fit its confidence (:mod:`pipeline.confidence`).

``python -m eval.confidence DATA`` runs stage 1 on photos that it was not trained on: those that its
last recipe holds out of every folder with true masks, and, if asked for, held-out cutouts laid on
held-out backgrounds. Every figure is of photos that the coefficients were not fitted on: a fifth,
by a hash of their names, is scored by a fit of the other four (cross-validation; Hastie et al.,
2009, "The Elements of Statistical Learning", section 7.10). What is written is a fit of all, and
the threshold of all these scores; the last column has one of the other four fifths instead.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline import confidence, files, image_io, models, views
from pipeline.cli.command import Command
from pipeline.looks import Looks
from pipeline.settings import Settings
from u2net.prepare import Item, composite, find_held

GOOD = 0.8  # IoU with the truth from which on a subject counts as whole
ALARMS = 0.05  # share of good photos that may be called unsure
LONGEST = 1280  # px; stage 1 sees no more
PULL = 1e-2  # of the weights towards zero, beside a mean log-likelihood
BINS = 10
FOLDS = 5
LOOKS = 1 << 24  # bytes: all looks at a photo

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A photo, (H, W, 3) uint8, its true mask, (H, W) bool, and where the truth is known; its true
    alpha, (H, W) float32 in 0..1, where that is known too."""

    name: str
    photo: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]
    alpha: NDArray[np.float32] | None = None


def cases(root: Path, composites: int, soft: bool = False) -> Iterator[Case]:
    """Yield the held-out photos with truth below a folder, then composites of held-out cutouts.

    ``soft`` leaves out the photos whose truth is no alpha.
    """
    items, cutouts, backgrounds = find_held(root)
    for item in items:
        if item.truth and (not soft or item.truth.parent.name == "alphas"):
            yield read(item)
    for number in range(composites if cutouts and backgrounds else 0):
        rng = np.random.default_rng((2023, number))
        cutout = cutouts[number % len(cutouts)]
        ground = backgrounds[rng.integers(len(backgrounds))]
        photo, alpha = composite(rng, cutout, ground, 640)
        known = np.ones(alpha.shape, bool)
        yield Case(f"composite/{number}", photo, alpha > 127, known, alpha / np.float32(255))


def read(item: Item) -> Case:
    """Read a photo with truth, its longer side at most :data:`LONGEST`."""
    assert item.truth is not None
    with Image.open(item.truth) as opened:
        mask = np.asarray(opened.convert("L"))
    with Image.open(item.path) as opened:
        photo = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    photo, mask = _limited(photo, mask)
    alpha = mask / np.float32(255) if item.truth.parent.name == "alphas" else None
    unknown = (mask > 100) & (mask < 156) & (len(np.unique(mask)) <= 3)
    return Case(f"{item.source}/{item.path.stem}", photo, mask > 127, ~unknown, alpha)


def _limited(
    photo: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    height, width = photo.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    size = (round(width * scale), round(height * scale))
    if scale < 1:
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    if mask.shape != photo.shape[:2]:
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return photo, mask


def iou(mask: NDArray[np.bool_], case: Case) -> float:
    """Intersection over union with the truth, where it is known; 1 where both are empty."""
    both, any_ = mask & case.truth & case.known, (mask | case.truth) & case.known
    return float(both.sum() / any_.sum()) if any_.any() else 1.0


def fit(figures: Array, good: NDArray[np.bool_]) -> tuple[Array, float]:
    """Fit a logistic regression; return its weights and constant.

    ``figures`` (N, K), ``good`` (N,). Maximum likelihood, with a slight pull of the weights (in
    units of each figure's spread) towards zero.
    """
    from scipy.optimize import minimize

    middle, spread = figures.mean(0), figures.std(0) + 1e-3
    scaled = (figures - middle) / spread
    sign = np.where(good, 1.0, -1.0)

    def loss(unknown: Array) -> float:
        margin = sign * (scaled @ unknown[1:] + unknown[0])
        return float(np.logaddexp(0, -margin).mean() + PULL * np.square(unknown[1:]).sum())

    solution = minimize(loss, np.zeros(figures.shape[1] + 1), method="BFGS").x
    weights = solution[1:] / spread
    return weights, float(solution[0] - weights @ middle)


def auroc(score: Array, good: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how likely a good photo has a higher score than a bad one.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    from scipy.stats import rankdata

    wins = rankdata(score)[good].sum() - good.sum() * (good.sum() + 1) / 2
    return float(wins / (good.sum() * (~good).sum()))


def threshold(score: Array, good: NDArray[np.bool_]) -> float:
    """Return the confidence below which :data:`ALARMS` of the good photos lie, to two digits."""
    return math.floor(float(np.quantile(score[good], ALARMS, method="lower")) * 100) / 100


def diagram(score: Array, good: NDArray[np.bool_], title: str, out: Path) -> None:
    """Write a reliability diagram, PNG: the share of good ones in each tenth of the confidence."""
    import matplotlib.pyplot as plt

    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    figure, axes = plt.subplots(figsize=(6, 6), layout="constrained")
    axes.plot((0, 1), (0, 1), color="#bbb")
    for inside in (bins == number for number in range(BINS)):
        if inside.any():
            place = float(score[inside].mean()), float(good[inside].mean())
            axes.scatter(*place, 60 + 1200 * inside.mean(), color="#1e6fd9")
            axes.annotate(str(int(inside.sum())), place, (9, 9), textcoords="offset points")
    axes.set(title=title, xlabel="confidence", ylabel="share with IoU of 0.8 or more")
    with files.placing(out) as part:
        figure.savefig(part, format="png", dpi=90)
    plt.close(figure)


@dataclass(frozen=True)
class Outcome:
    """What stage 1 made of a photo: the ``figures`` (K,) of its confidence, the IoU of its mask
    with the truth, and the mean absolute ``error``, 0..1."""

    name: str
    figures: Array
    overlap: float
    error: float


def examine(
    session: models.Session, card: models.CoarseModel, cases: Iterator[Case]
) -> dict[int, list[Outcome]]:
    """Run stage 1 on all cases, with one look and with two; return what came of them by looks."""
    outcomes: dict[int, list[Outcome]] = {1: [], 2: []}
    # The looks at the whole are the same ones, whether another follows or not.
    once = Looks(LOOKS).through(session, card.path.name)
    for number, case in enumerate(cases):
        if number % 50 == 0:
            click.echo(f"{number} photos", err=True)
        truth = case.truth if case.alpha is None else case.alpha
        for looks, kept in outcomes.items():
            sight = views.see(once, card, case.photo, looks)
            error = float(np.abs(sight.mask - truth)[case.known].mean())
            overlap = iou(sight.mask > 0.5, case)
            kept.append(Outcome(case.name, confidence.figures(sight), overlap, error))
    return outcomes


def fold(name: str) -> int:
    """Return which fifth of the photos one belongs to, 0..4, by a hash of its name."""
    return hashlib.sha1(name.encode()).digest()[0] % FOLDS


def unseen(figures: Array, good: NDArray[np.bool_], folds: NDArray[np.int64]) -> Array:
    """Score each photo by a fit of the folds that it is not in: (N,) in 0..1."""
    score = np.zeros(len(good))
    for held in np.unique(folds):
        weights, constant = fit(figures[folds != held], good[folds != held])
        score[folds == held] = 1 / (1 + np.exp(-figures[folds == held] @ weights - constant))
    return score


def alarmed(figures: Array, good: NDArray[np.bool_], folds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which photos are called unsure by a fit and a threshold of the folds they are not in."""
    score = unseen(figures, good, folds)
    alarms = np.zeros(len(good), bool)
    for held in np.unique(folds):
        rest = folds != held
        inner = unseen(figures[rest], good[rest], folds[rest])
        alarms[~rest] = score[~rest] < threshold(inner, good[rest])
    return alarms


@click.command(cls=Command)
@click.argument("data_folder", metavar="DATA", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default=Settings.model, show_default=True, help="Stage 1.")
@click.option("--composites", default=0, show_default=True, help="Cutouts on backgrounds, too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the reliability diagram, PNG.")
@click.option("--write", is_flag=True, help="Write the coefficients into the package.")
def main(data_folder: Path, model: str, composites: int, plot: Path | None, write: bool) -> None:
    """Measure stage 1 and its confidence on the held-out photos of DATA; fit the latter."""
    session, card = models.open_coarse(models.coarse_model(model), Settings.providers, 0)
    entries = {}
    lines = [
        "| looks | photos | mean absolute error | IoU of 0.8 or more | of 0.9 or more | AUROC "
        "| good ones called unsure | bad ones | both, at thresholds of other photos |",
        "| --- " * 9 + "|",
    ]
    for looks, outcomes in examine(session, card, cases(data_folder, composites)).items():
        figures = np.array([outcome.figures for outcome in outcomes])
        overlaps = np.array([outcome.overlap for outcome in outcomes])
        error = np.mean([outcome.error for outcome in outcomes])
        good, folds = overlaps >= GOOD, np.array([fold(outcome.name) for outcome in outcomes])
        score = unseen(figures, good, folds)
        unsure, alarms = threshold(score, good), alarmed(figures, good, folds)
        lines.append(
            f"| {looks} | {len(good)} | {error:.4f} | {good.mean():.0%} "
            f"| {(overlaps >= 0.9).mean():.0%} | {auroc(score, good):.3f} "
            f"| {(score[good] < unsure).mean():.1%} | {(score[~good] < unsure).mean():.0%} "
            f"| {alarms[good].mean():.1%}, {alarms[~good].mean():.0%} |"
        )
        weights, constant = fit(figures, good)
        entries[str(looks)] = {
            "weights": dict(zip(confidence.FIGURES, weights.round(4).tolist(), strict=True)),
            "constant": round(constant, 4),
            "unsure": unsure,
            "measured_on": len(good),
            "auroc": round(auroc(score, good), 4),
        }
    click.echo("\n".join(lines))
    if plot:
        diagram(score, good, f"Confidence of {len(good)} held-out photos", plot)
    if write:
        facts = {"model": model, "sha256": models.checksum(card.path), "looks": entries}
        image_io.write(confidence.FILE, json.dumps(facts, indent=2).encode() + b"\n")


if __name__ == "__main__":
    main()
