"""The outcome of a run as plain data: what goes into JSON, and everything that is shown from it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from eval import cache, stats
from eval.methods import KINDS, Spec
from eval.metrics import METRICS
from eval.run import Plan, Row, Run, coarse_of
from eval.scenes import Dataset

SCHEMA = 1
FOUND_DB = 14.0  # coarse PSNR above which stage 1 is taken to have found the subject
PACKAGES = (
    "numpy", "onnxruntime", "opencv-python-headless", "pillow", "scikit-image",
    "rembg", "pymatting", "torch", "lpips",
)  # fmt: skip


def collect(
    dataset: Dataset,
    specs: Sequence[Spec],
    plan: Plan,
    run: Run,
    command: str = "",
    lpips: str | None = None,
) -> dict[str, Any]:
    """Put a run into one JSON-able dictionary.

    ``command`` is what was typed, ``lpips`` why there is none, or None.
    """
    labels = [spec.label for spec in specs]
    samples = [_sample(row, labels, run) for row in run.rows]
    return {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": machine(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "dataset": {
            "name": dataset.name,
            "title": dataset.title,
            "where": dataset.where,
            "terms": dataset.terms,
            "samples": len(run.rows),
            "skipped": run.skipped,
        },
        "plan": {"repeats": plan.repeats, "timeout": plan.timeout},
        "unavailable": {"lpips": lpips} if lpips else {},
        "metrics": {name: asdict(metric) for name, metric in METRICS.items()},
        "methods": [_method(spec, run, samples) for spec in specs],
        "samples": samples,
        "subsets": subsets(
            samples,
            [label for label in labels if label not in run.unavailable],
            coarse_of(specs),
        ),
    }


def _sample(row: Row, labels: Sequence[str], run: Run) -> dict[str, Any]:
    """One photo: its figures by method, and what failed on it."""
    return {
        "name": row.name,
        "size": list(row.size),
        "sha256": row.photo,
        "figures": {label: row.outcomes[label].figures for label in labels},
        "together": {label: row.outcomes[label].together for label in labels},
        "failures": {
            label: outcome.failure
            for label, outcome in row.outcomes.items()
            if outcome.failure and label not in run.unavailable
        },
    }


def _method(spec: Spec, run: Run, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One method: how it was made, and how it fared."""
    there = spec.label not in run.unavailable
    return {
        "label": spec.label,
        "kind": spec.kind,
        "summary": KINDS[spec.kind].summary,
        "options": {
            name: value if spec.kind == "command" or "/" not in value else Path(value).name
            for name, value in spec.options
        },
        "models": {
            option: {"file": path.name, "sha256": cache.checksums(spec)[option]}
            for option, path in (cache.model_files(spec).items() if there else ())
        },
        "versions": cache.versions(spec),
        "load_seconds": run.load_seconds.get(spec.label),
        "unavailable": run.unavailable.get(spec.label),
        "failures": sum(spec.label in sample["failures"] for sample in samples),
    }


def subsets(samples: list[dict[str, Any]], labels: list[str], coarse: str | None) -> dict[str, Any]:
    """Summarise all samples, and those on which stage 1 found the subject, where that differs."""
    groups = {"all": samples}
    if coarse in labels:
        good = [s for s in samples if s["figures"][coarse].get("psnr", 0) > FOUND_DB]
        if 0 < len(good) < len(samples):
            groups["found"] = good
    titles = {
        "all": "all images",
        "found": f"images where stage 1 found the subject (coarse PSNR > {FOUND_DB:g} dB)",
    }
    return {
        name: {
            "title": f"{titles[name]}, n = {len(group)}",
            "samples": [sample["name"] for sample in group],
            "means": {label: _means(group, label) for label in labels},
            "pairs": _pairs(group, labels),
            "time_ratios": _time_ratios(group, labels),
        }
        for name, group in groups.items()
    }


def _means(group: list[dict[str, Any]], label: str) -> dict[str, Any]:
    names = {name for sample in group for name in sample["figures"][label]}
    means = {}
    for name in sorted(names, key=_order):
        values = [s["figures"][label][name] for s in group if name in s["figures"][label]]
        means[name] = asdict(stats.mean(values))
    return means


def _pairs(group: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
    """Every two methods, first − second, over the images that both finished."""
    pairs: dict[str, Any] = {}
    for mine, theirs in ((a, b) for a in labels for b in labels if a != b):
        both: dict[str, list[tuple[float, float]]] = {}
        for sample in group:
            a, b = sample["figures"][mine], sample["figures"][theirs]
            for name in a.keys() & b.keys() - {"seconds", "megabytes"}:
                both.setdefault(name, []).append((a[name], b[name]))
        pairs.setdefault(mine, {})[theirs] = {
            name: asdict(
                stats.paired(
                    [a for a, _ in both[name]], [b for _, b in both[name]], higher_is_better(name)
                )
            )
            for name in sorted(both, key=_order)
        }
    return pairs


def _time_ratios(group: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
    """Time of the first by time of the second, from calls that were made in one go only."""
    ratios: dict[str, Any] = {}
    for mine, theirs in ((a, b) for a in labels for b in labels if a != b):
        times = [
            (sample["figures"][mine]["seconds"], sample["figures"][theirs]["seconds"])
            for sample in group
            if sample["together"][mine] == sample["together"][theirs] != ""
            and all("seconds" in sample["figures"][label] for label in (mine, theirs))
        ]
        if times:
            ratios.setdefault(mine, {})[theirs] = asdict(stats.ratio(*zip(*times, strict=True)))
    return ratios


def higher_is_better(figure: str) -> bool:
    """Return whether higher is better for a figure (``metric`` or ``metric@region``)."""
    return METRICS[figure.partition("@")[0]].higher_is_better


def machine() -> dict[str, Any]:
    """Describe the machine: CPU, cores that may be used, memory, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _order(figure: str) -> tuple[int, str]:
    name, _, region = figure.partition("@")
    return list(METRICS).index(name), region
