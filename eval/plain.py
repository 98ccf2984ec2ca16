"""A stage-1 network without its second input, for tools that know one alone, such as rembg.

    python -m eval.plain pipeline/weights/coarse.onnx plain.onnx

The bundled network takes hints (a box, clicks) as a second input; zeros say nothing.
A copy in which they are always 0 gives the answers that the network gives without hints.
"""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import files
from pipeline.models.catalogue import HINTS


def without_hints(source: Path, target: Path) -> Path:
    """Write ``source``, an ONNX file, to ``target`` without the input ``hints``; return ``target``.

    A file that has no such input is copied.
    """
    import onnx
    from onnx import helper

    model = onnx.load(str(source))
    graph = model.graph
    hints = [entry for entry in graph.input if entry.name == HINTS]
    if not hints:
        files.write(target, source.read_bytes())
        return target
    graph.input.remove(hints[0])
    photo = graph.input[0].name
    # Two channels of the photo's size, of nothing but zeros.
    constants = {"plain_start": [0], "plain_end": [2], "plain_axis": [1]}
    graph.initializer.extend(
        helper.make_tensor(name, onnx.TensorProto.INT64, [1], value)
        for name, value in constants.items()
    )
    graph.initializer.append(helper.make_tensor("plain_zero", onnx.TensorProto.FLOAT, [], [0.0]))
    nodes = [
        helper.make_node("Slice", [photo, *constants], ["plain_channels"]),
        helper.make_node("Mul", ["plain_channels", "plain_zero"], [HINTS]),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    files.write(target, model.SerializeToString())
    return target


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
def main(source: Path, target: Path) -> None:
    """Write SOURCE without its hints to TARGET."""
    target.parent.mkdir(parents=True, exist_ok=True)
    without_hints(source, target)


if __name__ == "__main__":
    main()
