"""Other spellings of a call that torch takes: NumPy's names of arguments, scalars in front, numbers alone.

They are looked at on the way to an error: the usual spellings pay nothing for them (registry.py asks here).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor, new
from facula.dtypes import bool_, int64
from facula.errors import warn
from facula.ops.casting import constant
from facula.ops.op import plain_of

_NUMPY = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other"}
# By the number of positional arguments: the names that they had in PyTorch before 1.5.
_OLD: dict[str, dict[int, tuple[str, ...]]] = {
    "add": {3: ("input", "alpha", "other")},
    "sub": {3: ("input", "alpha", "other")},
    "addcmul": {4: ("input", "value", "tensor1", "tensor2")},
    "addcdiv": {4: ("input", "value", "tensor1", "tensor2")}}
for _name, _factors in (("addmm", ("mat1", "mat2")), ("addmv", ("mat", "vec")), ("addr", ("vec1", "vec2")),
                        ("addbmm", ("batch1", "batch2")), ("baddbmm", ("batch1", "batch2"))):
    _OLD[_name] = {4: ("beta", "input", *_factors), 5: ("beta", "input", "alpha", *_factors)}
# Of two numbers, `input` and `other`, these give a tensor.
_OF_NUMBERS = ("add", "sub", "mul", "div", "floor_divide")


@functools.lru_cache(maxsize=2048)
def _names(body: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(plain_of(body)).parameters)  # whoever listens stands in the body's code
    except (TypeError, ValueError):
        return ()


def respelled(body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
              error: Exception) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments as `body` calls them, if this error comes of another spelling; else None."""
    if type(error) is not TypeError:
        return None
    if kwargs and not _NUMPY.keys().isdisjoint(kwargs):
        names = _names(body)
        found = {}
        for key, value in kwargs.items():
            known = _NUMPY.get(key, key)
            found[key if key in names or known not in names or known in kwargs else known] = value
        if found.keys() != kwargs.keys():
            return args, found
    title = body.__name__
    if title in _OLD and len(args) in _OLD[title]:
        names = _OLD[title][len(args)]
        found = dict(zip(names, args, strict=True))
        if all(isinstance(value, Tensor) is (name not in ("alpha", "beta", "value")) for name, value in found.items()) \
                and found.keys().isdisjoint(kwargs):
            warn(f"This overload of {title} is deprecated:\n\t{title}({', '.join(names)})\nConsider using one of the "
                 f"following signatures instead:\n\t{title}{inspect.signature(plain_of(body))}")
            factors = tuple([found.pop(name) for name in names if isinstance(found[name], Tensor)])
            return factors, {**kwargs, **found}
    if title in _OF_NUMBERS and len(args) == 2 and all(type(number) in (int, float, complex, bool) for number in args):
        default = defaults.get_default_dtype()
        of = {bool: bool_, int: int64, float: default, complex: default.to_complex()}[type(args[0])]
        return (new(constant(args[0], (), of)), args[1]), kwargs
    return None
