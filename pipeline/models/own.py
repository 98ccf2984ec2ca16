"""Models that the user took in, to be used by name like those of the catalogue.

Beside ``NAME.onnx`` in the models folder lies ``NAME.json``, which says what the file is fed like.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline import files
from pipeline.errors import ModelMissing, SettingsError, quoted
from pipeline.models.catalogue import COARSE, PUBLIC, REFINERS, CoarseModel, RefinerModel
from pipeline.models.opening import open_coarse, open_refiner
from pipeline.models.store import (
    checksum,
    home,
    locked,
    mark_verified,
    model_path,
    recognise,
)

Card = TypeVar("Card", CoarseModel, RefinerModel)

_CPU = ("CPUExecutionProvider",)


def imported(kind: type[Card]) -> dict[str, Card]:
    """Return the models that the user took in, of one kind, by name."""
    cards: dict[str, Any] = {}
    try:
        notes = sorted((home() / "models").glob("*.json"))
    except SettingsError:  # no home folder
        return cards
    for note in notes:
        try:
            facts = json.loads(note.read_text())
            known = {**COARSE, **PUBLIC}.get(facts["like"])
            own = {
                "path": note.with_suffix(".onnx"),
                "licence": facts["licence"],
                "source": facts["source"],
                "sha256": facts["sha256"],
                "purpose": facts["purpose"],
            }
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another's file
        if kind is RefinerModel and facts["like"] == "refiner":
            cards[note.stem] = kind(**own)
        elif kind is CoarseModel and known:
            cards[note.stem] = replace(known, **own, url="", length=0, md5="")
    return cards


def like(name: str) -> str:
    """Return the catalogue model that a model is fed like; u2net for any file."""
    if name in COARSE or name in PUBLIC:
        return name
    if name in imported(CoarseModel):
        return json.loads(model_path(name).with_suffix(".json").read_text())["like"]
    return "u2net"


def take_in(file: Path, like: str | None, name: str | None, licence: str = "unknown") -> str:
    """Copy a model into Wisp's folder; return the name by which it can be used from now on.

    Parameters
    ----------
    file
        An ONNX file.
    like
        The catalogue model that is fed and read in the same way, or "refiner" for a stage-2 model.
        Not needed for a file that is a public model: it is recognised.
    name
        Default: the file's own, without its ending.

    Raises
    ------
    pipeline.errors.ModelError
        When there is no such file, or it is no network of that kind.
    SettingsError
        When the name is taken, or ``like`` is missing or unknown.
    """
    if not file.is_file():
        raise ModelMissing(f"there is no file {file}")
    known = recognise(file)
    if known and name in (None, known):
        with locked(known):
            files.copy(file, model_path(known))
        mark_verified(model_path(known))
        return known
    name = name or file.stem
    taken = {*COARSE, *PUBLIC, *REFINERS, *imported(CoarseModel), *imported(RefinerModel)}
    if name in taken or model_path(name).exists():
        raise SettingsError(f"{quoted(name)} is taken: choose another with --name")
    if like == "refiner":
        open_refiner(RefinerModel(file, licence, str(file), ""), _CPU, 1)
    elif (like in COARSE or like in PUBLIC) and not {**COARSE, **PUBLIC}[like].decoder:
        open_coarse(replace({**COARSE, **PUBLIC}[like], path=file), _CPU, 1)
    else:
        raise SettingsError(
            f"say which model {file.name} is to be fed like: --like with one of "
            f"{', '.join([*PUBLIC, 'refiner'])}"
        )
    register(file, name, like, licence, f"imported from {file.resolve()}", "")
    return name


def register(file: Path, name: str, like: str, licence: str, source: str, purpose: str) -> None:
    """Copy a file into the models folder under a name of its own, with the facts about it."""
    with locked(name):
        files.copy(file, model_path(name))
        facts = {
            "like": like,
            "licence": licence,
            "source": source,
            "purpose": purpose,
            "sha256": checksum(model_path(name)),
        }
        text = json.dumps(facts, indent=2) + "\n"
        files.write(model_path(name).with_suffix(".json"), text, parents=True)
