"""All models that this machine knows, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.models import own, store
from pipeline.models.catalogue import COARSE, PUBLIC, REFINERS, CoarseModel, RefinerModel


def listing() -> list[dict[str, Any]]:
    """List the models: bundled, public, the user's own.

    Each is a dict with ``name``, ``stage`` (1 or 2), ``state`` (bundled, downloaded, rembg's,
    imported, available or missing), ``path`` (None where it is not here), ``bytes``, ``licence``,
    ``noncommercial``, ``purpose``, ``source`` and ``url``.
    """
    return list(_rows())


def _rows() -> Iterator[dict[str, Any]]:
    for name, card in COARSE.items():
        yield _row(name, card, "bundled", card.path)
    for name, refiner in REFINERS.items():
        yield _row(name, refiner, "bundled", refiner.path)
    for name, card in PUBLIC.items():
        path = store.find(name)
        here = "downloaded" if path == store.model_path(name) else "rembg's"
        yield _row(name, card, here if path else "available", path)
    for name, card in own.imported(CoarseModel).items():
        yield _row(name, card, "imported", card.path)
    for name, refiner in own.imported(RefinerModel).items():
        yield _row(name, refiner, "imported", refiner.path)


def _row(
    name: str, card: CoarseModel | RefinerModel, state: str, path: Path | None
) -> dict[str, Any]:
    there = path is not None and path.is_file()
    public = card if isinstance(card, CoarseModel) else None
    return {
        "name": name,
        "stage": 1 if public else 2,
        "state": state if there or state == "available" else "missing",
        "path": str(path) if path else None,
        "bytes": path.stat().st_size if path and there else public.length if public else 0,
        "licence": "see its card" if card.licence.startswith("see ") else card.licence,
        "noncommercial": bool(public and public.noncommercial),
        "purpose": card.purpose,
        "source": card.source,
        "url": public.url if public else "",
    }
