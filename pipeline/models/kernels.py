"""Give convolutions the widths that a CPU computes directly in 8 bits.

onnxruntime's direct kernel makes outputs by sixteens. A convolution of fewer is computed from a
copy of its input that holds each value once for every place of the kernel (im2col; Chellapilla et
al., 2006, "High performance convolutional neural networks for document processing", section 2).
U²-Net's largest side output, 64 channels to one by 3×3 at 320 px, takes a fifth of a pass so, and
59 MB; filled up with zeros to sixteen, of which the first is taken, a twentieth, and 2 MB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTPUTS = 16  # channels that the kernel makes at a time (mlas/lib/convsym.cpp)
_OPSET = 10  # the first in which Slice is told its ends as here


def widen(model: Any) -> None:
    """Fill up the outputs of an ONNX model's convolutions to :data:`OUTPUTS`, in place.

    Its answers stay the same. Left as they are: kernels of one pixel, which need no copy,
    convolutions in groups, and models of an operator set before the tenth.
    """
    from onnx import helper, numpy_helper

    if any(entry.version < _OPSET for entry in model.opset_import if not entry.domain):
        return
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def constant(name: str, values: NDArray[Any]) -> str:
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    nodes = []
    for node in graph.node:
        nodes.append(node)
        if not _narrow(node, constants):
            continue
        count, (answer,) = constants[node.input[1]].dims[0], node.output
        for place in range(1, len(node.input)):  # the kernel, and its bias
            values = numpy_helper.to_array(constants[node.input[place]])
            more = [(0, OUTPUTS - count)] + [(0, 0)] * (values.ndim - 1)
            node.input[place] = constant(f"{answer} widened {place}", np.pad(values, more))
        node.output[0] = f"{answer} widened"
        ends = {"from": 0, "to": count, "axis": 1}
        inputs = [constant(f"{answer} {end}", np.array([at])) for end, at in ends.items()]
        first = helper.make_node("Slice", [node.output[0], *inputs], [answer], f"{answer} first")
        nodes.append(first)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _narrow(node: Any, constants: dict[str, Any]) -> bool:
    """Tell whether a node is a convolution that would be computed from such a copy."""
    if node.op_type != "Conv" or not all(name in constants for name in node.input[1:]):
        return False
    groups = [attribute.i for attribute in node.attribute if attribute.name == "group"]
    kernel = constants[node.input[1]].dims
    return groups in ([], [1]) and kernel[0] < OUTPUTS and max(kernel[2:]) > 1
