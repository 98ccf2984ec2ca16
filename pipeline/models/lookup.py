"""How a model is found by its name or path.

A file that is not in the catalogue is taken for a U²-Net, and checked when it is opened.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import ModelMissing, quoted
from pipeline.models import own, store
from pipeline.models.catalogue import (
    COARSE,
    CONFIDENT,
    PUBLIC,
    REFINERS,
    CoarseModel,
    RefinerModel,
)


def coarse_model(name: str, quiet: bool = False) -> CoarseModel:
    """Look a stage-1 model up by name (bundled, public, or imported) or path of an ONNX file.

    A public model that is not on this machine yet is downloaded, and that is said on standard
    error unless ``quiet``.

    Raises :class:`ModelMissing` where there is no such model, :class:`pipeline.errors.ModelError`
    where it cannot be fetched, :class:`ModelInvalid` where its file is not the published one.
    """
    if name in COARSE:
        return COARSE[name]
    if name in PUBLIC:
        path = store.ensure(name, quiet)
        return _whole(PUBLIC[name], path, lambda half: store.ensure(half, quiet))
    mine = own.imported(CoarseModel)
    if name in mine:
        return mine[name]
    path = _file(name, [*COARSE, *PUBLIC, *mine])
    known = store.recognise(path)
    if known:
        return _whole(PUBLIC[known], path, store.verified)
    return CoarseModel(path, "unknown", name, "", output_range=CONFIDENT)


def _whole(card: CoarseModel, path: Path, half: Callable[[str], Path | None]) -> CoarseModel:
    """Say where the files of a public model are; ``half`` finds the second, where there is one."""
    if not card.decoder:
        return replace(card, path=path)
    decoder = half(card.decoder)
    if decoder is None:
        raise ModelMissing(
            f"{path} is of no use alone: `wisp models download {card.decoder}` fetches the rest"
        )
    return replace(card, path=path, decoder=str(decoder))


def refiner_model(name: str) -> RefinerModel:
    """Look a stage-2 model up by name (bundled or imported) or path of an ONNX file.

    Raises :class:`ModelMissing` where there is neither.
    """
    if name in REFINERS:
        return REFINERS[name]
    mine = own.imported(RefinerModel)
    if name in mine:
        return mine[name]
    return RefinerModel(_file(name, [*REFINERS, *mine]), "unknown", name, "")


def _file(name: str, known: Any) -> Path:
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path):  # and not a method of Path, which raises for a name too long for one
        return path
    names = ", ".join(sorted(known))
    if path.suffix == ".onnx":
        raise ModelMissing(f"there is no file {name}; models by name are {names}")
    close = difflib.get_close_matches(name, known, 1, cutoff=0.7)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ModelMissing(
        f"no model {quoted(name)}: {hint}Give a path to an .onnx file, or one of {names}"
    )
