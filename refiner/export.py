"""Export a trained generator: ``python -m refiner.export RUN/last.pt refiner.onnx``.

The file's weights are FP16, half the bytes; the arithmetic is float32: a CPU has no fast FP16, and
onnxruntime turns the weights back once, when it opens the file. ``--half`` makes a graph that
computes in FP16, for GPUs; its inputs and outputs are float32 all the same. ``--eight`` makes one
that computes in 8 bits, for CPUs. With ``--afar`` the file holds two generators, and an input that
tells which of them is asked.
"""

from __future__ import annotations

import os
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

from pipeline.cli.command import Command
from pipeline.errors import ModelInvalid, SettingsError
from pipeline.generator import INPUT, OUTPUT
from pipeline.models import RefinerModel, Session, open_refiner
from pipeline.patches import TILE
from refiner.dataset import Shards, order
from refiner.network import COEFFICIENTS, Generator, Shape

#: Largest difference from the FP32 generator that an export may have: half a grey level is seen by
#: nobody, two are the limit.
TOLERANCE = 2 / 255
#: Of a file of two generators: which branch, and what its names begin with, by ``afar``.
BRANCHES = ("else_branch", "then_branch")
PREFIXES = ("near/", "afar/")


def restore(checkpoint: Path, afar: bool = False) -> Generator:
    """Build the averaged generator of a checkpoint, or that of an exported file, ready to run.

    Of a file of two it is the one that redraws patches, or the one that looks from ``afar``.

    Raises :class:`pipeline.errors.ModelInvalid` where the file is neither.
    """
    if checkpoint.suffix == ".onnx":
        return _reimport(checkpoint, afar)
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        generator = Generator(Shape(**state["settings"]["shape"]))
        generator.load_state_dict(state["average"])
    except (KeyError, TypeError, RuntimeError, EOFError, OSError) as error:
        raise ModelInvalid(f"{checkpoint} is no checkpoint of train_refiner.py: {error}") from error
    return generator.eval()


def mean(checkpoints: Sequence[Path], afar: bool = False) -> Generator:
    """Build the generator whose weights are the mean of several (Wortsman et al., 2022, "soups").

    They have one shape, and one went on from the other: else the mean is noise. Raises
    :class:`pipeline.errors.ModelInvalid` where the shapes differ, or a file is no checkpoint.
    """
    first, *others = (restore(checkpoint, afar) for checkpoint in checkpoints)
    if any(other.shape != first.shape for other in others):
        raise ModelInvalid("generators of different shapes have no mean")
    state = first.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            rest = [other.state_dict()[name] for other in others]
            value.copy_(torch.stack([value, *rest]).mean(0))
    return first


def _reimport(path: Path, afar: bool) -> Generator:
    """Read a generator back from its ONNX file.

    Normalisation, gates and ASPP do not come back, nor what was rounded to 8 bits.
    """
    try:
        graph = onnx.load(str(path)).graph
        if graph.node[0].op_type == "If":
            graph = {part.name: part.g for part in graph.node[0].attribute}[BRANCHES[afar]]
        weights = {
            tensor.name.removeprefix(PREFIXES[afar]).removesuffix("_half"): torch.from_numpy(
                numpy_helper.to_array(tensor).astype(np.float32)
            )
            for tensor in graph.initializer
        }

        def count(part: str) -> int:
            return len({name.split(".")[1] for name in weights if name.startswith(f"{part}.")})

        width = len(weights["stem.0.weight"])
        attention = any(name.startswith("attend.") for name in weights)
        lines = len(weights["head.bias"]) == COEFFICIENTS + 4 + 1
        shape = Shape(width, count("middle1"), count("bottom"), attention=attention, lines=lines)
        generator = Generator(shape)
        generator.load_state_dict(weights)
    except Exception as error:  # onnx and torch raise several kinds; all mean the wrong file
        raise ModelInvalid(
            f"{path} is no export of a plain generator: {str(error).splitlines()[0]}"
        ) from error
    return generator.eval()


def to_onnx(generator: Generator, path: Path) -> onnx.ModelProto:
    """Trace a generator to an FP32 graph with a free batch size; normalisation is folded in."""
    with warnings.catch_warnings():
        # The tracing exporter needs no further package, and a graph without branches no other.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The ranges of what is rounded to 8 bits are to be constants.
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


def rounded(generator: Generator, data: Path) -> Generator:
    """Build the generator that computes in 8 bits, with ranges as prepared patches need them.

    ``data`` is a folder of :mod:`refiner.prepare`, of which 1,024 patches are used. Raises
    :class:`pipeline.errors.SettingsError` where there are none, or the generator has normalisation.
    """
    if generator.shape.norm != "none":
        raise SettingsError("only a generator without normalisation can compute in 8 bits")
    coarser = Generator(replace(generator.shape, eight=True))
    coarser.load_state_dict(generator.state_dict(), strict=False)  # it has no ranges yet
    shards = Shards(data, "train")
    patches = order(shards, 0, 0)[:1024]
    coarser.train()
    with torch.no_grad():
        for start in range(0, len(patches), 16):
            coarser(shards.batch(patches[start : start + 16]).patches)
    return coarser.eval()


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
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


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
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


