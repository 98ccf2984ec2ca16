"""Results as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

#: The columns of the quality table; those that no method has are left out.
QUALITY = (
    "psnr", "ssim", "lpips", "sad", "mse", "gradient", "connectivity", "psnr@edge", "foreground",
    "composite",
)  # fmt: skip
REGIONS = {"edge": "within 10 px of the edge", "unknown": "unknown area", "roi": "in the ROI"}


def heading(results: dict[str, Any], figure: str) -> str:
    """Return how a figure is called: label, unit, region, and which way is better."""
    name, _, region = figure.partition("@")
    metric = results["metrics"][name]
    unit = f" {metric['unit']}" if metric["unit"] else ""
    where = f" {REGIONS[region]}" if region else ""
    return f"{metric['label']}{unit}{where} {'↑' if metric['higher_is_better'] else '↓'}"


def written(results: dict[str, Any], figure: str, value: float) -> str:
    """Return a value with the digits that its metric deserves."""
    return f"{value:.{results['metrics'][figure.partition('@')[0]]['digits']}f}"


def quality(results: dict[str, Any], subset: str = "all") -> str:
    """Return the quality table: means over images, the best of each column bold."""
    means = results["subsets"][subset]["means"]
    shown = [name for name in QUALITY if any(name in figures for figures in means.values())]
    best = {}
    for name in shown:
        values = [figures[name]["value"] for figures in means.values() if name in figures]
        higher = results["metrics"][name.partition("@")[0]]["higher_is_better"]
        best[name] = (max if higher else min)(values)
    rows = []
    for label, figures in means.items():
        cells = []
        for name in shown:
            if name not in figures:
                cells.append("–")
                continue
            text = written(results, name, figures[name]["value"])
            cells.append(f"**{text}**" if text == written(results, name, best[name]) else text)
        rows.append([label + _failed(results, label), *cells])
    return _table(["method", *(heading(results, name) for name in shown)], rows)


def bases(results: dict[str, Any], reference: str) -> dict[str, str]:
    """Return whose time each method's is divided by, by label.

    A cold time is no measure for a warm one: methods that are called in a process that has loaded
    its models are compared among themselves, and so are commands; with the reference where it is
    one of them, else with the first. Folders of results have no time.
    """
    kinds = {method["label"]: method["kind"] for method in results["methods"]}
    labels = [la for la in results["subsets"]["all"]["means"] if kinds[la] != "folder"]
    references: dict[str, str] = {}
    for cold in (False, True):
        group = [label for label in labels if (kinds[label] == "command") == cold]
        references |= {label: reference if reference in group else group[0] for label in group}
    return references


def speed(results: dict[str, Any], reference: str) -> str:
    """Return the speed tables, of warm calls and of cold commands, where there are any.

    Times are medians of repeats, means over images; ratios are against :func:`bases`.
    """
    part, base = results["subsets"]["all"], bases(results, reference)
    tables: dict[str, list[list[str]]] = {}
    for label, other in base.items():
        values, ratio = part["means"][label], part["time_ratios"].get(label, {}).get(other)
        times = [
            written(results, name, values[name]["value"]) if name in values else "–"
            for name in ("seconds", "megabytes")
        ]
        times.append("1" if label == other else _interval(ratio) if ratio else "–")
        tables.setdefault(other, []).append([label + _failed(results, label), *times])
    kinds = {method["label"]: method["kind"] for method in results["methods"]}
    return "\n\n".join(
        _table(
            [
                "cold command" if kinds[other] == "command" else "warm call",
                "time, s",
                "peak memory, MB",
                f"time ÷ {other} [95 %]",
            ],
            rows,
        )
        for other, rows in tables.items()
    )


def footprint(results: dict[str, Any]) -> str:
    """Return what Wisp itself costs by size of photo, and its import."""
    footprint = results["footprint"]
    rows = []
    for photo in footprint["photos"]:
        refine, tiles = photo["refine_seconds"], photo["tiles"]
        rows.append(
            [
                "{}×{}".format(*photo["size"]),
                written(results, "seconds", photo["seconds"]),
                written(results, "megabytes", photo["megabytes"]),
                str(tiles),
                written(results, "seconds", refine),
                f"{refine / tiles * 1000:.1f}" if tiles else "–",
            ]
        )
    head = ["wisp cut", "cold command, s", "peak memory, MB", "tiles", "stage 2, s", "ms a tile"]
    late = footprint["import_seconds"]
    return f"{_table(head, rows)}\n\n`import pipeline`: {late:.2f} s more than `import numpy`."


def against(results: dict[str, Any], reference: str, subset: str = "all") -> str:
    """Return the paired comparison of one method with every other: difference and wins."""
    pairs = results["subsets"][subset]["pairs"].get(reference, {})
    rows = []
    for other, figures in pairs.items():
        for name in ("psnr", "ssim", "sad", "psnr@edge", "gradient", "composite"):
            if name in figures:
                pair = figures[name]
                difference = pair["difference"]
                low, high = (written(results, name, difference[end]) for end in ("low", "high"))
                rows.append(
                    [
                        other,
                        heading(results, name),
                        f"{difference['value']:+.{_digits(results, name)}f} [{low}, {high}]",
                        f"{pair['wins']}–{pair['ties']}–{pair['losses']}",
                    ]
                )
    title = f"{reference} − other [95 %]"
    return _table(["other method", "figure", title, "better–tied–worse"], rows)


def markdown(results: dict[str, Any], reference: str) -> str:
    """Return everything that a README may want, as Markdown."""
    data, machine = results["dataset"], results["machine"]
    parts = [f"# {data['title']}", ""]
    for subset in results["subsets"]:
        parts += [
            f"## {results['subsets'][subset]['title']}",
            "",
            quality(results, subset),
            "",
            against(results, reference, subset),
            "",
        ]
    if times := speed(results, reference):
        parts += ["## Speed", "", times, ""]
    if "footprint" in results:
        parts += ["## Wisp by size of photo", "", footprint(results), ""]
    parts += [notes(results), "", f"`{results['command']}`", ""]
    parts += [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + f". {results['created']}.",
        "",
    ]
    return "\n".join(parts)


def notes(results: dict[str, Any]) -> str:
    """Return what a reader of the tables has to know: what is not there, and why."""
    lines = []
    for method in results["methods"]:
        if method["unavailable"]:
            lines.append(f"{method['label']}: not available ({method['unavailable']})")
        elif method["failures"]:
            label = method["label"]
            sample = next(s for s in results["samples"] if label in s["failures"])
            lines.append(
                f"{label}: failed on {method['failures']} of {len(results['samples'])} images "
                f"({sample['name']}: {sample['failures'][label]})"
            )
    lines += [f"{name}: not available ({why})" for name, why in results["unavailable"].items()]
    skipped = results["dataset"]["skipped"]
    if skipped:
        lines.append(f"{len(skipped)} samples skipped: " + "; ".join(skipped[:3]))
    return "\n".join(f"- {line}" for line in lines) if lines else "No failures, nothing skipped."


def comma_separated(results: dict[str, Any]) -> str:
    """Return every figure of every method on every image, one a line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "method", "metric", "region", "value"])
    for sample in results["samples"]:
        for label, figures in sample["figures"].items():
            for name, value in figures.items():
                metric, _, region = name.partition("@")
                writer.writerow([sample["name"], label, metric, region or "whole", repr(value)])
            if label in sample["failures"]:
                writer.writerow([sample["name"], label, "failure", "", sample["failures"][label]])
    return buffer.getvalue()


def _digits(results: dict[str, Any], figure: str) -> int:
    return results["metrics"][figure.partition("@")[0]]["digits"]


def _interval(figure: dict[str, float]) -> str:
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def _failed(results: dict[str, Any], label: str) -> str:
    count = next(m["failures"] for m in results["methods"] if m["label"] == label)
    return f" ({count} failed)" if count else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
