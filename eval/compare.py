"""What got better or worse between two runs, beyond noise and beyond a bound."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval import stats
from eval.metrics import METRICS
from eval.results import SCHEMA, higher_is_better
from pipeline.errors import WispError, quoted


class CompareError(WispError):
    """A file holds no results, a bound cannot be read, or two runs have nothing in common."""


@dataclass(frozen=True)
class Bound:
    """How much worse a figure may get: in its own unit, or in parts of the old value."""

    amount: float
    relative: bool = False

    def allows(self, worse_by: float, old: float) -> bool:
        return worse_by <= self.amount * (abs(old) if self.relative else 1.0)


#: Held unless told otherwise. Times are not: two runs are two days, and maybe two machines.
BOUNDS: dict[str, Bound] = {
    "psnr": Bound(0.1),
    "psnr@edge": Bound(0.1),
    "ssim": Bound(0.002),
    "sad": Bound(0.02, relative=True),
    "gradient": Bound(0.02, relative=True),
    "connectivity": Bound(0.02, relative=True),
    "foreground": Bound(0.02, relative=True),
    "composite": Bound(0.02, relative=True),
}


@dataclass(frozen=True)
class Change:
    """What became of one figure of one method.

    ``verdict`` is ``better`` or ``worse`` where the paired 95 % interval leaves zero out, else
    ``same``. ``regression`` says that the mean got worse by more than its bound allows, or that
    images failed which did not before.
    """

    method: str
    figure: str
    old: float
    new: float
    difference: stats.Estimate | None
    verdict: str
    regression: bool


def load(path: Path) -> dict[str, Any]:
    """Read a results.json. Raises :class:`CompareError`."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CompareError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise CompareError(f"{path} holds no results of this version of wisp bench")
    return document


def read_bounds(texts: Iterable[str]) -> dict[str, Bound]:
    """Return the default bounds, changed by ``FIGURE=AMOUNT`` or ``FIGURE=AMOUNT%``.

    >>> read_bounds(["sad=5%"])["sad"]
    Bound(amount=0.05, relative=True)
    """
    bounds = dict(BOUNDS)
    for text in texts:
        figure, _, amount = text.partition("=")
        try:
            share = float(amount.removesuffix("%"))
        except ValueError:
            share = -1.0
        if share < 0 or figure.partition("@")[0] not in METRICS:
            raise CompareError(f"{quoted(text)} is no bound: write FIGURE=AMOUNT, such as psnr=0.1")
        relative = amount.endswith("%")
        bounds[figure] = Bound(share / 100 if relative else share, relative)
    return bounds


def compare(
    old: dict[str, Any], new: dict[str, Any], bounds: Mapping[str, Bound] = BOUNDS
) -> list[Change]:
    """Compare the methods of both runs, by label, over the images of both.

    Raises :class:`CompareError` where the runs share no image (by the SHA-256 of its bytes) or no
    method. A method of the old run that is not in the new one is a regression.
    """
    before = {(s["name"], s["sha256"]): s for s in old["samples"]}
    after = {(s["name"], s["sha256"]): s for s in new["samples"]}
    shared = [key for key in before if key in after]
    if not shared:
        raise CompareError("the two runs have no image in common")
    labels = [method["label"] for method in old["methods"] if not method["unavailable"]]
    still = {method["label"] for method in new["methods"] if not method["unavailable"]}
    if not still & set(labels):
        raise CompareError("the two runs have no method in common")
    changes = []
    for label in labels:
        if label not in still:
            changes.append(Change(label, "available", 1, 0, None, "worse", True))
            continue
        was, now = (
            float(sum(label in run[key]["failures"] for key in shared)) for run in (before, after)
        )
        if was != now:
            verdict = "worse" if now > was else "better"
            changes.append(Change(label, "failures", was, now, None, verdict, now > was))
        for figure in bounds:
            pairs = [
                (before[key]["figures"][label][figure], after[key]["figures"][label][figure])
                for key in shared
                if figure in before[key]["figures"][label]
                and figure in after[key]["figures"].get(label, {})
            ]
            if pairs:
                changes.append(_change(label, figure, pairs, bounds[figure]))
    return changes


def _change(label: str, figure: str, pairs: list[tuple[float, float]], bound: Bound) -> Change:
    olds, news = zip(*pairs, strict=True)
    higher = higher_is_better(figure)
    difference = stats.paired(news, olds, higher).difference
    sign = 1 if higher else -1
    if difference.low <= 0 <= difference.high:
        verdict = "same"
    else:
        verdict = "better" if sign * difference.value > 0 else "worse"
    old, new = sum(olds) / len(olds), sum(news) / len(news)
    allowed = bound.allows(-sign * difference.value, old)
    return Change(label, figure, old, new, difference, verdict, not allowed)


def table(changes: list[Change]) -> str:
    """Return the changes as Markdown, those beyond noise or bound only, and a line that counts."""
    shown = [c for c in changes if c.verdict != "same" or c.regression]
    lines = [
        "| method | figure | old | new | change [95 %] | |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for c in shown:
        change = "" if c.difference is None else (
            f"{c.difference.value:+.4g} [{c.difference.low:.4g}, {c.difference.high:.4g}]"
        )  # fmt: skip
        verdict = "REGRESSION" if c.regression else c.verdict
        lines.append(
            f"| {c.method} | {c.figure} | {c.old:.4g} | {c.new:.4g} | {change} | {verdict} |"
        )
    better, worse = (sum(c.verdict == verdict for c in changes) for verdict in ("better", "worse"))
    count = (
        f"{len(changes)} figures compared: {better} better and {worse} worse beyond noise, "
        f"{sum(c.regression for c in changes)} regressions beyond their bound."
    )
    return "\n".join([*lines, "", count] if shown else [count])
