"""The protocol's tensors: its names of dtypes, arrays of its elements, and the three ways they travel.

    JSON      nested or flat lists of numbers, booleans or strings
    binary    the elements' little-endian bytes, row-major; of BYTES each with its length (u32) before it
    typed     gRPC's lists by type (`typed` says which)
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from .faults import BadRequest

Array = np.ndarray[Any, Any]

# BF16 travels as the upper half of a float32; NumPy has no such type: arrays of it are uint16, with this name beside
# them.
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "BF16": np.uint16, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_}
NAMES = {np.dtype(of): name for name, of in DTYPES.items() if name != "BF16"}
_FLOATS = ("FP16", "BF16", "FP32", "FP64")
MOST_DIMENSIONS = 32


def count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def shape_of(given: Any, name: str, most: int) -> tuple[int, ...]:
    """A shape as a request says it; of no more than `most` elements."""
    if not isinstance(given, list) or len(given) > MOST_DIMENSIONS \
            or any(type(n) is not int or not 0 <= n < 1 << 62 for n in given):
        raise BadRequest(f"input {name!r}: shape must be a list of at most {MOST_DIMENSIONS} whole numbers from 0")
    if count(tuple(given)) > most or any(n > most for n in given):  # arrays of no elements have limits, too
        raise BadRequest(f"input {name!r}: a shape of {count(tuple(given))} elements, more than the request may have")
    return tuple(given)


def bfloat(values: Array) -> Array:
    """float32 as the bits of bfloat16, rounded to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def widened(bits: Array) -> Array:
    """Bits of bfloat16 as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def from_json(data: Any, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """An array of what JSON says, flat or nested as `shape`."""
    size = count(shape)
    if not isinstance(data, list):
        raise BadRequest(f"input {name!r}: data must be a list")
    if datatype == "BYTES":
        flat = _flat(data, len(shape), size, name)
        if not all(isinstance(x, str) for x in flat):
            raise BadRequest(f"input {name!r}: BYTES in JSON are strings")
        found = np.empty(size, np.object_)
        found[:] = [x.encode("utf-8", "surrogatepass") for x in flat]
        return found.reshape(shape)
    try:
        array = np.array(data)
    except (ValueError, OverflowError):
        raise BadRequest(f"input {name!r}: data is not nested evenly, or holds a number too large") from None
    if array.size != size or array.ndim != 1 and array.shape != shape:
        raise BadRequest(f"input {name!r}: data of shape {list(array.shape)}, where {list(shape)} was announced")
    if size == 0:
        return np.zeros(shape, DTYPES[datatype])
    kind = array.dtype.kind
    if datatype == "BOOL":
        if kind != "b":
            raise BadRequest(f"input {name!r}: BOOL takes true and false")
    elif datatype in _FLOATS:
        if kind not in "iuf":
            raise BadRequest(f"input {name!r}: {datatype} takes numbers")
        with np.errstate(all="ignore"):
            found = bfloat(array.astype(np.float32)) if datatype == "BF16" else array.astype(DTYPES[datatype])
        return found.reshape(shape)
    else:
        info = np.iinfo(DTYPES[datatype])
        if kind == "f" and datatype == "UINT64" or kind == "O":  # NumPy has no type for mixtures beyond int64
            flat = _flat(data, len(shape), size, name)
            if any(type(x) is not int or not info.min <= x <= info.max for x in flat):
                raise BadRequest(f"input {name!r}: {datatype} takes whole numbers from {info.min} to {info.max}")
            return np.array(flat, DTYPES[datatype]).reshape(shape)
        if kind not in "iu" or int(array.min()) < info.min or int(array.max()) > info.max:
            raise BadRequest(f"input {name!r}: {datatype} takes whole numbers from {info.min} to {info.max}")
    return array.astype(DTYPES[datatype]).reshape(shape)


def _flat(data: list[Any], depth: int, size: int, name: str) -> list[Any]:
    for _ in range(depth - 1):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(x, list) for x in data):
            raise BadRequest(f"input {name!r}: data is not nested evenly")
        data = [x for part in data for x in part]
    if len(data) != size:
        raise BadRequest(f"input {name!r}: {len(data)} elements, where {size} were announced")
    return data


def to_json(array: Array, datatype: str) -> list[Any]:
    """A flat list. Numbers that JSON lacks (infinities, NaN) are refused by who writes it."""
    if datatype == "BYTES":
        try:
            return [x.decode() for x in array.reshape(-1).tolist()]
        except UnicodeDecodeError:
            raise BadRequest("this output holds bytes that are no text: ask for it as binary data") from None
    if datatype == "BF16":
        array = widened(array)
    return array.reshape(-1).tolist()  # type: ignore[no-any-return]


def from_bytes(data: memoryview, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """An array of little-endian bytes; it may share their memory."""
    if datatype == "BYTES":
        return _strings(data, shape, name)
    of = np.dtype(DTYPES[datatype]).newbyteorder("<")
    if len(data) != count(shape) * of.itemsize:
        raise BadRequest(f"input {name!r}: {len(data)} bytes, where {count(shape) * of.itemsize} are "
                         f"{list(shape)} of {datatype}")
    if datatype == "BOOL":
        found: Array = (np.frombuffer(data, np.uint8) != 0).reshape(shape)
        return found
    return np.frombuffer(data, of).reshape(shape)


def _strings(data: memoryview, shape: tuple[int, ...], name: str) -> Array:
    size, at = count(shape), 0
    if size * 4 > len(data):
        raise BadRequest(f"input {name!r}: {len(data)} bytes hold no {size} strings")
    found = np.empty(size, np.object_)
    for k in range(size):
        if at + 4 > len(data):
            raise BadRequest(f"input {name!r}: the bytes end before string {k}")
        length = struct.unpack_from("<I", data, at)[0]
        at += 4 + length
        if at > len(data):
            raise BadRequest(f"input {name!r}: the bytes end within string {k}")
        found[k] = bytes(data[at - length:at])
    if at != len(data):
        raise BadRequest(f"input {name!r}: {len(data) - at} bytes follow the last string")
    return found.reshape(shape)


def to_bytes(array: Array, datatype: str) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(x)) + x for x in array.reshape(-1).tolist())
    return np.ascontiguousarray(array, np.dtype(DTYPES[datatype]).newbyteorder("<")).tobytes()
