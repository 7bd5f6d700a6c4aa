"""What stands in a graph as JSON, and back: arguments, functions, descriptions of results.

Reading makes nothing but numbers, names and containers: functions are those of a closed list, or operations under their
names in `torch.ops.aten`. ValueError (or its like) for anything else.
"""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import facula
from facula._higher_order_ops._operators import HigherOrderOperator
from facula._tensor.handle import Tensor
from facula.devices import device as Device
from facula.dtypes import dtype
from facula.export._control import HANDLERS
from facula.export._hearing import NO_OPERATIONS
from facula.export._regions import set_grad
from facula.export._traced import described
from facula.export._training_operations import OPERATIONS, Operation
from facula.fx.node import Node
from facula.layouts import layout, memory_format
from facula.ops import aten_names
from facula.ops.aten_names import AtenOverload, aten
from facula.symbolic_expressions import Expression, Relation
from facula.symbolic_numbers import SymBool, SymFloat, SymInt

_DEPTH = 16
_FUNCTIONS: dict[str, Any] = {
    **{f"operator.{name}": getattr(operator, name) for name in (
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge", "getitem", "not_",
        "neg")},
    **{f"math.{name}": getattr(math, name) for name in ("trunc", "floor", "ceil", "sqrt")},
    "float": float, "sym_max": facula.sym_max, "sym_min": facula.sym_min, "set_grad": set_grad}
_BESIDE: dict[str, Any] = {f"higher_order.{one.name()}": one for one in HANDLERS} | OPERATIONS
_NAMES = {id(function): name for name, function in _FUNCTIONS.items()}
_RESERVED = frozenset(("self", "torch", "device", "inf", "nan", "NoneType", "fx_pytree", "pytree", "getattr", "slice",
                       "math", "operator", "True", "False", "None"))
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_TRACE = re.compile(r'  File "[^"\r\n]{0,500}", line \d{1,9}, in [^\r\n]{0,300}\n    [^\r\n]{0,500}\n?')
_DTYPES = {str(found).removeprefix("torch."): found for found in vars(facula).values() if isinstance(found, dtype)}
_FORMATS = {str(found): found for found in vars(facula).values() if isinstance(found, (layout, memory_format))}


def is_name(text: Any) -> bool:
    """May a value of generated code be called so?"""
    return isinstance(text, str) and bool(_NAME.fullmatch(text)) and not keyword.iskeyword(text) \
        and text not in _RESERVED and not text.startswith("__")


# ---- functions ------------------------------------------------------------------------------------------------------

def function_name(target: Any) -> str:
    """The name of what a node calls. TypeError for a function that graphs of captured programs do not have."""
    if isinstance(target, AtenOverload):
        return str(target)
    if isinstance(target, HigherOrderOperator):
        return f"higher_order.{target.name()}"
    if isinstance(target, Operation):
        return str(target)
    if id(target) in _NAMES:
        return _NAMES[id(target)]
    raise TypeError(f"torch.export.save: {target} is no operation that a file can name")


def function_of(name: Any) -> Callable[..., Any]:
    """What a name stands for."""
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]  # type: ignore[no-any-return]
    if name in _BESIDE:
        return _BESIDE[name]  # type: ignore[no-any-return]
    space, _, rest = name.partition(".")
    base, _, overload = rest.partition(".")
    if space != "aten" or not _NAME.fullmatch(base) or not _NAME.fullmatch(overload) or base.startswith("__") \
            or overload.startswith("_") or base in NO_OPERATIONS or aten_names._function(base) is None:
        raise ValueError(f"no operation: {name[:80]!r}")
    return getattr(getattr(aten, base), overload)  # type: ignore[no-any-return]


# ---- arguments ------------------------------------------------------------------------------------------------------

