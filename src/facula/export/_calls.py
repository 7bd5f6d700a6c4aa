"""A public call as a call of `torch.ops.aten`: the operation's overload, and its arguments in one form.

Arguments stand in the order of the operation's signature, as far as they differ from their defaults; those that are
given by name alone (`dtype`, `device`) by name. Sizes, strides and dimensions are lists.
"""

from __future__ import annotations

import inspect
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.export._overloads import overload
from facula.export._special_calls import SPECIAL, same
from facula.ops import aten_names, op
from facula.ops.aten_names import aten
from facula.overrides import resolve_name

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]

# Operators and forms whose meaning another operation has.
_MEANS = {"__add__": "add", "__radd__": "add", "__iadd__": "add_", "__sub__": "sub", "__isub__": "sub_",
          "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul_", "__truediv__": "div", "__itruediv__": "div_",
          "__matmul__": "matmul", "__neg__": "neg", "__abs__": "abs", "__lt__": "lt", "__le__": "le", "__gt__": "gt",
          "__ge__": "ge", "__eq__": "eq", "__ne__": "ne", "__and__": "bitwise_and", "__or__": "bitwise_or",
          "__xor__": "bitwise_xor", "__invert__": "bitwise_not", "__pow__": "pow", "__ipow__": "pow_",
          "__floordiv__": "floor_divide", "__mod__": "remainder", "__pos__": "clone",
          "__iand__": "bitwise_and_", "__ior__": "bitwise_or_", "__ixor__": "bitwise_xor_",
          "__ifloordiv__": "floor_divide_", "__imod__": "remainder_", "__lshift__": "bitwise_left_shift",
          "__rshift__": "bitwise_right_shift", "absolute": "abs", "multiply": "mul", "subtract": "sub",
          "divide": "div", "true_divide": "div", "concat": "cat", "concatenate": "cat", "greater": "gt", "less": "lt",
          "greater_equal": "ge", "less_equal": "le", "not_equal": "ne", "negative": "neg", "swapaxes": "transpose",
          "swapdims": "transpose", "special_expit": "sigmoid", "__rsub__": "rsub",
          "clip": "clamp", "clip_": "clamp_"}
_REFLECTED = {"__rpow__": "pow", "__rtruediv__": "div", "__rfloordiv__": "floor_divide", "__rmod__": "remainder",
              "__rmatmul__": "matmul"}
_CASTS = {"float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16", "int": "int32",
          "long": "int64", "short": "int16", "char": "int8", "byte": "uint8", "bool": "bool"}
_ALIASES = {"t": ("t", ()), "mT": ("mT", ()), "data": ("detach", ()), "T": ("numpy_T", ()),
            "mH": ("mH", ()), "H": ("matrix_H", ()), "real": ("real", ()), "imag": ("imag", ())}


def canonical(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    """The call of `torch.ops.aten` that a call comes to; None of what is none."""
    name = (resolve_name(func) or "").removeprefix("torch.")
    base = name.removeprefix("Tensor.").removeprefix("nn.functional.").replace(".", "_", 1)
    if name.endswith(".__get__"):
        attribute = name.split(".")[-2]
        if attribute not in _ALIASES:
            return None
        target, rest = _ALIASES[attribute]
        return overload(target, (*args, *rest), {}), (*args, *rest), {}
    if base in _REFLECTED:
        base, args = _REFLECTED[base], (args[1], args[0])
        func = None
    if base in _MEANS:
        base = _MEANS[base]
    if name in ("Tensor.where", "Tensor.polygamma"):
        args, func = (args[1], args[0], *args[2:]), None
    if base in _CASTS and name.startswith("Tensor."):
        return aten.to.dtype, (args[0], getattr(facula, _CASTS[base])), _kept(kwargs)
    given, named, signature = _bound(func, args, kwargs)
    special = SPECIAL.get(base)
    if special is not None:
        values = _values(signature, given, named) if signature is not None else None
        found: Call | None = special(values, given, named) if values is not None else None
        if found is not None:
            return found
    if base.startswith("__") or aten_names._function(base) is None:
        return None
    packet = getattr(aten, base)
    if base == "einsum" and len(given) > 1 and isinstance(given[0], str):
        given = (given[0], list(given[1:]) if isinstance(given[1], Tensor) else given[1])
    if name.startswith("nn.functional.") and not _alike(op.NAMESPACES["nn.functional"][base],
                                                        aten_names._function(base), len(given), named):
        return packet.functional, given, named
    return overload(base, given, named), given, named


def _alike(form: Any, other: Any, count: int, named: dict[str, Any]) -> bool:
    """Are the first arguments of two forms the same?"""
    if form is other:
        return True
    if op.plain_of(form).__name__ == "adaptive_max_pool1d":  # torch's always gives the places as well
        return False
    try:
        one, two = op.signature_of(form).parameters, op.signature_of(other).parameters
    except (TypeError, ValueError):
        return False
    return list(one)[:count] == list(two)[:count] and named.keys() <= two.keys() and all(
        p.default is not p.empty for name, p in list(two.items())[count:] if name not in named)


def _kept(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if value is not None}


# Of these several arguments are one list.
_LISTED = frozenset(("zeros", "ones", "empty", "rand", "randn", "view", "reshape", "permute", "expand", "repeat",
                     "tile", "flip", "new_zeros", "new_ones", "new_empty", "meshgrid", "broadcast_tensors", "resize_"))


def _bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The arguments in their places: positional ones as a tuple, others by name; and the signature, if it fits."""
    lists = tuple([list(a) if isinstance(a, tuple) and not hasattr(a, "_fields") else a for a in args])
    if func is None:
        return lists, dict(kwargs), None
    try:
        signature = op.signature_of(func)
        found = signature.bind(*args, **kwargs)
    except (TypeError, ValueError):
        return lists, dict(kwargs), None
    positional: list[Any] = []
    named: dict[str, Any] = {}
    spread = False
    for name, parameter in signature.parameters.items():
        there = name in found.arguments
        value = found.arguments.get(name, parameter.default)
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            value = list(value)
        if parameter.kind is parameter.VAR_POSITIONAL:
            if not there:
                value = []
            spread = op.plain_of(func).__name__ not in _LISTED
            if spread or value and isinstance(value[0], facula.dtype):
                positional += [list(part) if type(part) is tuple else part for part in value]
            else:
                positional.append(list(value[0]) if len(value) == 1 and isinstance(value[0], (list, tuple)) else value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= found.arguments.get(name, {})
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if there and not same(value, parameter.default):
                named[name] = value
        else:
            positional.append(value)
    defaults = [p.default for p in signature.parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    while positional and not spread and defaults[len(positional) - 1] is not inspect.Parameter.empty \
            and same(positional[-1], defaults[len(positional) - 1]):
        positional.pop()
    return tuple(positional), named, signature


def _values(signature: inspect.Signature, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Every argument by its name, defaults among them."""
    found: dict[str, Any] = {}
    at = 0
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.VAR_POSITIONAL):
            found[name] = given[at] if at < len(given) else parameter.default
            at += 1
        elif parameter.kind is parameter.KEYWORD_ONLY:
            found[name] = named.get(name, parameter.default)
    return found
