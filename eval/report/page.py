"""The report as one HTML page with everything in it: it asks nothing of any server."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from eval import table
from eval.cache import Cache
from eval.report.crops import crops
from eval.run import Run


def render(results: dict[str, Any], run: Run, store: Cache, reference: str, images: bool) -> str:
    """Return the page. ``images`` says whether it may show crops of the photos."""
    figures = sorted({name for sample in results["samples"] for values in sample["figures"].values()
                      for name in values})  # fmt: skip
    data = {
        **results,
        "reference": reference,
        "bases": table.bases(results, reference),
        "headings": {name: table.heading(results, name) for name in figures},
        "crops": crops(run, store, reference) if images else [],
        "notes": table.notes(results),
    }
    # Inside a script element only "<" could end it, or begin a comment.
    text = json.dumps(_short(data), ensure_ascii=False).replace("<", "\\u003c")
    template = files("eval.report").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{{data}}", text)


def _short(value: Any) -> Any:
    """Six significant digits: more than is shown, and half the size."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _short(part) for key, part in value.items()}
    return [_short(part) for part in value] if isinstance(value, list) else value
