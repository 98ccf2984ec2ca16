"""From a checkpoint to ONNX: ``python -m u2net.export RUN/last.pt --prepared DIR --out WEIGHTS``.

Two files: FP32, and INT8 calibrated on training photos.

Both have the input ``input`` (N, 3, H, W) float32 and the outputs ``d0`` .. ``d6``, each
(N, 1, H, W) float32 in 0..1 (d0 is the fused map), with a free N, and H and W free in steps of 32:
a second look at a photo is at a smaller size (:mod:`pipeline.views`). A network that can be told
what to cut has a second input ``hints`` (N, 2, H, W) float32 in 0..1 (:mod:`u2net.hints`); zeros
say nothing. With ``--elder`` the weights are the mean (:func:`u2net.widths.mean`) of the new ones
and of those that the training went on from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pipeline import files
from pipeline.cli.command import Command
from pipeline.models import quantize
from u2net import weights
from u2net.dataset import Prepared, evenly
from u2net.network import DEPTH, HINTS, U2Net, fused, normalise
from u2net.settings import SIZE
from u2net.widths import mean

OUTPUTS = [f"d{k}" for k in range(DEPTH + 1)]
CALIBRATION = 64  # photos for the ranges of INT8, spread over all sources
OPSET = 17  # the first with everything used here; old runtimes read it


class _Maps(nn.Module):
    """The network as exported: seven maps in 0..1 instead of logits."""

    def __init__(self, model: U2Net):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, hints: Tensor | None = None) -> tuple[Tensor, ...]:
        return tuple(torch.sigmoid(d) for d in self.model(x, hints))


def sharpen_map(model: U2Net, gain: float) -> U2Net:
    """Return a copy whose fused map d0 has its logit multiplied by ``gain``.

    A half stays a half, and what is likely becomes sure (temperature scaling; Guo et al., 2017).

    Cross-entropy teaches a map to be as grey as it is unsure, which an alpha should not be.
    """
    model = copy.deepcopy(model)
    with torch.no_grad():
        for value in model.out.parameters():
            value.mul_(gain)
    return model


def write_fp32(model: U2Net, path: Path, size: int = SIZE) -> None:
    """Write a folded network as ONNX at ``path``, checked by the ONNX checker."""
    inputs = {"input": torch.zeros(1, 3, size, size)}
    if model.hints:
        inputs["hints"] = torch.zeros(1, HINTS, size, size)
    with files.placing(path) as part:
        torch.onnx.export(
            _Maps(model).eval(),
            tuple(inputs.values()),
            str(part),
            input_names=list(inputs),
            output_names=OUTPUTS,
            dynamic_axes={name: {0: "n", 2: "h", 3: "w"} for name in [*inputs, *OUTPUTS]},
            opset_version=OPSET,
            dynamo=False,  # the TorchScript exporter folds the sizes; the other needs onnxscript
        )
        onnx.checker.check_model(onnx.load(str(part)), full_check=True)


def write_int8(fp32: Path, path: Path, photos: NDArray[np.uint8]) -> None:
    """Quantise a written FP32 network (:func:`pipeline.models.quantize.write_int8`).

    ``photos`` (N, H, W, 3) uint8 at the network's size; only training photos belong here. Every
    second one is hinted, so that the ranges have room for hints.
    """
    hinted = len(onnx.load(str(fp32)).graph.input) > 1
    with files.placing(path) as part:
        quantize.write_int8(fp32, part, _calibration(photos, hinted))


def _calibration(photos: NDArray[np.uint8], hinted: bool) -> Iterator[dict[str, NDArray]]:
    """Yield what the network is fed for each photo: by turns no hint, and a box and a click."""
    for number, photo in enumerate(photos):
        feed = {"input": network_input(photo[None])}
        if hinted:
            side = len(photo)
            feed["hints"] = np.zeros((1, HINTS, side, side), np.float32)
            if number % 2:
                middle = slice(side // 4, -side // 4)
                feed["hints"][0, 0, middle, middle] = 1
                feed["hints"][0, 1, : side // 16, : side // 16] = 1
        yield feed


def network_input(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, as training and use normalise it."""
    return normalise(torch.from_numpy(photos.transpose(0, 3, 1, 2).copy())).numpy()


def export(model: U2Net, pictures: Prepared, out: Path, gain: float = 1.0) -> tuple[Path, Path]:
    """Write ``coarse.onnx`` and ``coarse_int8.onnx`` to ``out``, and return their paths.

    ``gain`` as for :func:`sharpen_map`; ``pictures`` is the training split.
    """
    out.mkdir(parents=True, exist_ok=True)
    fp32, int8 = out / "coarse.onnx", out / "coarse_int8.onnx"
    write_fp32(sharpen_map(fused(model), gain), fp32)
    chosen = evenly(len(pictures), CALIBRATION)
    squares = [Image.fromarray(pictures.pack[k][..., :3]).resize((SIZE, SIZE)) for k in chosen]
    write_int8(fp32, int8, np.stack([np.asarray(square) for square in squares]))
    return fp32, int8


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--prepared", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--gain", default=1.0, help="How decided the map d0 is; 1: as trained.")
@click.option(
    "--elder", type=click.Path(path_type=Path, exists=True), help="Weights that it went on from."
)
@click.option(
    "--share", type=click.FloatRange(0, 1), default=1.0, help="Weight of the new ones in the mean."
)
def main(
    checkpoint: Path, prepared: Path, out: Path, gain: float, elder: Path | None, share: float
) -> None:
    """Write coarse.onnx and coarse_int8.onnx, calibrated on training photos, to OUT."""
    if (elder is None) != (share == 1):
        raise click.UsageError(
            "--share below 1 and --elder, the weights to share with, go together"
        )
    model, pictures = fused(weights.load(checkpoint)), Prepared(prepared, "train")
    if elder:
        model = mean(fused(weights.load(elder)), model, share)
    for path in export(model, pictures, out, gain):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
