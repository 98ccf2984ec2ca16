"""Read the graph of an ONNX file, and have it give out what is inside: without the onnx package.

``wisp explain`` and the page are to work where nobody installed onnx, which is as large as numpy.
An ONNX file is one protocol buffer, and of those we need little: the names that its nodes read
and write. To expose an inner tensor nothing is rewritten at all: two messages laid end to end
are, by definition, merged, and their lists joined (protobuf.dev, "Last One Wins"); so a short
message that holds only further outputs, appended to the file, adds them to the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import ModelInvalid

# Field numbers of onnx.proto: ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto.
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP = 1, 2, 4
_TENSOR_NAME, _VALUE_NAME = 8, 1


@dataclass(frozen=True)
class Node:
    """One operation: its type, and the names of what it reads and writes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """The nodes in the order in which they are computed, the constants, and the outputs."""

    nodes: tuple[Node, ...]
    constants: frozenset[str]
    outputs: tuple[str, ...]


def read(data: bytes) -> Graph:
    """Read the graph of an ONNX file's bytes.

    Raises :class:`ModelInvalid` where they are none.
    """
    nodes: list[Node] = []
    constants: set[str] = set()
    outputs: list[str] = []
    try:
        for number, graph in _fields(memoryview(data)):
            if number != _GRAPH:
                continue
            for kind, message in _fields(graph):
                if kind == _NODE:
                    node = _node(message)
                    nodes.append(node)
                    if node.op == "Constant":
                        constants.update(node.outputs)
                elif kind == _INITIALIZER:
                    constants.update(_strings(message, _TENSOR_NAME))
                elif kind == _OUTPUT:
                    outputs += _strings(message, _VALUE_NAME)
    except (IndexError, ValueError) as error:
        raise ModelInvalid(f"no ONNX file: {error}") from error
    if not nodes or not outputs:
        raise ModelInvalid("no ONNX file: it holds no graph")
    return Graph(tuple(nodes), frozenset(constants), tuple(outputs))


def expose(data: bytes, names: Sequence[str]) -> bytes:
    """Return the file with the tensors of these names as further outputs, in that order."""
    values = b"".join(_pack(_OUTPUT, _pack(_VALUE_NAME, name.encode())) for name in names)
    return data + _pack(_GRAPH, values)


def _node(message: memoryview) -> Node:
    texts: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: [], _NODE_OP: []}
    for number, value in _fields(message):
        if number in texts:
            texts[number].append(bytes(value).decode())
    return Node("".join(texts[_NODE_OP]), tuple(texts[_NODE_INPUT]), tuple(texts[_NODE_OUTPUT]))


def _strings(message: memoryview, wanted: int) -> list[str]:
    return [bytes(value).decode() for number, value in _fields(message) if number == wanted]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the fields of a message that have a length: number and content; pass by the rest."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("it breaks off")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"field of unknown kind {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, the lowest first; return it and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _pack(number: int, content: bytes) -> bytes:
    """A field with a length: its tag, the length, the content."""
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
