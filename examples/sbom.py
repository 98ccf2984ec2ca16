"""Write a CycloneDX bill of materials of the image: packages, and weights with their data.

    cyclonedx-py requirements requirements.lock --output-file packages.json
    python examples/sbom.py packages.json -o sbom.json

`make sbom` does both. Each set of weights is a component with its checksum; the data that it was
trained on, with their terms, are read from its model card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pipeline import __version__, files
from pipeline.models import COARSE, REFINERS, WEIGHTS, CoarseModel, RefinerModel, checksum


def datasets(card: str) -> list[dict[str, Any]]:
    """Read the data from the text of a model card: the rows of the table that ends in "terms"."""
    sets = []
    for table in re.findall(r"(?:^\|.*\|\n)+", card, flags=re.MULTILINE):
        lines = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        head, rows = lines[0], lines[2:]
        if head[-1] != "terms":
            continue
        for name, *facts in rows:
            details = [
                f"{what}: {fact}" for what, fact in zip(head[1:], facts, strict=True) if fact
            ]
            sets.append({"type": "dataset", "name": name, "description": "; ".join(details)})
    return sets


def weights() -> Iterator[dict[str, Any]]:
    """Yield each file of weights as a component."""
    known: list[tuple[str, CoarseModel | RefinerModel]] = [*COARSE.items(), *REFINERS.items()]
    for name, model in known:
        # "see CARD beside the file"
        card = (WEIGHTS / model.licence.split()[1]).read_text(encoding="utf-8")
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"weights/{model.path.name}",
            "name": model.path.name,
            "version": __version__,
            "description": f"{name}: {model.purpose}",
            "licenses": [{"license": {"id": "Apache-2.0"}}],
            "hashes": [{"alg": "SHA-256", "content": checksum(model.path)}],
            "modelCard": {"modelParameters": {"datasets": datasets(card)}},
        }


@click.command()
@click.argument("packages", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path))
def main(packages: Path, out: Path) -> None:
    """Add Wisp and its weights to the PACKAGES that cyclonedx-py has listed."""
    bom = json.loads(packages.read_text(encoding="utf-8"))
    bom.setdefault("metadata", {})["component"] = {
        "type": "application",
        "bom-ref": "wispcut",
        "name": "wispcut",
        "version": __version__,
        "purl": f"pkg:pypi/wispcut@{__version__}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    bom["components"] = [*bom["components"], *weights()]
    files.write(out, json.dumps(bom, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
