"""What damage and malice do to files: each mutation takes the bytes of a file and a random number generator, and gives
other bytes."""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

WHOLE = (0, 1, -1, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
"""Whole numbers at the limits of their kinds."""

WORDS = (
    *(
        "nan",
        "inf",
        "-inf",
        "1e308",
        "-1e308",
        "1e400",
        "1e-320",
        "0",
        "-1",
        "9" * 20,
        "9" * 5000,
        "0x10",
        "1_0",
        "\u0661",
    ),
    *("", " ", "\0", "a\0b", "\r", "\x85", "\u2028", "'", '"', "{", "}", "[", "]", ",", "%s%n", "true", "#", "é" * 130),
    *("../../x", "../../x.mp4", "..", ".", "~", "-", "*", "**", "**/**/**/*", "[", "/dev/zero", "x" * 300, "x" * 70000),
)
"""Words that no list should hold."""

DEEP = "deep"
"""Stands in a JSON value for a list in a list, ten thousand times."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), float("inf"), -0.0, "", "x", "\0"),
    *("../../x", "/etc/passwd", "\ud800", "x" * 70000, [], {}, [[]], [None], ["x"] * 10, [1e9] * 4, {"x": 1}, DEEP),
)


def of_bytes(data: bytes, rng: Random) -> bytes:
    """Bits turned, numbers put in, pieces cut out, repeated and moved; half of the time near the beginning or the end,
    where headers are."""
    held = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        size = len(held)
        near = rng.choice((size, size, 64, 512, -512))
        place = rng.randrange(max(min(near, size), 1)) if near > 0 else max(size - 1 - rng.randrange(max(-near, 1)), 0)
        length = rng.choice((1, 2, 4, 8, 16, 64, 1000))
        number = rng.choice(WHOLE) % 2**64
        packed = number.to_bytes(8, "little")[: min(length, 8)]
        packed = packed if rng.random() < 0.5 else packed[::-1]
        match rng.randrange(8):
            case 0 if held:
                held[min(place, size - 1)] ^= 1 << rng.randrange(8)
            case 1 | 2:
                held[place : place + len(packed)] = packed
            case 3:
                held[place:place] = packed
            case 4:
                del held[place : place + length]
            case 5:
                held[place:place] = held[place : place + length] * rng.choice((1, 2, 50))
            case 6:
                other = rng.randrange(max(size, 1))
                held[place : place + length] = held[other : other + length]
            case _ if rng.random() < 0.3:
                del held[place:]
    return bytes(held)


LONG = 1 << 16
"""Characters beyond which no line is repeated a thousand times: done again and again, that fills any memory."""


def of_text(data: bytes, rng: Random) -> bytes:
    """Words and lines exchanged, left out, repeated; another encoding."""
    text = data.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 5))):
        match rng.randrange(6):
            case 0 | 1 | 2:
                words = re.split(r"([\s,]+)", text)
                place = rng.randrange(len(words))
                words[place] = rng.choice(WORDS)
                text = "".join(words)
            case 3:
                lines = text.splitlines(keepends=True) or [""]
                place = rng.randrange(len(lines))
                often = rng.choice((0, 0, 2, 1000 if len(text) < LONG else 2))
                lines[place : place + 1] = lines[place : place + 1] * often
                text = "".join(lines)
            case 4:
                place = rng.randrange(len(text) + 1)
                text = text[:place] + rng.choice(WORDS) + text[place:]
            case _ if rng.random() < 0.5:
                text = text[: rng.randrange(len(text) + 1)]
    encoding = rng.choice(("utf-8",) * 8 + ("utf-16", "latin-1"))
    return text.encode(encoding, "surrogatepass" if encoding == "utf-8" else "replace")


def of_json(data: bytes, rng: Random) -> bytes:
    """Values exchanged for others, and keys left out; now and then only the text is damaged."""
    if rng.random() < 0.1:
        return of_text(data, rng)
    held = [json.loads(data)]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        within, key = rng.choice(_places(held))
        if isinstance(within, dict) and rng.random() < 0.2:
            del within[key]
        else:
            within[key] = deepcopy(rng.choice(VALUES))
    deep = "[" * 10_000 + "]" * 10_000
    return json.dumps(held[0]).replace(f'"{DEEP}"', deep).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value, as what it is in and its key or index."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def of_png(data: bytes, rng: Random) -> bytes:
    """Chunks of a PNG damaged, with checksums that are right again."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append([data[place + 4 : place + 8], data[place + 8 : place + 8 + length]])
        place += 12 + length
    chunk = rng.choice(chunks[:1] + chunks)
    if chunk[0] == b"IHDR" and rng.random() < 0.7:
        chunk[1] = struct.pack(">II", *(abs(rng.choice(WHOLE)) % 2**31 for _ in range(2))) + chunk[1][8:]
    else:
        chunk[1] = of_bytes(chunk[1], rng)
    parts = [len(body).to_bytes(4, "big") + kind + body + _sum(kind + body) for kind, body in chunks]
    return data[:8] + b"".join(parts)


def _sum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def of_zip(data: bytes, rng: Random) -> bytes:
    """Members of a ZIP (.npz, a checkpoint) damaged, renamed, left out, with checksums that are right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    match rng.randrange(6):
        case 0:
            del members[name]
        case 1:
            members[rng.choice(("../../x", "x" * 300, rng.choice(list(members))))] = members.pop(name)
        case 2:  # an array of another shape
            shape = b"(" + b"".join(b"%d, " % rng.choice((0, 1, 3, 10**6, 10**12, 2**63)) for _ in range(3)) + b")"
            members[name] = re.sub(rb"\(\d*,[^)]*\)", shape, members[name], count=1)
        case 3:
            members[name] = re.sub(
                rb"'[<|][a-zA-Z]\d+'", rng.choice((b"'|O'", b"'<f8'", b"'<U99999999'")), members[name]
            )
        case _:
            members[name] = of_bytes(members[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def of_safetensors(data: bytes, rng: Random) -> bytes:
    """The header damaged as JSON, and within it what the file says of itself."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.5:
        metadata = header["__metadata__"]
        key = rng.choice(list(metadata))
        metadata[key] = of_json(metadata[key].encode(), rng).decode("utf-8", "replace")
        changed = json.dumps(header).encode()
    else:
        changed = of_json(data[8 : 8 + length], rng)
    return len(changed).to_bytes(8, "little") + changed + data[8 + length :]


def of_onnx(data: bytes, rng: Random) -> bytes:
    """The graph changed as a graph: what it says of itself, sizes, numbers, operators, names, files outside of it."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    node = rng.choice(graph.node)
    weights = rng.choice(graph.initializer)
    limit = abs(rng.choice(WHOLE)) % 2**31 * rng.choice((1, 1, 1000))
    match rng.randrange(10):
        case 0 | 1 | 2:
            entry = rng.choice(model.metadata_props)
            entry.value = of_json(entry.value.encode(), rng).decode("utf-8", "replace").replace("\0", "")
        case 3:
            weights.ClearField("raw_data")
            weights.data_location = onnx.TensorProto.EXTERNAL
            location = rng.choice(("../../etc/passwd", "/etc/passwd", "/dev/zero", "weights.bin", ""))
            for key, value in (("location", location), ("length", str(rng.choice((0, 4, limit))))):
                entry = weights.external_data.add()
                entry.key, entry.value = key, value
        case 4:
            place = rng.randrange(len(weights.dims) or 1)
            weights.dims[place:] = [limit, *weights.dims[place + 1 :]]
        case 5:
            for attribute in node.attribute:
                attribute.i = limit
                attribute.ints[:] = [rng.choice((value, limit, -1)) for value in attribute.ints]
        case 6:
            node.op_type = rng.choice(("Relu", "Loop", "If", "Reshape", "ConstantOfShape", "Exp", "Log", "Nothing"))
        case 7:
            names = [name for other in graph.node for name in (*other.input, *other.output)]
            changed = rng.choice((node.input, node.output))
            if changed:
                changed[rng.randrange(len(changed))] = rng.choice(names)
        case 8:
            which = rng.choice((*graph.input, *graph.output))
            sizes = which.type.tensor_type.shape.dim
            if sizes:
                rng.choice(sizes).dim_value = limit
            if rng.random() < 0.3:
                which.type.tensor_type.elem_type = rng.choice((0, 2, 7, 8, 10, 16))
        case _:
            weights.raw_data = rng.choice((b"\xff", b"\0", b"\x7f\x80")) * len(weights.raw_data)
    if rng.random() < 0.1:
        graph.node.extend([node] * rng.choice((1, 1000)))
    return model.SerializeToString()
