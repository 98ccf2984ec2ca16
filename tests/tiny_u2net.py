"""A network of some kilobytes with the joints of a U²-Net."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests import networks


def tiny_u2net(path: Path, side: int = 64, only_fused: bool = False) -> Path:
    """A network with the joints of a U²-Net: 6 + 5 blocks that end in sums, 6 side outputs."""
    rng = np.random.default_rng(3)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(source: str, target: str, channels: tuple[int, int]) -> str:
        w = constant(f"{target}.w", rng.normal(0, 0.5, (channels[1], channels[0], 1, 1)))
        nodes.append(helper.make_node("Conv", [source, w], [target]))
        return target

    def block(source: str, name: str, channels: int) -> str:
        conv(source, f"{name}.in", (channels, 4))
        nodes.append(helper.make_node("Relu", [f"{name}.in"], [f"{name}.x"]))
        conv(f"{name}.x", f"{name}.y", (4, 4))
        nodes.append(helper.make_node("Add", [f"{name}.y", f"{name}.x"], [name]))
        return name

    def up(source: str, factor: int) -> str:
        scale = constant(f"{source}.scale{factor}", np.array([1, 1, factor, factor]))
        target = f"{source}.up{factor}"
        nodes.append(helper.make_node("Resize", [source, "", scale], [target], mode="linear"))
        return target

    x = "input"
    for k in range(6):
        if k:
            pooled = f"en{k}.pool"
            nodes.append(
                helper.make_node("MaxPool", [x], [pooled], kernel_shape=[2, 2], strides=[2, 2])
            )
            x = pooled
        x = block(x, f"en{k + 1}", 4 if k else 3)
    decoded = {6: x}
    for k in range(5, 0, -1):
        nodes.append(helper.make_node("Concat", [up(x, 2), f"en{k}"], [f"cat{k}"], axis=1))
        x = decoded[k] = block(f"cat{k}", f"de{k}", 8)
    sides = []
    for k in range(1, 7):
        conv(decoded[k], f"side{k}", (4, 1))
        sides.append(up(f"side{k}", 2 ** (k - 1)) if k > 1 else "side1")
    nodes.append(helper.make_node("Concat", sides, ["all"], axis=1))
    conv("all", "fused", (6, 1))
    names = ["fused", *sides]
    count = 1 if only_fused else 7
    for k in range(count):
        nodes.append(helper.make_node("Sigmoid", [names[k]], [f"d{k}"]))
    graph = helper.make_graph(
        nodes,
        "u2net",
        [networks.value("input", [1, 3, side, side])],
        [networks.value(f"d{k}", [1, 1, side, side]) for k in range(count)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
