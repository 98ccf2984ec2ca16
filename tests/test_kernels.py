"""Convolutions filled up to the widths that INT8 kernels take."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from pipeline.models import kernels
from tests import networks

WIDTHS = (1, 3, 15)


def convolution(path, out: int, kernel: int = 3, groups: int = 1, bias: bool = True):
    """Write two convolutions that share their weights, and what is added to the first."""
    rng = np.random.default_rng(out)
    pads = [kernel // 2] * 4
    nodes = [
        helper.make_node("Conv", ["x", "w", *["b"] * bias], [name], pads=pads, group=groups)
        for name in ("one", "two")
    ]
    nodes.append(helper.make_node("Add", ["one", "two"], ["y"]))
    weights = {
        "w": rng.normal(size=(out, 6 // groups, kernel, kernel)).astype(np.float32),
        "b": rng.normal(size=out).astype(np.float32),
    }
    if not bias:
        del weights["b"]
    ends = [networks.value("x", ["N", 6, 9, 11])], [networks.value("y", ["N", out, 9, 11])]
    return onnx.load(networks.save(path, nodes, *ends, weights))


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(0).normal(size=(2, 6, 9, 11)).astype(np.float32)
    return session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", WIDTHS)
def test_answers_stay_the_same(tmp_path, out, bias):
    model = convolution(tmp_path / "a.onnx", out, bias=bias)
    before = answer(model)
    kernels.widen(model)
    onnx.checker.check_model(model, full_check=True)
    widths = {tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 4}
    assert widths == {kernels.OUTPUTS}
    np.testing.assert_allclose(answer(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [{"out": 16}, {"out": 1, "kernel": 1}, {"out": 6, "groups": 2}])
def test_what_needs_no_copy_stays(tmp_path, case):
    model = convolution(tmp_path / "a.onnx", **case)
    before = model.SerializeToString()
    kernels.widen(model)
    assert model.SerializeToString() == before


def test_models_of_an_old_operator_set_stay(tmp_path):
    model = convolution(tmp_path / "a.onnx", 1)
    model.opset_import[0].version = 9
    before = model.SerializeToString()
    kernels.widen(model)
    assert model.SerializeToString() == before


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put what convolutions read, and their kernels, in 8 bits."""
    graph = model.graph
    weight = next(tensor for tensor in graph.initializer if tensor.name == "w")
    values = numpy_helper.to_array(weight)
    scale = np.abs(values).max((1, 2, 3)) / 127
    bytes_ = np.round(values / scale[:, None, None, None]).astype(np.int8)
    constants = {
        "w bytes": bytes_,
        "w scale": scale,
        "w zero": np.zeros(len(scale), np.int8),
        "x scale": np.float32(0.03),
        "x zero": np.uint8(131),
    }
    graph.initializer.remove(weight)
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    for node in graph.node:
        if node.op_type == "Conv":
            node.input[0] = "x read"
    x, ends = ["x scale", "x zero"], ["w bytes", "w scale", "w zero"]
    first = [
        helper.make_node("QuantizeLinear", ["x", *x], ["x bytes"]),
        helper.make_node("DequantizeLinear", ["x bytes", *x], ["x read"]),
        helper.make_node("DequantizeLinear", ends, ["w"], axis=0),
    ]
    nodes = [*first, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("out", [1, 16])
def test_inputs_in_8_bits_are_filled_up(tmp_path, out):
    model = rounded(convolution(tmp_path / "a.onnx", out))
    before = answer(model)
    kernels.fill(model)
    onnx.checker.check_model(model, full_check=True)
    shapes = [tuple(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 4]
    assert shapes == [(out, 8, 3, 3)] * 2
    np.testing.assert_array_equal(answer(model), before)


@pytest.mark.parametrize("case", [{"out": 16, "kernel": 1}, {"out": 6, "groups": 2}])
def test_inputs_that_need_no_copy_stay(tmp_path, case):
    model = rounded(convolution(tmp_path / "a.onnx", **case))
    before = model.SerializeToString()
    kernels.fill(model)
    assert model.SerializeToString() == before


def test_inputs_that_are_not_in_8_bits_stay(tmp_path):
    model = convolution(tmp_path / "a.onnx", 16)
    before = model.SerializeToString()
    kernels.fill(model)
    assert model.SerializeToString() == before


def test_inputs_of_an_old_operator_set_stay(tmp_path):
    model = rounded(convolution(tmp_path / "a.onnx", 16))
    model.opset_import[0].version = 12
    before = model.SerializeToString()
    kernels.fill(model)
    assert model.SerializeToString() == before
