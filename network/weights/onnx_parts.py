"""Which parts an .onnx file has that no export of this project has: read from its bytes, before anything runs it.

An .onnx file is a protobuf message: fields, each with a number and a value, of which some are messages themselves.
"""

from collections.abc import Iterator, Mapping

NUMBER, EIGHT_BYTES, MESSAGE, FOUR_BYTES = 0, 1, 2, 5  # how a field's value is written

# The fields that are messages with tensors or graphs in them, by message. Of an attribute, also those of graphs.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "inner graph", 10: "tensor", 11: "inner graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor: where in which file its values are, and whether they are there


def strange_part(content: bytes) -> str:
    """What an .onnx file has that would make it another network, or one without end; "" if it has no such part.

    Weights in a file beside it may change while the .onnx stays as it is: neither a checksum nor a digest tells. A node
    with a graph is a loop or a branch, and a loop may have no end. ValueError if the file is cut or no ONNX.
    """
    return _strange(content, 0, len(content), "model")


def _strange(content: bytes, start: int, end: int, message: str) -> str:
    for field, begin, stop, number in _fields(content, start, end):
        if message == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and number)):
            return "weights in another file"
        inner = _FIELDS[message].get(field) if stop else None
        if inner == "inner graph":
            return "a loop or a branch"
        if inner and (found := _strange(content, begin, stop, inner)):
            return found
    return ""


def _fields(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The number of each field; where its message begins and ends, both 0 if it is none; and its value as a number."""
    at = start
    while at < end:
        key, at = _varint(content, at, end)
        field, kind = (key & 0xFFFFFFFF) >> 3, key & 7
        if kind == NUMBER:
            value, at = _varint(content, at, end)
            yield field, 0, 0, value
        elif kind == MESSAGE:
            size, at = _varint(content, at, end)
            if size > end - at:
                raise ValueError("a part ends after the file")
            yield field, at, at + size, 0
            at += size
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            at += 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError(f"a part of unknown kind {kind}")


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, and where the next value begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