def written(value: Any) -> Any:
    """An argument of a node as JSON."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, complex):
        return {"complex": [written(value.real), written(value.imag)]}
    if isinstance(value, Node):
        return {"node": value.name}
    if isinstance(value, list):
        return [written(part) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [written(part) for part in value]}
    if isinstance(value, Mapping):
        return {"dict": [[written(key), written(part)] for key, part in value.items()]}
    if isinstance(value, dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Device):
        return {"device": str(value)}
    if isinstance(value, (layout, memory_format)):
        return {"format": str(value)}
    raise TypeError(f"torch.export.save: a {type(value).__name__} cannot stand in a file")


def read(value: Any, nodes: Mapping[str, Any], depth: int = 0) -> Any:
    """The same back. `nodes`: those that may be meant, by their names."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > _DEPTH:
        raise ValueError("arguments within arguments, too deep")
    if isinstance(value, list):
        return [read(part, nodes, depth + 1) for part in value]
    (kind, inner), = value.items()
    if kind == "node":
        return nodes[inner]
    if kind == "tuple" and isinstance(inner, list):
        return tuple([read(part, nodes, depth + 1) for part in inner])
    if kind == "dict":
        found = {}
        for key, part in inner:
            if type(key) not in (str, int, bool):
                raise ValueError("a key that is no string")
            found[key] = read(part, nodes, depth + 1)
        return found
    if kind == "dtype":
        return _DTYPES[inner]
    if kind == "device":
        return Device(str(inner)[:30])
    if kind == "format":
        return _FORMATS[inner]
    if kind == "float":
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[inner]
    if kind == "complex":
        real, imag = (read(part, nodes, depth + 1) for part in inner)
        return complex(real, imag)
    raise ValueError("an argument of no known kind")


# ---- what is known of results ---------------------------------------------------------------------------------------

def told(value: Any) -> Any:
    """The description of a result (`node.meta["val"]`) as JSON."""
    if isinstance(value, Tensor):
        sizes = [length if isinstance(length, int) else {"formula": _formula(length), "hint": length.values[0]}
                 for length in value.shape]
        return {"tensor": [str(value.dtype).removeprefix("torch."), sizes]}
    if isinstance(value, (SymInt, SymFloat, SymBool)):
        return {"number": [type(value).__name__, _formula(value), value.values[0]]}
    if isinstance(value, (tuple, list)):
        return [told(part) for part in value]
    return {"value": written(value)}


def _formula(number: Any) -> Any:
    formula = number.formula
    if isinstance(formula, Relation):
        return [formula.name, formula.left.dumped(), formula.right.dumped()]
    return None if formula is None else formula.dumped()


def known(value: Any, closed: Any, node: Any, depth: int = 0) -> Any:
    """The description back. `closed`: stands for the capture, which is over."""
    if depth > _DEPTH:
        raise ValueError("descriptions within descriptions, too deep")
    if isinstance(value, list):
        return tuple([known(part, closed, node, depth + 1) for part in value])
    (kind, inner), = value.items()
    if kind == "value":
        return read(inner, {})
    if kind == "number":
        name, formula, hint = inner
        types: dict[str, Any] = {"SymInt": (SymInt, int), "SymFloat": (SymFloat, float), "SymBool": (SymBool, bool)}
        made, plain = types[name]
        if type(hint) is not plain:
            raise ValueError("a number of another kind")
        return made(closed, (hint,), _read_formula(formula), None)
    if kind != "tensor":
        raise ValueError("a description of no known kind")
    of, sizes = inner
    shape, open_ = [], []
    for length in sizes:
        hint = length["hint"] if isinstance(length, dict) else length
        if type(hint) is not int or not 0 <= hint < 1 << 48:
            raise ValueError("no size")
        shape.append(hint)
        formula = _read_formula(length["formula"]) if isinstance(length, dict) else None
        if formula is not None and not isinstance(formula, Expression):
            raise ValueError("no formula of a size")
        open_.append(SymInt(closed, (hint,), formula, None) if isinstance(length, dict) else hint)
    if len(shape) > 64 or math.prod(shape) >= 1 << 62:
        raise ValueError("a tensor that is too large")
    return described(closed, facula.empty(shape, dtype=_DTYPES[of], device="meta"), open_, node)


def _read_formula(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        return Relation(value[0], Expression.loaded(value[1]), Expression.loaded(value[2]))
    return Expression.loaded(value)


def relation(value: Any) -> Relation:
    """A relation that a file has."""
    found = _read_formula(value)
    if not isinstance(found, Relation):
        raise ValueError("no relation of sizes")
    return found


def trace(text: Any) -> str | None:
    """The place of a node in its program, if it is one."""
    return text if isinstance(text, str) and _TRACE.fullmatch(text) else None
