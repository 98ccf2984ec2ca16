"""Validation: how much better than coarse, on patches of held-out subjects and backgrounds.

``python -m refiner.validate RUN/last.pt --data DIR`` measures a checkpoint on all of them, and its
colours beside multi-level estimation on the same alpha.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.cli.command import Command
from pipeline.foreground import explained
from refiner import subjects
from refiner.dataset import Batch, Shards, twice
from refiner.weights import load_generator


@torch.no_grad()
def validate(
    model: nn.Module, shards: Shards, patches: int, smoothing: float = 0.0
) -> tuple[dict[str, float], Tensor]:
    """Measure a generator in full precision; ``smoothing`` as for :func:`smooth_change`.

    Returns figures and a picture of some patches, (3, H, W) float 0..1:

    - ``psnr`` and ``coarse psnr`` of alpha in the ROI, dB;
    - ``sad ratio``: sum of absolute alpha differences in the ROI, divided by coarse's;
    - ``colour ratio``: foreground error where 0.05 < α < 0.95, divided by that of the photo, of
      colours as they are used: corrected (:func:`pipeline.foreground.explained`);
    - ``worse``: share of patches that were better before;
    - ``unsteady``: by how much alpha changes in the ROI with other noise and JPEG, ×1000.
    """
    index = shards.index()
    index = [index[i] for i in np.linspace(0, len(index) - 1, min(patches, len(index))).astype(int)]
    sums, area = torch.zeros(8, dtype=torch.float64), 1e-9
    rng = np.random.default_rng(0)
    shown: list[tuple[Batch, Tensor]] = []
    model.eval()
    for start in range(0, len(index), 32):
        batch = shards.batch(index[start : start + 32])
        both = twice(batch, rng)
        refined, again = smooth_change(model(both.patches), both.coarse, smoothing).chunk(2)
        sums += _errors(batch, refined, again)
        area += float(batch.weight.square().sum())
        shown.append((batch, refined))
    model.train()
    sad, sad0, sse, sse0, tint, tint0, worse, unsteady = sums.tolist()
    figures = {
        "psnr": -10 * np.log10(max(sse, 1e-9) / area),
        "coarse psnr": -10 * np.log10(max(sse0, 1e-9) / area),
        "sad ratio": sad / max(sad0, 1e-9),
        "colour ratio": tint / max(tint0, 1e-9),
        "worse": worse / len(index),
        "unsteady": 1000 * unsteady / area,
    }
    return figures, torch.cat([sheet(*pair, rows=2) for pair in shown[:8]], 1)


def _errors(batch: Batch, refined: Tensor, again: Tensor) -> Tensor:
    """Sum up errors, (8,) float64: of alpha, absolute and squared, and of colours, each beside
    what it was before; the number of patches that got worse; and the change of alpha between an
    answer and the answer to the same patches with other noise."""
    ours = (refined[:, :1] - batch.alpha) * batch.weight
    before = (batch.coarse - batch.alpha) * batch.weight
    mixed = batch.weight * ((batch.alpha > 0.05) & (batch.alpha < 0.95))
    colours = used_colours(batch, refined)
    sums = [
        ours.abs().sum(),
        before.abs().sum(),
        ours.square().sum(),
        before.square().sum(),
        ((colours - batch.foreground).abs() * mixed).sum(),
        ((batch.image - batch.foreground).abs() * mixed).sum(),
        (ours.abs().sum((1, 2, 3)) > before.abs().sum((1, 2, 3))).sum(),
        ((refined[:, :1] - again[:, :1]).abs() * batch.weight).sum(),
    ]
    return torch.stack(sums).cpu().double()


def used_colours(batch: Batch, refined: Tensor) -> Tensor:
    """Return the colours that a cutout gets of an answer, (N, 3, H, W): those that explain it."""
    photos, answers = (
        np.rint(255 * colours.cpu().numpy().transpose(0, 2, 3, 1)).astype(np.uint8)
        for colours in (batch.image, refined[:, 1:].clamp(0, 1))
    )
    alphas = refined[:, 0].clamp(0, 1).cpu().numpy()
    made = [explained(*patch) for patch in zip(photos, alphas, answers, strict=True)]
    return torch.from_numpy(np.stack(made).transpose(0, 3, 1, 2) / np.float32(255)).to(refined)


def smooth_change(refined: Tensor, coarse: Tensor, smoothing: float) -> Tensor:
    """Return what is used of an answer, (N, 4, H, W): at ``smoothing`` 0 all of it.

    Of the global generator it is its change of the coarse mask, (N, 1, H, W), smoothed by a
    Gaussian of ``smoothing`` pixels; see :mod:`pipeline.multiscale`.
    """
    if not smoothing:
        return refined
    reach = round(3 * smoothing)
    offset = torch.arange(-reach, reach + 1, device=refined.device)
    kernel = torch.exp(-0.5 * (offset / smoothing) ** 2)
    kernel = kernel / kernel.sum()
    change = F.pad(refined[:, :1] - coarse, (reach,) * 4, "reflect")
    change = F.conv2d(F.conv2d(change, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return torch.cat([(coarse + change).clamp(0, 1), refined[:, 1:]], 1)


def sheet(batch: Batch, refined: Tensor, rows: int) -> Tensor:
    """Rows of photo, coarse, refined, true alpha, and the refined cutout on green, (3, H, W)."""
    alpha, foreground = refined[:rows, :1], refined[:rows, 1:]
    green = torch.tensor([0.0, 0.7, 0.0], device=alpha.device).view(1, 3, 1, 1)
    columns = [
        batch.image[:rows],
        batch.coarse[:rows].expand(-1, 3, -1, -1),
        alpha.expand(-1, 3, -1, -1),
        batch.alpha[:rows].expand(-1, 3, -1, -1),
        alpha * foreground + (1 - alpha) * green,
    ]
    return torch.cat([torch.cat(list(row), 2) for row in zip(*columns, strict=True)], 1).cpu()


@torch.no_grad()
def colours_beside_multilevel(
    model: nn.Module, shards: Shards, patches: int
) -> tuple[float, float]:
    """Mean absolute foreground error where 0.05 < α < 0.95, of 255: ours, and multi-level's.

    Multi-level estimation (Germer et al., 2020; pymatting) gets the alpha that we predict.
    """
    index = shards.index()
    ours = theirs = area = 0.0
    for i in np.linspace(0, len(index) - 1, min(patches, len(index))).astype(int):
        batch = shards.batch([index[i]])
        answer = model(batch.patches)
        refined, colours = answer[0].numpy(), used_colours(batch, answer)[0].numpy()
        mixed = (batch.weight * ((batch.alpha > 0.05) & (batch.alpha < 0.95)))[0, 0].numpy()
        true = batch.foreground[0].numpy().transpose(1, 2, 0) * 255
        photo = np.rint(batch.image[0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        estimate = subjects.colours(photo, refined[0])
        ours += float((np.abs(colours.transpose(1, 2, 0) * 255 - true).mean(2) * mixed).sum())
        theirs += float((np.abs(estimate - true).mean(2) * mixed).sum())
        area += float(mixed.sum())
    return ours / max(area, 1e-9), theirs / max(area, 1e-9)


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--patches", default=100_000, help="At most so many, evenly spread.")
@click.option(
    "--smoothing", default=0.0, help="Measure the global generator, smoothed by so many px."
)
def main(checkpoint: Path, data: Path, patches: int, smoothing: float) -> None:
    """Measure a CHECKPOINT, or an exported file, on the validation shards in DATA."""
    generator, held = load_generator(checkpoint, is_global=smoothing > 0), Shards(data, "valid")
    figures, _ = validate(generator, held, patches, smoothing)
    for name, value in figures.items():
        click.echo(f"{name}: {value:.4g}")
    if smoothing:
        return  # of the global generator, only the mask is used
    ours, theirs = colours_beside_multilevel(generator.eval(), held, min(patches, 500))
    click.echo(f"foreground error of 255: {ours:.2f}, multi-level estimation {theirs:.2f}")


if __name__ == "__main__":
    main()
