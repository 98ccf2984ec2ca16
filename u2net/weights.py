"""Trained weights back into a torch network: from an ONNX file, or from a checkpoint.

The published U²-Net-P file, and ours, have the normalisations folded into the convolutions;
``U2Net(SMALL, norm=False)`` has exactly that structure, so every weight finds its place by name.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import ModelInvalid, ModelMissing
from training import checkpoint
from u2net.network import (
    DEPTH,
    WIDTHS,
    U2Net,
    Widths,
    fused,
    unfused,
    with_hints,
)
from u2net.widths import fewer, narrowed, widened


def load(path: Path) -> U2Net:
    """Load an ONNX file, or the averaged weights of a checkpoint, as it was trained.

    Raises ``ModelMissing`` or ``ModelInvalid``.
    """
    return load_onnx(path) if path.suffix == ".onnx" else load_checkpoint(path)


def load_onnx(path: Path) -> U2Net:
    """Load the network in evaluation mode, float32, its weights frozen.

    Raises ``ModelMissing`` without the file and ``ModelInvalid`` if it is no U²-Net-P with folded
    normalisations, its weights named as in the published file (``n.e.K``, ``n.d.K``, ``n.side.K``,
    ``n.out``) or as :mod:`u2net.export` names them.
    """
    import onnx
    from onnx import numpy_helper

    if not path.is_file():
        raise ModelMissing(f"No network at {path}: give the ONNX file of a U²-Net-P.")
    try:
        graph = onnx.load(str(path)).graph
        weights = {
            torch_name(t.name): torch.from_numpy(numpy_helper.to_array(t).copy())
            for t in graph.initializer
        }
        widths = _widths(weights)
        hinted = weights["encoder.1.cin.conv.weight"].shape[1] > widths.encoder[0][1]
        model = U2Net(widths, norm=False, hints=hinted)
        model.load_state_dict(weights)
    except Exception as error:  # onnx and torch raise several kinds; all mean the wrong file
        raise ModelInvalid(f"{path} is no U²-Net-P with folded normalisations: {error}") from error
    return model.eval().requires_grad_(False)


def _widths(weights: dict[str, Tensor]) -> Widths:
    """Read off how wide the blocks of a file are."""

    def width(block: str) -> tuple[int, int]:
        inside, outside, *_ = weights[f"{block}.enc.0.conv.weight"].shape
        return inside, outside

    return Widths(
        tuple(width(f"encoder.{k}") for k in range(DEPTH)),
        tuple(width(f"decoder.{k}") for k in range(DEPTH - 1)),
        early=f"decoder.{DEPTH - 2}.cin.below.weight" in weights,
    )


def torch_name(onnx_name: str) -> str:
    """Return our name of a weight in a file.

    >>> torch_name("n.e.0.cin.conv.weight"), torch_name("model.encoder.0.cin.conv.weight")
    ('encoder.0.cin.conv.weight', 'encoder.0.cin.conv.weight')
    """
    name = onnx_name.removeprefix("n.").removeprefix("model.")
    for theirs, ours in (("e.", "encoder."), ("d.", "decoder.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def load_checkpoint(path: Path) -> U2Net:
    """Load the averaged network of a checkpoint, with normalisations or folded.

    Raises ``ModelMissing`` or ``ModelInvalid``.
    """
    state = checkpoint.read(path)
    try:
        settings = state["settings"]
        folded, hinted = settings.get("folded", False), settings.get("hinted", 0) > 0
        model = U2Net(WIDTHS[settings["widths"]], norm=not folded, hints=hinted)
        model.load_state_dict(state["ema"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelInvalid(f"{path} is no checkpoint of train_u2net.py: {error}") from error
    return model


def adapt(model: U2Net, widths: Widths, folded: bool, hints: bool, photos: Tensor) -> U2Net:
    """Return ``model`` with its normalisations folded, or unfolded, for a training to go on from.

    Unfolded ones are measured on normalised ``photos`` (B, 3, H, W). ``hints`` asks for a folded
    network that can be told them; a folded one may be widened to ``widths``, or narrowed by
    the ``photos``.
    """
    if folded:
        model = fused(model)
        narrow = bool(fewer(widths, model)) or widths.early > model.widths.early
        model = narrowed(model, widths, photos) if narrow else widened(model, widths)
        return with_hints(model) if hints else model
    return model if model.normalised else unfused(model.to(photos.device), photos)
