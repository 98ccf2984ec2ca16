"""Trained weights back into a generator: from a checkpoint, or from an exported ONNX file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from pipeline.errors import ModelInvalid
from refiner.network import COEFFICIENTS, Generator, Shape
from training import checkpoint

#: Of a file of two generators, by whether the global one is meant: its branch, and what the names
#: of its weights begin with.
BRANCHES = ("else_branch", "then_branch")
PREFIXES = ("near/", "afar/")
#: What layers and settings were called in earlier files.
LAYERS = {"attend.ask.": "attend.qkv.", "attend.tell.": "attend.project."}
SHAPES = {"lines": "guided_filter", "eight": "int8"}


def load_generator(path: Path, is_global: bool = False) -> Generator:
    """Load the averaged generator of a checkpoint, or that of an exported file, ready to run.

    Of a file of two it is the local one, or the global one. Raises ``ModelMissing`` or
    ``ModelInvalid``.
    """
    if path.suffix == ".onnx":
        return _load_onnx(path, is_global)
    state = checkpoint.read(path)
    try:
        generator = Generator(_shape(state["settings"]["shape"]))
        generator.load_state_dict(_renamed(state["ema" if "ema" in state else "average"]))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelInvalid(f"{path} is no checkpoint of train_refiner.py: {error}") from error
    return generator.eval()


def model_soup(paths: Sequence[Path], is_global: bool = False) -> Generator:
    """Load the generator whose weights are the mean of several (Wortsman et al., 2022).

    They have one shape, and one went on from the other: else the mean is noise. Raises
    ``ModelInvalid`` where the shapes differ.
    """
    first, *others = (load_generator(path, is_global) for path in paths)
    if any(other.shape != first.shape for other in others):
        raise ModelInvalid("generators of different shapes have no mean")
    for name, value in first.state_dict().items():
        if value.is_floating_point():
            rest = [other.state_dict()[name] for other in others]
            value.copy_(torch.stack([value, *rest]).mean(0))
    return first


def _shape(settings: Mapping[str, Any]) -> Shape:
    """Read a shape; what earlier ones had and never used is passed by."""
    new = {SHAPES.get(name, name): value for name, value in settings.items()}
    return Shape(**{k: v for k, v in new.items() if k not in ("norm", "gates", "aspp")})


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the layers of earlier files their present names, and the first its present inputs."""
    for old, new in LAYERS.items():
        weights = {name.replace(old, new): value for name, value in weights.items()}
    stem = weights["stem.0.weight"]
    if stem.shape[1] == 30:  # 4 pixels of each of 5 channels, and no channel twice
        pixels = stem[:, :20].unflatten(1, (5, 4)).transpose(1, 2).flatten(1, 2)
        stem = torch.cat([pixels, stem[:, 20:], torch.zeros_like(stem[:, :2])], 1)
    return {**weights, "stem.0.weight": stem}


def _load_onnx(path: Path, is_global: bool) -> Generator:
    """Read a generator back from its ONNX file; one that computes in INT8 does not come back."""
    try:
        graph = onnx.load(str(path)).graph
        if graph.node[0].op_type == "If":
            graph = {part.name: part.g for part in graph.node[0].attribute}[BRANCHES[is_global]]
        weights = _renamed({
            tensor.name.removeprefix(PREFIXES[is_global]).removesuffix("_half"): torch.from_numpy(
                numpy_helper.to_array(tensor).astype(np.float32)
            )
            for tensor in graph.initializer
        })  # fmt: skip
        shape = Shape(
            width=len(weights["stem.0.weight"]),
            middle=_count(weights, "middle1"),
            bottom=_count(weights, "bottom"),
            attention=any(name.startswith("attend.") for name in weights),
            guided_filter=len(weights["head.bias"]) == COEFFICIENTS + 4 + 1,
        )
        # Blocks are in the file in the order in which they run.
        inside = tuple(len(value) for name, value in weights.items() if ".body.0.0.w" in name)
        if inside != shape.inside:
            shape = replace(shape, hidden=inside)
        generator = Generator(shape)
        generator.load_state_dict(weights)
    except Exception as error:  # onnx and torch raise several kinds; all mean the wrong file
        raise ModelInvalid(
            f"{path} is no export of a plain generator: {str(error).splitlines()[0]}"
        ) from error
    return generator.eval()


def _count(names: Iterable[str], part: str) -> int:
    """Count the blocks of a part of the generator."""
    return len({name.split(".")[1] for name in names if name.startswith(f"{part}.")})
