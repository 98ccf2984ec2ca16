"""Take out of a generator what it does not need.

    python -m refiner.prune RUN/local/last.pt pruned.pt --data RUN/data/local

A long training leaves most channels inside of the residual blocks dead: their ReLU opens for no
patch any more. Each block keeps the few that count most, and its second convolution is fitted anew,
by least squares, to give back what the whole block gave (He, Zhang and Sun, 2017, "Channel pruning
for accelerating very deep neural networks", section 3.1, with the channels chosen by how much they
add in place of LASSO). Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.cli.command import Command
from refiner.dataset import Shards, shuffled
from refiner.network import Generator, Residual
from refiner.settings import Settings
from refiner.weights import load_generator
from training import checkpoint

STEP = 16  # channels: CPUs compute the outputs of an INT8 convolution by sixteens
#: Of the variance of what a block answers, so much may be lost.
TOLERANCE = 1e-4
PATCHES = 256  # a fit is of: 64 thousand pixels of the bottleneck for some thousand unknowns
_BATCH = 16  # patches at a time
#: Of the channels' mean square: without it, channels that are nearly alike have no solution.
_RIDGE = 1e-4


@dataclass
class _Moments:
    """Sums over all pixels of what a fit needs, float64: products of the 3×3 px of hidden channels,
    of these and what is wanted, the squares of what is wanted, and the answer's variance."""

    gram: Tensor
    cross: Tensor
    wanted: Tensor
    variance: Tensor

    def solve(self, keep: Tensor) -> tuple[Tensor, float]:
        """Fit with the columns ``keep`` alone; return the weights and the share that is lost."""
        gram, cross = self.gram[keep][:, keep], self.cross[keep]
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weights = torch.linalg.solve(gram + ridge, cross)
        lost = self.wanted - 2 * (weights * cross).sum() + (weights * (gram @ weights)).sum()
        return weights, float(lost / self.variance.clamp_min(1e-12))


@torch.no_grad()
def prune(generator: Generator, patches: Tensor, tolerance: float = TOLERANCE) -> Generator:
    """Return a generator with fewer channels inside of its blocks, which answers nearly the same.

    Parameters
    ----------
    generator
        Ready to run, not in INT8; it stays as it is.
    patches
        What it is used on, (N, 4, 128, 128) float32 in 0..1: some hundreds.
    tolerance
        Share of the variance of a block's answers that may be lost.
    """
    state = generator.state_dict()
    names = [name for name, part in generator.named_modules() if isinstance(part, Residual)]
    small = generator
    for number, name in enumerate(names):
        fitted = _fit(*_moments(generator, small, name, patches), tolerance, state, name)
        state = {**state, **fitted}
        inside = list(small.shape.inside)
        inside[number] = len(state[f"{name}.body.0.0.weight"])
        small = Generator(replace(generator.shape, hidden=tuple(inside))).eval()
        small.load_state_dict(state)
    return small


def _moments(
    whole: Generator, small: Generator, name: str, patches: Tensor
) -> tuple[_Moments, Tensor]:
    """Return the sums of a block's fit, and how large each hidden channel is, squared.

    The block is fed as in the ``small`` generator, of which the blocks before it are pruned, and is
    to answer as in the whole one.
    """
    seen: dict[str, Tensor] = {}

    def keep(key: str, block: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> None:
        seen[key] = output if key == "answer" else inputs[0]

    def watch(model: Generator, key: str) -> torch.utils.hooks.RemovableHandle:
        part = model.get_submodule(name)
        return part.register_forward_hook(lambda *of: keep(key, *of))

    hooks = [watch(whole, "answer"), watch(small, "input")]
    first = cast(nn.Conv2d, whole.get_submodule(f"{name}.body.0.0"))
    columns = 9 * first.out_channels + 1
    sums = _Moments(
        torch.zeros(columns, columns, dtype=torch.float64),
        torch.zeros(columns, first.in_channels, dtype=torch.float64),
        torch.zeros((), dtype=torch.float64),
        torch.zeros((), dtype=torch.float64),
    )
    size = torch.zeros(first.out_channels, dtype=torch.float64)
    for start in range(0, len(patches), _BATCH):
        batch = patches[start : start + _BATCH]
        whole(batch), small(batch)
        hidden = F.relu(first(seen["input"]))
        wanted = (seen["answer"] - seen["input"]).flatten(2).transpose(1, 2).flatten(0, 1)
        around = F.unfold(hidden, 3, padding=1).transpose(1, 2).flatten(0, 1)
        around = torch.cat([around, torch.ones(len(around), 1)], 1)
        sums.gram += (around.T @ around).double()
        sums.cross += (around.T @ wanted).double()
        sums.wanted += wanted.double().square().sum()
        mean = seen["answer"].mean((0, 2, 3), keepdim=True)
        sums.variance += (seen["answer"] - mean).double().square().sum()
        size += hidden.double().square().sum((0, 2, 3))
    for hook in hooks:
        hook.remove()
    return sums, size


def _fit(
    sums: _Moments, size: Tensor, tolerance: float, state: dict[str, Tensor], name: str
) -> dict[str, Tensor]:
    """Return the weights of a block with the fewest channels that lose no more than may be."""
    first, second = (f"{name}.body.0.0", f"{name}.body.1")
    count, outputs = len(size), len(state[f"{second}.weight"])
    order = (size * state[f"{second}.weight"].square().sum((0, 2, 3))).argsort(descending=True)
    for channels in [*range(STEP, count, STEP), count]:
        chosen = order[:channels].sort().values
        columns = (9 * chosen[:, None] + torch.arange(9)).flatten()
        weights, lost = sums.solve(torch.cat([columns, torch.tensor([9 * count])]))
        if lost <= tolerance:
            break
    return {
        f"{first}.weight": state[f"{first}.weight"][chosen],
        f"{first}.bias": state[f"{first}.bias"][chosen],
        f"{second}.weight": weights[:-1].T.reshape(outputs, channels, 3, 3).float(),
        f"{second}.bias": weights[-1].float(),
    }


def prune_file(path: Path, out: Path, shards: Path, is_global: bool = False) -> Generator:
    """Prune the generator of a checkpoint or an exported file, and write it as a checkpoint.

    Of a file of two it is the local one, or the global one. The patches are those of the ``shards``
    folder's training split. Raises what :func:`refiner.weights.load_generator` does, and
    ``SettingsError`` where there are no shards.
    """
    train = Shards(shards, "train")
    patches = train.batch(shuffled(train, 0, 0)[:PATCHES]).patches
    small = prune(load_generator(path, is_global), patches)
    checkpoint.save(out, 0, Settings(shape=small.shape), {"ema": small})
    return small


File = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("generator", type=File)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--global", "is_global", is_flag=True, help="The global generator of a file of two.")
def main(generator: Path, out: Path, data: Path, is_global: bool) -> None:
    """Prune a GENERATOR (checkpoint or ONNX file) by the patches in DATA, and write OUT."""
    small = prune_file(generator, out, data, is_global)
    click.echo(f"{out}: channels inside of its blocks {', '.join(map(str, small.shape.inside))}")


if __name__ == "__main__":
    main()
