"""Give convolutions the widths that a CPU computes directly in 8 bits.

onnxruntime's direct kernel makes outputs by sixteens, and reads inputs by fours. A convolution of
other widths is computed from a copy of its input that holds each value once for every place of the
kernel (im2col; Chellapilla et al., 2006, "High performance convolutional neural networks for
document processing", section 2). U²-Net's largest side output, 64 channels to one by 3×3 at 320 px,
takes a fifth of a pass so, and 59 MB; filled up with zeros to sixteen, of which the first is taken,
a twentieth, and 2 MB. With zeros beside R, G and B the first convolution takes a third of its time
where there is VNNI, and as long as before elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTPUTS, INPUTS = 16, 4  # channels that the kernel makes and reads at a time (mlas/lib/convsym.cpp)
_SLICES = 10  # the first operator set in which Slice is told its ends as here
_PADS = 13  # the first in which Pad takes bytes
_READ = "DequantizeLinear"


def widen(model: Any) -> None:
    """Fill up the outputs of an ONNX model's convolutions to :data:`OUTPUTS`, in place.

    Its answers stay the same. Left as they are: kernels of one pixel, which need no copy,
    convolutions in groups, and models of an operator set before the tenth.
    """
    from onnx import helper

    if _older(model, _SLICES):
        return
    constants, nodes = _constants(model), []
    for node in model.graph.node:
        nodes.append(node)
        if not _copied(node) or not all(name in constants for name in node.input[1:]):
            continue
        kernel, (answer,) = constants[node.input[1]].shape, node.output
        if kernel[0] >= OUTPUTS or max(kernel[2:]) == 1:
            continue
        for place in range(1, len(node.input)):  # the kernel, and its bias
            values = constants[node.input[place]]
            more = [(0, OUTPUTS - kernel[0])] + [(0, 0)] * (values.ndim - 1)
            node.input[place] = _constant(model, f"{answer} widened {place}", np.pad(values, more))
        node.output[0] = f"{answer} widened"
        ends = {"from": 0, "to": kernel[0], "axis": 1}
        inputs = [_constant(model, f"{answer} {end}", np.array([at])) for end, at in ends.items()]
        first = helper.make_node("Slice", [node.output[0], *inputs], [answer], f"{answer} first")
        nodes.append(first)
    _replace(model.graph, nodes)


def fill(model: Any) -> None:
    """Fill up the inputs of a quantised ONNX model's convolutions to a multiple of :data:`INPUTS`.

    In place; its answers stay the same. Left as they are: kernels of one pixel, convolutions in
    groups or not in 8 bits, and models of an operator set before the thirteenth.
    """
    from onnx import helper

    if _older(model, _PADS):
        return
    constants, nodes = _constants(model), []
    read = {node.output[0]: node for node in model.graph.node if node.op_type == _READ}
    for node in model.graph.node:
        fed = [read[name] for name in node.input[:2] if name in read]
        kernel = constants.get(fed[1].input[0]) if _copied(node) and len(fed) == 2 else None
        if kernel is not None and kernel.shape[1] % INPUTS and max(kernel.shape[2:]) > 1:
            more, (answer,) = -kernel.shape[1] % INPUTS, node.output
            ends = _constant(model, f"{answer} ends", np.array([0, 0, 0, 0, 0, more, 0, 0]))
            full, (seen, _, *zero) = f"{answer} full", fed[0].input
            nodes.append(helper.make_node("Pad", [seen, ends, *zero], [full], f"{full} pad"))
            wide = np.pad(kernel, [(0, 0), (0, more), (0, 0), (0, 0)])
            names = full, _constant(model, f"{answer} kernel", wide)
            for place, (old, name) in enumerate(zip(fed, names, strict=True)):
                again = type(old)()
                again.CopyFrom(old)
                again.name = again.output[0] = node.input[place] = f"{name} read"
                again.input[0] = name
                nodes.append(again)
        nodes.append(node)
    asked = {name for node in nodes for name in node.input}
    asked.update(end.name for end in model.graph.output)
    _replace(model.graph, [n for n in nodes if n.op_type != _READ or n.output[0] in asked])


def _older(model: Any, version: int) -> bool:
    """Tell whether a model is of an operator set before ``version``."""
    return any(entry.version < version for entry in model.opset_import if not entry.domain)


def _copied(node: Any) -> bool:
    """Tell whether a node is a convolution that may be computed from such a copy."""
    groups = [attribute.i for attribute in node.attribute if attribute.name == "group"]
    return node.op_type == "Conv" and groups in ([], [1])


def _constants(model: Any) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _constant(model: Any, name: str, values: NDArray[Any]) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _replace(graph: Any, nodes: list[Any]) -> None:
    """Give a graph other nodes, and drop the constants that none of them reads."""
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
