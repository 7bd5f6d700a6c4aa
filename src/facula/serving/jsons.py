"""JSON from strangers and to them: orjson where it is installed (a third of the time), else Python's own."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from .faults import BadRequest

try:
    import orjson
except ImportError:  # part of facula[serve], but nothing depends on it
    orjson = None  # type: ignore[assignment]

_TEXT = re.compile(rb'"[^"]*"')  # where no quote is escaped any more
_OTHERS = bytes(sorted(set(range(256)) - set(b"[{]}")))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # brackets as int8: how they change the level
_PART = 1 << 20


def loads(text: bytes | memoryview, depth: int = 64) -> Any:
    """What a JSON text says. Raises BadRequest: no JSON, nested deeper than `depth`, NaN, digits without end."""
    data = bytes(text)
    if _deep(data, depth):
        raise BadRequest(f"the JSON is nested deeper than {depth}")
    try:
        return orjson.loads(data) if orjson is not None else json.loads(data, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"no JSON: {error}") from None


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _deep(data: bytes, most: int) -> bool:
    """Is it nested deeper than `most`? Brackets within strings do not count. The event loop waits for the answer: bytes
    are not walked through one by one."""
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    if b'"' in data:
        data = _TEXT.sub(b"", data.replace(rb"\\", b"").replace(rb'\"', b""))
    data = data.translate(_STEPS, _OTHERS)
    level = 0
    for at in range(0, len(data), _PART):
        levels = np.cumsum(np.frombuffer(data, np.int8)[at:at + _PART], dtype=np.int32)
        if level + int(levels.max()) > most:
            return True
        level += int(levels[-1])
    return False


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in JSON")


def dumps(value: Any) -> bytes:
    """The text; NumPy arrays are lists. No NaN may be in it."""
    if orjson is not None:
        text: bytes = orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
        return text
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()
