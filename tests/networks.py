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


def sam(encoder: Path, decoder: Path) -> None:
    """Two halves that are fed and read like MobileSAM's: what is bright within 200 px of a point
    to keep (of 1024 on the photo's longer side) is the thing that is meant."""
    node = helper.make_node
    axes = {f"axes{a}": np.array(list(map(int, a)), np.int64) for a in ("0", "3", "12", "01")}
    seen = [
        node("Shape", ["input_image"], ["size"]),
        node("Sub", ["square", "size"], ["after"]),
        node("Concat", ["nothing", "after"], ["pads"], axis=0),
        node("Pad", ["input_image", "pads"], ["padded"]),
        node("ReduceMean", ["padded"], ["grey"], axes=[2], keepdims=0),
        node("Unsqueeze", ["grey", "axes01"], ["plane"]),
        node("AveragePool", ["plane"], ["small"], kernel_shape=[16, 16], strides=[16, 16]),
        node("Expand", ["small", "channels"], ["image_embeddings"]),
    ]
    constants = {
        "square": np.array([1024, 1024, 3], np.int64),
        "nothing": np.zeros(3, np.int64),
        "channels": np.array([1, 256, 64, 64], np.int64),
        "axes01": axes["axes01"],
    }
    image = [value("input_image", ["height", "width", 3])]
    embeddings = value("image_embeddings", [1, 256, 64, 64])
    save(encoder, seen, image, [embeddings], constants)
    near = [
        node("Squeeze", ["point_coords", "axes0"], ["points"]),
        node("Unsqueeze", ["points", "axes12"], ["apart"]),
        node("Sub", ["grid", "apart"], ["way"]),
        node("Mul", ["way", "way"], ["squares"]),
        node("ReduceSum", ["squares", "axes3"], ["sum"], keepdims=0),
        node("Sqrt", ["sum"], ["distance"]),
        node("Squeeze", ["point_labels", "axes0"], ["labels"]),
        node("Equal", ["labels", "keep"], ["kept"]),
        node("Where", ["kept", "zero", "far"], ["farther"]),
        node("Unsqueeze", ["farther", "axes12"], ["added"]),
        node("Add", ["distance", "added"], ["off"]),
        node("ReduceMin", ["off"], ["nearest"], axes=[0], keepdims=1),
        node("Sub", ["radius", "nearest"], ["inside"]),
        node("ReduceMean", ["image_embeddings"], ["mean"], axes=[1], keepdims=1),
        node("Resize", ["mean", "", "", "fine"], ["brightness"], mode="nearest"),
        node("Sub", ["brightness", "half"], ["bright"]),
        node("Min", ["inside", "bright"], ["low_res_masks"]),
        node("Identity", ["low_res_masks"], ["masks"]),
        node("Identity", ["sure"], ["iou_predictions"]),
    ]
    middles = (np.arange(256, dtype=np.float32) + 0.5) * 4
    constants = {
        "grid": np.stack(np.meshgrid(middles, middles), -1)[None],
        "keep": np.array(1, np.float32),
        "zero": np.array(0, np.float32),
        "far": np.array(1e6, np.float32),
        "radius": np.array(200, np.float32),
        "half": np.array(127, np.float32),
        "fine": np.array([1, 1, 256, 256], np.int64),
        "sure": np.array([[0.9]], np.float32),
        **{name: axes[name] for name in ("axes0", "axes3", "axes12")},
    }
    outputs = [
        embeddings,
        value("point_coords", [1, "n", 2]),
        value("point_labels", [1, "n"]),
        value("mask_input", [1, 1, 256, 256]),
        value("has_mask_input", [1]),
        value("orig_im_size", [2]),
    ]
    inputs = [
        value("masks", [1, 1, 256, 256]),
        value("iou_predictions", [1, 1]),
        value("low_res_masks", [1, 1, 256, 256]),
    ]
    save(decoder, near, outputs, inputs, constants)


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
