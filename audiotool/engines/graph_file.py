"""Check an ONNX file before it is run, because a graph may come from an untrusted source.

An accepted graph only computes: no code is loaded for it, and no other file is read except the checkpoint it
was made from, which holds the weights of bundled graphs. The file is a protocol buffer (`onnx.proto`). This
module parses only the fields that the checks need, so that a graph runs without the package `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from audiotool.errors import CheckpointError

STANDARD = ("", "ai.onnx")
"""Names of the domain of ONNX's standard operators."""

SPARSE = "a sparse tensor"
"""What its values may be is not checked, and no exported graph has one."""

DEEPEST = 32
"""Greatest depth of graphs nested in nodes of graphs."""

VARINT, BYTES = 0, 2
FIXED = {1: 8, 5: 4}
"""Wire types of protocol buffers; those of a fixed number of bytes."""

# Field numbers of onnx.proto.
MODEL_GRAPH, MODEL_OPSET, MODEL_FUNCTIONS = 7, 8, 25
OPSET_DOMAIN, OPSET_VERSION = 1, 2
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
ATTRIBUTE_SPARSE, ATTRIBUTE_SPARSES = 22, 23
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2


@dataclass(eq=False, repr=False)
class Contents:
    """The facts of a graph that are checked.

    Args:
        opset: version of the ONNX operator set; 0 if the file names none.
        custom: names of operators and functions that are not ONNX's.
        external: names of other files that hold tensors.
        nodes: number of operators.
    """

    opset: int = 0
    custom: list[str] = field(default_factory=list)
    external: set[str] = field(default_factory=set)
    nodes: int = 0


def check_graph(data: bytes, path: Path, opset: int, checkpoint: str | None = None) -> bool:
    """Check that a file is a graph of the opset that only computes.

    Args:
        checkpoint: name of the one file beside it that may hold its tensors.
    Returns:
        Whether that file holds some.
    Raises:
        CheckpointError: damaged, of another opset, with custom operators, or with tensors in other files.
    """
    try:
        found = read_contents(data)
    except (ValueError, IndexError, UnicodeDecodeError):
        found = Contents()
    if not found.nodes:
        raise CheckpointError(f"{path} is not a whole ONNX file: it is damaged; export it again")
    if found.external - {checkpoint}:
        raise CheckpointError(
            f"{path} has values in other files, which a graph from outside may not read: export it again"
        )
    if found.custom:
        raise CheckpointError(
            f"{path} has the operator '{found.custom[0]}', which is not ONNX's own and would load code:"
            " export it again"
        )
    if found.opset != opset:
        raise CheckpointError(
            f"{path} is of ONNX opset {found.opset}, this audiotool runs {opset}: export it again with"
            " `audiotool models export`"
        )
    return bool(found.external)


def read_contents(data: bytes) -> Contents:
    """Read an ONNX file.

    Raises:
        ValueError, IndexError, UnicodeDecodeError: the file is damaged or not ONNX.
    """
    found = Contents()
    for number, value in _fields(memoryview(data)):
        if number == MODEL_OPSET:
            opset = dict(_fields(_bytes(value)))
            if _text(opset.get(OPSET_DOMAIN, b"")) in STANDARD:
                found.opset = _integer(opset.get(OPSET_VERSION, 0))
        elif number == MODEL_GRAPH:
            _read_graph(_bytes(value), found, 0)
        elif number == MODEL_FUNCTIONS:
            found.custom.append("a function")
    return found


def _read_graph(data: memoryview, found: Contents, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("graphs too deep")
    for number, value in _fields(data):
        if number == GRAPH_NODE:
            _read_node(_bytes(value), found, depth)
        elif number == GRAPH_INITIALIZER:
            _read_tensor(_bytes(value), found)
        elif number == GRAPH_SPARSE:
            found.custom.append(SPARSE)


def _read_node(data: memoryview, found: Contents, depth: int) -> None:
    found.nodes += 1
    operator = domain = ""
    for number, value in _fields(data):
        if number == NODE_OPERATOR:
            operator = _text(value)
        elif number == NODE_DOMAIN:
            domain = _text(value)
        elif number == NODE_ATTRIBUTE:
            for kind, inner in _fields(_bytes(value)):
                if kind in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                    _read_tensor(_bytes(inner), found)
                elif kind in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                    _read_graph(_bytes(inner), found, depth + 1)
                elif kind in (ATTRIBUTE_SPARSE, ATTRIBUTE_SPARSES):
                    found.custom.append(SPARSE)
    if domain not in STANDARD:
        found.custom.append(f"{domain}.{operator}")


def _read_tensor(data: memoryview, found: Contents) -> None:
    elsewhere, location = False, ""
    for number, value in _fields(data):
        if number == TENSOR_EXTERNAL:
            elsewhere = True
            entry = {key: _text(text) for key, text in _fields(_bytes(value))}
            if entry.get(ENTRY_KEY) == "location":
                location = entry.get(ENTRY_VALUE, "")
        elif number == TENSOR_LOCATION and value:
            elsewhere = True
    if elsewhere:
        found.external.add(location)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the field numbers and values of a protocol buffer message.

    Nearly all numbers have one byte, which is read here.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = data[at], at + 1
        if key >= 128:
            key, at = _varint(data, at - 1)
        wire = key & 7
        if wire == VARINT:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if wire == BYTES:
            size, at = data[at], at + 1
            if size >= 128:
                size, at = _varint(data, at - 1)
        elif wire in FIXED:
            size = FIXED[wire]
        else:
            raise ValueError(f"no wire type {wire}")
        first, at = at, at + size
        if at > end:
            raise ValueError("a field goes beyond its message")
        yield key >> 3, data[first:at]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in place of a message")
    return value


def _integer(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("a message in place of a number")
    return value


def _text(value: int | bytes | memoryview) -> str:
    if isinstance(value, int):
        raise ValueError("a number in place of a text")
    return bytes(value).decode()
