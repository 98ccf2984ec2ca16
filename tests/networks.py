"""Tiny ONNX networks with the signatures of the two stages, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Value = onnx.ValueInfoProto


def value(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Value:
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[Value],
    outputs: list[Value],
    constants: dict[str, np.ndarray] | None = None,
) -> Path:
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def stage1(path: Path, gain: float = 4.0, offset: float = 0.0, side: int = 320) -> Path:
    """A coarse network that takes bright for subject: sigmoid(gain · mean(RGB) + offset)."""
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["grey", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["d0"]),
        ],
        [value("input", ["n", 3, side, side])],
        [value("d0", ["n", 1, side, side])],
        {"gain": np.array(gain, np.float32), "offset": np.array(offset, np.float32)},
    )


def constant_stage1(path: Path, level: float) -> Path:
    """A coarse network that answers ``level`` everywhere (NaN included)."""
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["grey", "grey"], ["zero"]),
            helper.make_node("Add", ["zero", "level"], ["d0"]),
        ],
        [value("input", ["n", 3, 320, 320])],
        [value("d0", ["n", 1, 320, 320])],
        {"level": np.array(level, np.float32)},
    )


def stage2(path: Path, order: tuple[int, ...] = (3, 0, 1, 2)) -> Path:
    """A generator that returns its input: alpha = coarse, foreground = photo."""
    return save(
        path,
        [helper.make_node("Gather", ["patches", "order"], ["refined"], axis=1)],
        [value("patches", ["n", 4, 128, 128])],
        [value("refined", ["n", 4, 128, 128])],
        {"order": np.array(order, np.int64)},
    )


def constant_stage2(path: Path, level: float) -> Path:
    """A generator that answers ``level`` in all four channels."""
    return save(
        path,
        [
            helper.make_node("Sub", ["patches", "patches"], ["zero"]),
            helper.make_node("Add", ["zero", "level"], ["refined"]),
        ],
        [value("patches", ["n", 4, 128, 128])],
        [value("refined", ["n", 4, 128, 128])],
        {"level": np.array(level, np.float32)},
    )


def two_stage2(path: Path, kind: int = TensorProto.BOOL) -> Path:
    """A file of two generators: near returns its input, afar answers 1 in all four channels."""
    out = value("refined", ["n", 4, 128, 128])
    near = helper.make_graph(
        [helper.make_node("Gather", ["patches", "order"], ["near"], axis=1)], "near", [],
        [value("near", ["n", 4, 128, 128])],
        [numpy_helper.from_array(np.array((3, 0, 1, 2), np.int64), "order")],
    )  # fmt: skip
    afar = helper.make_graph(
        [
            helper.make_node("Sub", ["patches", "patches"], ["zero"]),
            helper.make_node("Exp", ["zero"], ["afar_out"]),
        ],
        "afar", [], [value("afar_out", ["n", 4, 128, 128])],
    )  # fmt: skip
    choose = helper.make_node("If", ["which"], ["refined"], then_branch=afar, else_branch=near)
    return save(
        path,
        [helper.make_node("Cast", ["afar"], ["which"], to=TensorProto.BOOL), choose],
        [value("patches", ["n", 4, 128, 128]), value("afar", [], kind)],
        [out],
    )


class Function:
    """A session made of a Python function, for what needs no ONNX."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.function = function
        self.batches: list[int] = []

    def run(self, outputs: object, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        (batch,) = inputs.values()
        self.batches.append(len(batch))
        return [self.function(batch)]


def endless_stage1(path: Path) -> Path:
    """A coarse network whose loop never ends."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still_on"]),
            helper.make_node("Add", ["sum", "nothing"], ["same_sum"]),
        ],
        "body",
        [value("turn", [], TensorProto.INT64), value("on", [], TensorProto.BOOL), value("sum", [])],
        [value("still_on", [], TensorProto.BOOL), value("same_sum", [])],
    )
    for end in (body.input[2], body.output[1]):
        end.type.tensor_type.ClearField("shape")
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Loop", ["", "true", "grey"], ["d0"], body=body),
        ],
        [value("input", ["n", 3, 320, 320])],
        [value("d0", ["n", 1, 320, 320])],
        {"true": np.array(True), "nothing": np.array(0, np.float32)},
    )


def single_stage1(path: Path) -> Path:
    """A network that answers one number for the whole photo, as a classifier does."""
    return save(
        path,
        [helper.make_node("ReduceMean", ["input"], ["d0"], axes=[1, 2, 3], keepdims=1)],
        [value("input", ["n", 3, 320, 320])],
        [value("d0", ["n", 1, 1, 1])],
    )
