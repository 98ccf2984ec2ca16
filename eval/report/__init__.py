"""The report's files: a page to look at, tables to quote, figures to compute with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eval import table
from eval.cache import Cache, write
from eval.run import Run
from pipeline.errors import OutputError


def save(
    output: Path, results: dict[str, Any], run: Run, store: Cache, reference: str, images: bool
) -> None:
    """Write index.html, table.md, results.csv and results.json into a folder, each whole.

    ``reference`` is the method that the others are compared with; ``images`` says whether the page
    may show crops of the photos. Raises :class:`pipeline.errors.OutputError`.
    """
    from eval.report.page import render  # pictures, and so OpenCV

    files = {
        "results.json": json.dumps(results, ensure_ascii=False, separators=(",", ":")),
        "results.csv": table.comma_separated(results),
        "table.md": table.markdown(results, reference),
        "index.html": render(results, run, store, reference, images),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write(output / name, text.encode())
    except OSError as error:
        raise OutputError(f"cannot write the report into {output}: {error}") from error
