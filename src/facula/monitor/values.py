"""What a program hands to `log`, as what is written: numbers and media, settled at the call."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from facula.monitor.media import Histogram, Image, Media, Text


class Group(Media):
    """Several media under one key at one step, as a list of images is."""

    def __init__(self, members: list[Media]) -> None:
        self.kind = members[0].kind
        self._members = members

    def parts(self) -> Any:
        """Those of the members."""
        return [part for member in self._members for part in member.parts()]


def put(row: dict[str, Any], name: str, value: Any) -> None:
    """Put `value`, which is no plain float or int, into `row` under `name`: as a number, as Media, or, of a mapping,
    what is in it under "name.key". None is nothing. TypeError if it cannot be shown."""
    if isinstance(value, (bool, int, float)):
        row[name] = float(value) if isinstance(value, float) else int(value)
    elif value is None:
        return
    elif isinstance(value, Media):
        row[name] = value
    elif isinstance(value, str):
        row[name] = Text(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if type(inner) is float or type(inner) is int:
                row[f"{name}.{key}"] = inner
            else:
                put(row, f"{name}.{key}", inner)
    elif isinstance(value, np.generic) or (hasattr(value, "item") and _elements(value) == 1):
        number = value.item()
        if isinstance(number, complex):
            raise TypeError(f"log: {name!r} is complex; log its real and imaginary part, or its absolute value")
        put(row, name, number)
    elif hasattr(value, "savefig"):
        row[name] = Image(value)
    elif hasattr(value, "gcf") and hasattr(value, "plot"):  # pyplot itself
        row[name] = Image(value.gcf())
    elif isinstance(value, (list, tuple)) and value and all(isinstance(v, Media) for v in value):
        if len({v.kind for v in value}) > 1:
            raise TypeError(f"log: {name!r} is a list of different kinds of media")
        row[name] = Group(list(value))
    elif isinstance(value, (list, tuple, np.ndarray)) or hasattr(value, "detach"):
        row[name] = Histogram(value)
    elif hasattr(value, "getbands"):
        row[name] = Image(value)
    else:
        raise TypeError(f"log: {name!r} is of type {type(value).__name__}; numbers, tensors of one element, text, "
                        "mappings of these, figures, monitor.Image, Histogram, Audio and Table can be logged")


def _elements(value: Any) -> int:
    if hasattr(value, "numel"):
        return int(value.numel())
    size = getattr(value, "size", 0)
    return int(size) if isinstance(size, int) else 0


def plain(value: Any) -> Any:
    """`value` as JSON can say it: configurations are of this."""
    if isinstance(value, int) and value.bit_length() > 2000:
        return hex(value)  # Python writes no more than 640 decimal digits where it is told so, mostly 4,300
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=str)
    if hasattr(value, "item") and _elements(value) == 1:
        return plain(value.item())
    return str(value)


def said(value: Any) -> str:
    """`plain(value)` as JSON text."""
    return json.dumps(plain(value))
