"""Run methods over a data set, fairly, and measure what they return.

Two phases, so that measuring never disturbs a time. First the methods: one call at a time on an
otherwise idle harness, photo by photo, all methods on a photo before the next, in an order that
rotates, ``repeats`` times; a method's first photo is run once more beforehand, untimed. Then the
figures, in as many processes as asked for.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from eval import cache
from eval.cache import Cache
from eval.methods import Input, Spec
from eval.methods.wisp import stage1_of
from eval.scenes import Dataset, DatasetError, Sample, Scene
from eval.worker import Answer, MethodFailed, MethodUnavailable, Worker

#: Wraps an iterable of known length to show how far it is: (items, total, title) to items.
Progress = Callable[[Iterable[Any], int, str], Iterator[Any]]


@dataclass(frozen=True)
class Plan:
    """How a data set is run."""

    repeats: int = 3  # times a call: a median of three shrugs off one disturbance
    timeout: float = 300.0  # s a call: no tool here needs a tenth of it on a megapixel
    jobs: int = 1  # processes that compute figures; methods always run alone
    fresh: bool = False  # run again what the cache has
    skip_bad: bool = False  # count unusable samples and go on, instead of stopping at the first
    lpips: bool = False


@dataclass
class Outcome:
    """What a method did on one photo: figures, or the reason for none."""

    figures: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    key: str = ""  # of the cutout in the cache
    together: str = ""  # times with the same value were taken in one go, and may be compared


@dataclass
class Row:
    """One photo of the data set, with the outcome of each method by label."""

    name: str
    sample: Sample
    size: tuple[int, int]  # width, height
    photo: str  # SHA-256 of its encoded bytes
    truth: str  # SHA-256 of everything that is known about it
    outcomes: dict[str, Outcome] = field(default_factory=dict)


@dataclass
class Run:
    """A finished run."""

    rows: list[Row]
    skipped: list[str]
    unavailable: dict[str, str]
    load_seconds: dict[str, float]


def silent(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
    """Show no progress."""
    yield from items


def execute(
    dataset: Dataset, specs: list[Spec], plan: Plan, store: Cache, progress: Progress = silent
) -> Run:
    """Run all methods on all samples, and measure.

    Raises :class:`eval.scenes.DatasetError` for an unusable sample, unless ``skip_bad``, and
    where nothing is left.
    """
    skipped = list(dataset.problems)
    if skipped and not plan.skip_bad:
        raise DatasetError(
            f"{len(skipped)} of {dataset.title} cannot be used (--skip-bad leaves them out): "
            + "; ".join(skipped[:3])
        )
    run = Run([], skipped, {}, {})
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(spec, plan.timeout)) for spec in specs]
        warm: set[str] = set()
        samples = progress(dataset.samples, len(dataset.samples), "methods")
        for number, sample in enumerate(samples):
            try:
                scene = sample.load()
            except (DatasetError, OSError) as error:
                if not plan.skip_bad:
                    raise DatasetError(f"{error} (--skip-bad leaves it out)") from error
                run.skipped.append(str(error))
                continue
            row = _row(sample, scene)
            run.rows.append(row)
            _run_photo(row, scene, _rotated(workers, number), warm, run, plan, store)
        for worker in workers:
            if worker.load_seconds is not None:
                run.load_seconds[worker.spec.label] = worker.load_seconds
    if not run.rows:
        raise DatasetError(f"{dataset.title} has no usable sample: " + "; ".join(run.skipped[:3]))
    _measure(run, specs, plan, store, progress)
    return run


def _row(sample: Sample, scene: Scene) -> Row:
    truth = hashlib.sha256(scene.data)
    for array in (scene.alpha, scene.trimap, scene.foreground):
        truth.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    height, width = scene.alpha.shape
    photo = hashlib.sha256(scene.data).hexdigest()
    return Row(sample.name, sample, (width, height), photo, truth.hexdigest())


def _rotated(workers: list[Worker], by: int) -> list[Worker]:
    by %= max(len(workers), 1)
    return workers[by:] + workers[:by]


def _run_photo(
    row: Row,
    scene: Scene,
    workers: list[Worker],
    warm: set[str],
    run: Run,
    plan: Plan,
    store: Cache,
) -> None:
    """Fill in a row's outcomes: from the cache, or by running what is not there."""
    pending: list[Worker] = []
    for worker in workers:
        label = worker.spec.label
        outcome = Outcome(key=cache.key(worker.spec, row.name, scene.data))
        row.outcomes[label] = outcome
        note = None if plan.fresh else store.note(outcome.key)
        if label in run.unavailable:
            outcome.failure = run.unavailable[label]
        elif note is not None and store.picture(outcome.key).is_file():
            outcome.figures.update(note["figures"])
            outcome.together = note["together"]
        else:
            pending.append(worker)

    photo = Input(row.name, scene.data, scene.image)
    together = uuid.uuid4().hex
    answers: dict[str, list[Answer]] = {worker.spec.label: [] for worker in pending}
    for turn in range(plan.repeats):
        for worker in _rotated(pending, turn):
            label = worker.spec.label
            outcome = row.outcomes[label]
            if outcome.failure:
                continue
            try:
                if label not in warm:
                    worker.ask(photo)
                    warm.add(label)
                answers[label].append(worker.ask(photo))
            except MethodUnavailable as error:
                outcome.failure = run.unavailable[label] = str(error)
            except MethodFailed as error:
                outcome.failure = str(error)
                warm.discard(label)  # its process may have been ended
    for label, answered in answers.items():
        outcome = row.outcomes[label]
        if outcome.failure:
            continue
        outcome.together = together
        for name in ("seconds", "megabytes"):
            values = [getattr(answer, name) for answer in answered]
            if None not in values:
                outcome.figures[name] = float(median(values))
        note = {"figures": outcome.figures, "together": together}
        store.keep(outcome.key, note, answered[0].cutout)


