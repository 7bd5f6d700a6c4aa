"""Names that are free: of nodes in a graph, of globals and local variables in generated code."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from typing import Any, NamedTuple

import facula
from facula.fx import _pytree as fx_pytree
from facula.utils import _pytree as pytree

_ILLEGAL = re.compile(r"[^0-9a-zA-Z_]+")
_NUMBERED = re.compile(r"(.*)_(\d+)$")


class _CustomBuiltin(NamedTuple):
    """A global that generated code has under a name of its own, and the line that imports it."""

    import_str: str
    obj: Any


# What arguments print as, and what generated code calls.
_custom_builtins: dict[str, _CustomBuiltin] = {
    "inf": _CustomBuiltin("from math import inf", math.inf),
    "nan": _CustomBuiltin("from math import nan", math.nan),
    "NoneType": _CustomBuiltin("NoneType = type(None)", type(None)),
    "torch": _CustomBuiltin("import torch", facula),
    "device": _CustomBuiltin("from torch import device", facula.device),
    "fx_pytree": _CustomBuiltin("import torch.fx._pytree as fx_pytree", fx_pytree),
    "pytree": _CustomBuiltin("import torch.utils._pytree as pytree", pytree),
}


def _register_custom_builtin(name: str, import_str: str, obj: Any) -> None:
    _custom_builtins[name] = _CustomBuiltin(import_str, obj)


def _is_magic(x: str) -> bool:
    return x.startswith("__") and x.endswith("__")


def _snake_case(s: str) -> str:
    """CamelCase as camel_case; several capitals in a row stay one word.

    Example:
        >>> from facula.fx.graph import _snake_case
        >>> _snake_case("getHTTP"), _snake_case("conv2D")
        ('get_http', 'conv2d')
    """
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", s).lower()


class _Namespace:
    """Hands out names that nobody has."""

    def __init__(self) -> None:
        self._obj_to_name: dict[Any, str] = {}
        self._used_names: set[str] = set()
        self._base_count: dict[str, int] = {}

    def create_name(self, candidate: str, obj: Any) -> str:
        """A name like `candidate`, numbered where that is taken; the one it has already if `obj` is known."""
        if obj is not None and obj in self._obj_to_name:
            return self._obj_to_name[obj]
        candidate = _ILLEGAL.sub("_", candidate) or "_unnamed"
        if candidate[0].isdigit():
            candidate = f"_{candidate}"
        numbered = _NUMBERED.match(candidate)
        base, number = (numbered[1], int(numbered[2])) if numbered else (candidate, 0)
        if candidate in self._used_names or self._is_illegal_name(candidate, obj):
            number = self._base_count.get(base, 0)
            while candidate in self._used_names or self._is_illegal_name(candidate, obj):
                number += 1
                candidate = f"{base}_{number}"
        self._used_names.add(candidate)
        self._base_count[base] = max(number, self._base_count.get(base, 0))
        if obj is not None:
            self._obj_to_name[obj] = candidate
        return candidate

    def associate_name_with_obj(self, name: str, obj: Any) -> None:
        """Have `obj` called `name`, which is taken already."""
        if self._obj_to_name.setdefault(obj, name) != name:
            raise AssertionError("obj is already associated")

    def _is_illegal_name(self, name: str, obj: Any) -> bool:
        if keyword.iskeyword(name):
            return True
        if name in vars(builtins):
            return obj is not vars(builtins)[name]
        if name in _custom_builtins:
            return obj is not _custom_builtins[name].obj
        return False

    def _rename_object(self, obj: Any, name: str) -> None:
        self._obj_to_name[obj] = name
        self._used_names.add(name)
