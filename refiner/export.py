"""Export trained generators: ``python -m refiner.export RUN/local/last.pt refiner.onnx``.

The file's weights are FP16, half the bytes; the arithmetic is float32: a CPU has no fast FP16, and
onnxruntime turns the weights back once, when it opens the file. ``--half`` makes a graph that
computes in FP16, for GPUs; its inputs and outputs are float32 all the same. ``--int8`` makes one
that computes in INT8, for CPUs. With ``--global`` the file holds two generators, and an input that
tells which of them is asked.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnx.compose
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from pipeline import files
from pipeline.cli.command import Command
from pipeline.errors import ModelInvalid
from pipeline.generator import INPUT, OUTPUT
from pipeline.models import RefinerModel, Session, open_refiner
from pipeline.patches import TILE
from refiner.dataset import Shards, shuffled
from refiner.network import Generator
from refiner.weights import BRANCHES, PREFIXES, model_soup

#: Largest difference from the FP32 generator that an export may have: half a grey level is seen by
#: nobody, two are the limit.
TOLERANCE = 2 / 255


def to_onnx(generator: Generator, path: Path) -> onnx.ModelProto:
    """Trace a generator to a graph with a free batch size."""
    with warnings.catch_warnings():
        # The tracing exporter needs no further package, and a graph without branches no other.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The ranges of what is rounded to INT8 are to be constants.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            generator,
            (torch.rand(2, 4, TILE, TILE),),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}},
            opset_version=17,
            dynamo=False,
        )
    return onnx.load(str(path))


def calibrate(generator: Generator, shards_folder: Path) -> Generator:
    """Build the generator that computes in INT8, with ranges as prepared patches need them.

    ``shards_folder`` is one of :mod:`refiner.prepare`, of which 1,024 patches are used. Raises
    ``SettingsError`` where there are none.
    """
    quantised = Generator(replace(generator.shape, int8=True))
    quantised.load_state_dict(generator.state_dict(), strict=False)  # it has no ranges yet
    shards = Shards(shards_folder, "train")
    patches = shuffled(shards, 0, 0)[:1024]
    quantised.train()
    with torch.no_grad():
        for start in range(0, len(patches), 16):
            quantised(shards.batch(patches[start : start + 16]).patches)
    return quantised.eval()


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what is constant: rounded weights become the bytes that they are."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        result = onnx.load(str(path))
    standard = [imported for imported in result.opset_import if not imported.domain]
    del result.opset_import[:]
    result.opset_import.extend(standard)
    return result


def fp16_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights of more than 16 numbers as FP16, each behind a cast to float32."""
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    casts = []
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size <= 16:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def fp16_compute(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn the graph to FP16, but for its input and output, and the guided filter."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    fp32 = [node.name for node in model.graph.node if node.name.startswith("/guided_filter/")]
    half = OnnxModel(convert_float_to_float16(model, keep_io_types=True, node_block_list=fp32))
    # Between two FP32 operations it puts a cast down and another one up again.
    half.remove_cascaded_cast_nodes()
    half.topological_sort()  # the casts were put last
    return half.model


def join(local: onnx.ModelProto, global_: onnx.ModelProto) -> onnx.ModelProto:
    """Put two generators into one graph, with an input ``afar``: is the global one asked?"""
    branches = []
    for model, prefix in zip((local, global_), PREFIXES, strict=True):
        graph = onnx.compose.add_prefix(model, prefix).graph
        for node in graph.node:
            node.input[:] = [INPUT if name == prefix + INPUT else name for name in node.input]
        del graph.input[:]  # a branch reads what lies around it
        branches.append(graph)
    which = dict(zip(BRANCHES, branches, strict=True))
    choose = helper.make_node("If", ["afar"], [OUTPUT], **which)
    inputs = [local.graph.input[0], helper.make_tensor_value_info("afar", TensorProto.BOOL, [])]
    graph = helper.make_graph([choose], "refiner", inputs, [local.graph.output[0]])
    return helper.make_model(graph, opset_imports=local.opset_import, ir_version=local.ir_version)


def difference(session: Session, generator: Generator, patches: np.ndarray) -> np.ndarray:
    """Absolute difference of an exported network from the FP32 generator, (N, 4, 128, 128)."""
    ours = session.run([OUTPUT], {INPUT: patches})[0]
    with torch.no_grad():
        theirs = generator(torch.from_numpy(patches)).numpy()
    return np.abs(ours - theirs)


def export(
    local: Sequence[Path],
    path: Path,
    global_: Sequence[Path] = (),
    half: bool = False,
    int8: Sequence[Path] = (),
) -> float:
    """Write the ONNX file, whole or not at all; return its difference from FP32.

    Of several checkpoints, it is their :func:`refiner.weights.model_soup`. The global generator is
    put beside the local one, if given. With ``int8``, a folder of shards for each, or one for both,
    they are :func:`calibrate` d. The difference is the largest of all pixels; in INT8 the mean, for
    there a few pixels may fall the other way. Raises ``ModelInvalid`` where it exceeds
    :data:`TOLERANCE`, or a file is no checkpoint.
    """
    generators = [model_soup(local)]
    if global_:
        generators.append(model_soup(global_, is_global=True))
    with files.placing(path) as part:
        folders = [*int8, *int8[-1:]] if int8 else [None, None]
        traced = [
            _convert(generator, part, half, folder)
            for generator, folder in zip(generators, folders, strict=False)
        ]
        model = join(*traced) if global_ else traced[0]
        onnx.checker.check_model(model)
        onnx.save(model, str(part))
        opened = open_refiner(RefinerModel(part, "", "", ""), ("CPUExecutionProvider",), 0)
        sessions = (opened.local_generator, opened.global_generator)
        differences = [
            difference(session, generator, probe())
            for session, generator in zip(sessions, generators, strict=False)
        ]
        worst = max(float(each.mean() if int8 else each.max()) for each in differences)
        if worst > TOLERANCE:
            raise ModelInvalid(f"it changes the answer by {worst * 255:.1f} of 255: not exported")
    return worst


def _convert(generator: Generator, part: Path, half: bool, int8: Path | None) -> onnx.ModelProto:
    """Trace one generator in the arithmetic asked for; ``part`` is a file to use."""
    model = to_onnx(calibrate(generator, int8) if int8 else generator, part)
    if int8:
        model = fold_constants(model)
    return fp16_compute(model) if half else fp16_weights(model)


def probe() -> Any:
    """Patches to compare on: smooth colours, an edge and fine noise, (4, 4, 128, 128) float32."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32) / TILE
    patches = np.empty((4, 4, TILE, TILE), np.float32)
    for number, patch in enumerate(patches):
        soft = 1 / (1 + np.exp(-(x - 0.5 + 0.2 * np.sin(6 * y + number)) * 20))
        colours = rng.uniform(0, 1, (2, 3, 1, 1))
        patch[:3] = colours[0] * soft + colours[1] * (1 - soft)
        patch[:3] += rng.normal(0, 0.05, patch[:3].shape)
        patch[3] = soft
    return patches.clip(0, 1)


File = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("local", nargs=-1, required=True, type=File)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--global", "global_", multiple=True, type=File, help="The global generator.")
@click.option("--half", is_flag=True, help="Compute in FP16, too: for GPUs.")
@click.option(
    "--int8",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compute in INT8, for CPUs: ranges are taken from the shards of this folder; given twice, "
    "those of the global generator from the second.",
)
def main(
    local: tuple[Path, ...],
    path: Path,
    global_: tuple[Path, ...],
    half: bool,
    int8: tuple[Path, ...],
) -> None:
    """Export the generator of LOCAL (checkpoints or ONNX files) to the ONNX file PATH.

    Of several files, and of --global given several times, it is the mean of their weights.
    """
    if half and int8:
        raise click.UsageError("--half is for GPUs, --int8 for CPUs: choose one")
    worst = export(local, path, global_, half, int8)
    click.echo(f"{path}: {path.stat().st_size:,} bytes, within {worst * 255:.2f} of 255 of FP32")


if __name__ == "__main__":
    main()