@dataclass(frozen=True)
class _Task:
    """One photo's cutouts to measure, small enough to send to another process."""

    sample: Sample
    cutouts: tuple[tuple[str, Path], ...]  # by label
    coarse: Path | None
    stage1: Spec | None  # what made that
    lpips: bool


def coarse_of(specs: Iterable[Spec]) -> str | None:
    """Return the label of the first method that is stage 1 alone, None where there is none."""
    return next((spec.label for spec in specs if spec.kind == "coarse"), None)


def _measure(run: Run, specs: Sequence[Spec], plan: Plan, store: Cache, progress: Progress) -> None:
    coarse_label = coarse_of(specs)
    stage1 = next((spec for spec in specs if spec.label == coarse_label), None)
    tasks: list[tuple[Row, dict[str, str], _Task]] = []
    for row in run.rows:
        # Everyone's ROI is the same: the one that Wisp would take from the coarse mask, if it ran.
        first = row.outcomes.get(coarse_label or "")
        coarse = first.key if first and not first.failure else None
        keys, cutouts = {}, []
        for label, outcome in row.outcomes.items():
            if outcome.failure:
                continue
            keys[label] = cache.score_key(outcome.key, row.truth, coarse, plan.lpips)
            note = store.note(keys[label])
            if note is None:
                cutouts.append((label, store.picture(outcome.key)))
            else:
                outcome.figures.update(note)
        if cutouts:
            mask = store.picture(coarse) if coarse else None
            tasks.append((row, keys, _Task(row.sample, tuple(cutouts), mask, stage1, plan.lpips)))

    if not tasks:
        return
    with ExitStack() as stack:
        if plan.jobs > 1:
            pool = ProcessPoolExecutor(plan.jobs, mp_context=get_context("spawn"))
            scores = stack.enter_context(pool).map(_score, [task for _, _, task in tasks])
        else:
            scores = map(_score, [task for _, _, task in tasks])
        done = progress(zip(tasks, scores, strict=True), len(tasks), "figures")
        for (row, keys, _), scores in done:
            for label, figures in scores.items():
                row.outcomes[label].figures.update(figures)
                store.keep(keys[label], figures)


def _score(task: _Task) -> dict[str, dict[str, float]]:
    """Measure one photo's cutouts, by label."""
    from eval.measure import measure  # scikit-image: only where figures are computed

    scene = task.sample.load()
    coarse, cells = None, (0, 0)
    if task.coarse is not None and task.stage1 is not None:
        cells = stage1_of(dict(task.stage1.options))(scene.image).cells
        coarse = np.asarray(Image.open(task.coarse))[..., 3].astype(np.float32) / np.float32(255)
    return {
        label: measure(np.asarray(Image.open(path)), scene, coarse, task.lpips, cells)
        for label, path in task.cutouts
    }
