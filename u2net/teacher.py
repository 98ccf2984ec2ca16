"""A U²-Net-P from its ONNX file, as a torch network whose inner features can be read.

The published file, and ours, have the normalisations folded into the convolutions;
``U2Net(SMALL, norm=False)`` has exactly that structure, so every weight finds its place by name.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.errors import ModelInvalid, ModelMissing
from u2net.network import SMALL, U2Net


def load(path: Path) -> U2Net:
    """The network in evaluation mode, float32, its weights frozen.

    Raises ``ModelMissing`` without the file and ``ModelInvalid`` if it is no U²-Net-P with folded
    normalisations, its weights named as in the published file (``n.e.K``, ``n.d.K``, ``n.side.K``,
    ``n.out``) or as :mod:`u2net.export` names them.
    """
    import onnx
    from onnx import numpy_helper

    if not path.is_file():
        raise ModelMissing(f"No network at {path}: give the ONNX file of a U²-Net-P.")
    try:
        weights = {
            name(t.name): torch.from_numpy(numpy_helper.to_array(t).copy())
            for t in onnx.load(str(path)).graph.initializer
        }
        model = U2Net(SMALL, norm=False)
        model.load_state_dict(weights)
    except Exception as error:  # onnx and torch raise several kinds; all mean the wrong file
        raise ModelInvalid(f"{path} is no U²-Net-P with folded normalisations: {error}") from error
    return model.eval().requires_grad_(False)


def name(onnx_name: str) -> str:
    """Our name of a weight in a file: ``n.e.0.cin...``, ``model.encoder.0.cin...`` ->
    ``encoder.0.cin...``."""
    name = onnx_name.removeprefix("n.").removeprefix("model.")
    for theirs, ours in (("e.", "encoder."), ("d.", "decoder.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
