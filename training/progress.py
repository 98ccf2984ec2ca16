"""How far a training is: a bar on a terminal, lines in a pipe, curves in TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import click
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

CURVE_EVERY = 10  # steps between points of the curves
LINE_EVERY = 25  # steps between lines in a pipe

Values = Mapping[str, float | Tensor]


class Progress:
    """Shows the steps ``first`` to ``last`` of the run in ``folder``; ``quiet`` shows nothing.

    The curves are written all the same.
    """

    def __init__(self, folder: Path, first: int, last: int, quiet: bool) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=first)
        self.quiet, self.first, self.last, self.name = quiet, first, last, folder.name
        self.bar = tqdm(total=last, initial=first, desc=self.name, disable=quiet or None)
        self.started = time.monotonic()

    def step(self, step: int, log: Values) -> None:
        """Count a step, numbered from 0, and show the values that it logged."""
        self.bar.update()
        if step % CURVE_EVERY == 0:
            self.scalars(log, step)
        done = step + 1
        if done % LINE_EVERY == 0 or done == self.last:
            line = _line(log)
            self.bar.set_postfix_str(line)
            if self.bar.disable and not self.quiet:
                pace = (time.monotonic() - self.started) / (done - self.first)
                click.echo(f"{self.name} {done}/{self.last} {pace:.2f} s/step {line}")

    def scalars(self, values: Values, step: int) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self.writer.add_scalar(name, float(value), step)

    def validated(self, figures: Values, step: int) -> None:
        """Show what a validation found after ``step`` steps."""
        self.scalars({f"held/{name}": value for name, value in figures.items()}, step)
        if not self.quiet:
            tqdm.write(f"step {step}: {_line(figures)}")

    def close(self) -> None:
        """End the bar and the curves."""
        self.bar.close()
        self.writer.close()


def _line(values: Values) -> str:
    return "  ".join(f"{name} {float(value):.4g}" for name, value in values.items())
