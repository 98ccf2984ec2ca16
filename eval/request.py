"""What ``wisp bench`` was asked for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import quoted

if TYPE_CHECKING:
    from eval.methods import Spec


@dataclass(frozen=True)
class Request:
    """The command's options: see their help."""

    dataset: str | None
    layout: str | None
    backgrounds: Path | None
    size: tuple[int, int]  # height and width
    subject: float
    video: bool
    limit: int | None
    skip_bad: bool
    methods: str
    commands: tuple[str, ...]
    folders: tuple[str, ...]
    model: str | None
    refiner: str | None
    output: Path | None
    against: str | None
    table: str
    footprint: bool
    repeats: int
    timeout: float
    jobs: int
    lpips: bool
    crops: bool
    cache_root: Path | None
    fresh: bool
    quiet: bool
    listing: bool
    compare: tuple[Path, Path] | None
    bounds: tuple[str, ...]

    @property
    def models(self) -> dict[str, str]:
        """The networks of every method that does not name its own, by the names of `Settings`."""
        named = {"model": self.model, "refiner": self.refiner}
        return {stage: model for stage, model in named.items() if model}

    def specs(self, methods: str | None = None) -> list[Spec]:
        """Return the methods, or those of ``methods`` in their place, with commands and folders."""
        from eval.methods import Spec, distinct, parse

        specs = parse(self.methods if methods is None else methods, self.models)
        for kind, option, values in (
            ("command", "run", self.commands),
            ("folder", "path", self.folders),
        ):
            for value in values:
                label, line = _named(value, kind)
                specs.append(Spec(kind, ((option, line),), label))
        return distinct(specs)

    def reference(self, specs: list[Spec]) -> str:
        """Return the label of the method that the others are compared with."""
        labels = [spec.label for spec in specs]
        if self.against is not None and self.against not in labels:
            raise click.UsageError(
                f"--against {quoted(self.against)} is none of {', '.join(labels)}"
            )
        return self.against or next((s.label for s in specs if s.kind == "wisp"), labels[0])


def size(ctx: click.Context, param: click.Parameter, text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT as height and width."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 64):
        raise click.UsageError(f"--size is WIDTHxHEIGHT, at least 64x64, not {quoted(text)}")
    return int(height), int(width)


def _named(value: str, kind: str) -> tuple[str, str]:
    """Split NAME=what; a name has no blank, slash or brace in it."""
    head, equals, rest = value.partition("=")
    if equals and head and not set(head) & set(" /\\{}"):
        return head, rest
    shown = shlex.split(value)[0] if kind == "command" else value
    return f"{kind} {Path(shown).name}", value