def halve_arithmetic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn the graph to FP16, but for its input and output, and the fit to the colours."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    exact = [node.name for node in model.graph.node if node.name.startswith("/lines/")]
    half = OnnxModel(convert_float_to_float16(model, keep_io_types=True, node_block_list=exact))
    # Between two exact operations it puts a cast down and another one up again.
    half.remove_cascaded_cast_nodes()
    half.topological_sort()  # the casts were put last
    return half.model


def join(near: onnx.ModelProto, afar: onnx.ModelProto) -> onnx.ModelProto:
    """Put two generators into one graph, with a truth value ``afar`` for a second input."""
    branches = []
    for model, prefix in zip((near, afar), PREFIXES, strict=True):
        graph = onnx.compose.add_prefix(model, prefix).graph
        for node in graph.node:
            node.input[:] = [INPUT if name == prefix + INPUT else name for name in node.input]
        del graph.input[:]  # a branch reads what lies around it
        branches.append(graph)
    which = dict(zip(BRANCHES, branches, strict=True))
    choose = helper.make_node("If", ["afar"], [OUTPUT], **which)
    inputs = [near.graph.input[0], helper.make_tensor_value_info("afar", TensorProto.BOOL, [])]
    graph = helper.make_graph([choose], "refiner", inputs, [near.graph.output[0]])
    return helper.make_model(graph, opset_imports=near.opset_import, ir_version=near.ir_version)


def difference(session: Session, generator: Generator, patches: np.ndarray) -> np.ndarray:
    """Absolute difference of an exported network from the FP32 generator, (N, 4, 128, 128)."""
    ours = session.run([OUTPUT], {INPUT: patches})[0]
    with torch.no_grad():
        theirs = generator(torch.from_numpy(patches)).numpy()
    return np.abs(ours - theirs)


def export(
    checkpoint: Path,
    path: Path,
    half: bool = False,
    others: Sequence[Path] = (),
    afar: Sequence[Path] = (),
    eight: Path | None = None,
) -> float:
    """Write the ONNX file, whole or not at all; return its difference from FP32.

    With ``others``, it is the :func:`mean` of them all; with ``afar``, that of these is put beside
    it, for the looks from afar; with ``eight``, it is :func:`rounded`. The difference is the
    largest of all pixels; in 8 bits the mean, for there a few pixels may fall the other way. Raises
    :class:`pipeline.errors.ModelInvalid` where it exceeds :data:`TOLERANCE`, or a file is no
    checkpoint.
    """
    exact = [mean([checkpoint, *others])]
    if afar:
        exact.append(mean(afar, afar=True))
    generators = [rounded(generator, eight) for generator in exact] if eight else exact
    part = path.with_name(path.name + ".part")
    try:
        models = [to_onnx(generator, part) for generator in generators]
        models = [folded(m) for m in models] if eight else models
        models = [halve_arithmetic(m) if half else halve_weights(m) for m in models]
        model = join(*models) if afar else models[0]
        onnx.checker.check_model(model)
        onnx.save(model, str(part))
        opened = open_refiner(RefinerModel(part, "", "", ""), ("CPUExecutionProvider",), 0)
        apart = [
            difference(session, generator, probe())
            for session, generator in zip(
                (opened.local_generator, opened.global_generator), exact, strict=False
            )
        ]
        worst = max(float(each.mean() if eight else each.max()) for each in apart)
        if worst > TOLERANCE:
            raise ModelInvalid(f"it changes the answer by {worst * 255:.1f} of 255: not exported")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return worst


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


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--half", is_flag=True, help="Compute in FP16, too: for GPUs.")
@click.option(
    "--mean",
    "others",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another checkpoint or exported file: export the mean of their weights. Repeatable.",
)
@click.option(
    "--afar",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A second generator, for the looks from afar; of several, the mean. Repeatable.",
)
@click.option(
    "--eight",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compute in 8 bits, for CPUs: ranges are taken from the prepared patches of this folder.",
)
def main(
    checkpoint: Path,
    path: Path,
    half: bool,
    others: tuple[Path, ...],
    afar: tuple[Path, ...],
    eight: Path | None,
) -> None:
    """Export the averaged generator of CHECKPOINT to the ONNX file PATH."""
    if half and eight:
        raise click.UsageError("--half is for GPUs, --eight for CPUs: choose one")
    worst = export(checkpoint, path, half, others, afar, eight)
    click.echo(f"{path}: {path.stat().st_size:,} bytes, within {worst * 255:.2f} of 255 of FP32")


if __name__ == "__main__":
    main()
