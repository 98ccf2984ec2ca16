"""Checkpoints: written whole or not at all, and read back with what may be wrong said.

A file holds ``step`` (steps done), ``settings`` (those of the run, as a dict), and the state of
each part of the training by name: ``model``, ``ema``, ``optimizer``, …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import ModelInvalid, ModelMissing, SettingsError
from pipeline.files import replacing


def save(path: Path, step: int, settings: Any, parts: Mapping[str, Any]) -> None:
    """Write the state of ``parts``; ``settings`` is the run's dataclass."""
    state = {name: part.state_dict() for name, part in parts.items()}
    with replacing(path) as file:
        torch.save({"step": step, "settings": asdict(settings), **state}, file)


def read(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, on the CPU. Raises ``ModelMissing`` or ``ModelInvalid``."""
    if not path.is_file():
        raise ModelMissing(f"No checkpoint at {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["step"], state["settings"]
    except Exception as error:  # torch raises several kinds; all mean the wrong file
        raise ModelInvalid(f"{path} is no checkpoint of a training: {error}") from error
    return state


def resume(path: Path, settings: Any, parts: Mapping[str, Any]) -> int:
    """Load a run's own checkpoint into its parts, and return the number of steps done.

    Raises ``SettingsError`` where there is none, or it is of a run with other settings.
    """
    if not path.is_file():
        raise SettingsError(f"Nothing to resume: there is no {path}. Start without --resume.")
    state = read(path)
    differ = [k for k, v in asdict(settings).items() if state["settings"].get(k, v) != v]
    if differ:
        raise SettingsError(
            f"{path} was trained with other settings ({', '.join(differ)}): resume with the same."
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])
