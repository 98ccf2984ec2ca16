"""Recipes: the settings of a training, phase by phase, in a TOML file.

``[data]`` says how the data are prepared, ``[settings]`` what all phases share, and each
``[[phases]]`` what one phase changes; ``name`` names it, and its folder under the run. What a
recipe leaves out has the default of the trainer's ``Settings``. Bundled recipes lie in
``recipes/TRAINER/NAME.toml``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
S = TypeVar("S")


@dataclass(frozen=True)
class Recipe(Generic[S]):
    """A recipe that was read: ``data`` and the settings of each phase by name, in order."""

    data: dict[str, Any]
    phases: dict[str, S]


def load(trainer: str, name: str, defaults: S, changes: Iterable[str] = ()) -> Recipe[S]:
    """Read a recipe: a path of a TOML file, or the name of one of ``trainer``'s bundled ones.

    ``changes`` are NAME=VALUE texts (:func:`changed`), for every phase. Raises ``SettingsError``
    for a recipe that is not there, is not TOML, or names a setting that ``defaults`` lacks.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / trainer / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in (RECIPES / trainer).glob("*.toml")))
        raise SettingsError(f"There is no recipe {path}; bundled are: {known}.") from error
    except ValueError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    unknown = content.keys() - {"data", "settings", "phases"}
    if unknown or not content.get("phases"):
        raise SettingsError(f"{path} has data, settings and [[phases]], not {sorted(unknown)}.")
    try:
        common = apply(defaults, content.get("settings", {}))
        phases = {
            str(phase.get("name", number)): changed(apply(common, _unnamed(phase)), changes)
            for number, phase in enumerate(content["phases"])
        }
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    return Recipe(content.get("data", {}), phases)


def _unnamed(phase: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in phase.items() if key != "name"}


def apply(settings: S, values: Mapping[str, Any]) -> S:
    """Return ``settings``, a frozen dataclass, with ``values``; a table changes a nested one.

    An integer will do for a float. Raises ``SettingsError`` for an unknown name or another type.
    """
    known = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    new: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"There is no setting {name!r}; there are {', '.join(known)}.")
        old = getattr(settings, name)
        if is_dataclass(old) and isinstance(value, Mapping):
            new[name] = apply(old, value)
        elif isinstance(old, float) and type(value) is int:
            new[name] = float(value)
        elif isinstance(old, tuple) and isinstance(value, list):
            new[name] = tuple(value)
        elif type(value) is type(old):
            new[name] = value
        else:
            raise SettingsError(f"{name} is a {type(old).__name__}, not {value!r}.")
    return replace(settings, **new)  # type: ignore[type-var]


def changed(settings: S, changes: Iterable[str]) -> S:
    """Return ``settings`` with NAME=VALUE changes; the value is TOML, or a text without quotes.

    A dot reaches into a nested setting: ``weights.l1=0``. Raises ``SettingsError`` as
    :func:`apply` does.
    """
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise SettingsError(f"{change!r} is not NAME=VALUE.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except ValueError:
            value = text
        for part in reversed(name.strip().split(".")):
            value = {part: value}
        try:
            settings = apply(settings, value)
        except SettingsError as error:
            raise SettingsError(f"--set {change}: {error}") from error
    return settings


def choose(phases: Mapping[str, S], names: Iterable[str]) -> dict[str, S]:
    """Return the phases of those names in the recipe's order; all of them where there is none.

    Raises ``SettingsError`` for an unknown name.
    """
    names = set(names)
    if unknown := names - phases.keys():
        raise SettingsError(f"No phase {', '.join(unknown)}; there are {', '.join(phases)}.")
    return {name: s for name, s in phases.items() if not names or name in names}
