"""Other spellings of a call that torch takes: NumPy's names of arguments, scalars in front, numbers alone.

They are looked at on the way to an error: the usual spellings pay nothing for them (registry.py asks here).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor, new
from facula.dtypes import bool_, int64
from facula.errors import warn
from facula.ops.casting import constant
from facula.ops.op import signature_of

_NUMPY = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other"}
# First arguments that torch calls `input`, though they have other names in its documentation.
_FIRST = frozenset(("A", "B", "L", "LU", "b", "x", "self"))
# Further names by which torch's own parser knows an argument, operation by operation.
_FURTHER: dict[str, dict[str, str]] = {
    "cholesky_solve": {"input2": "L"},
    "lstsq": {"b": "B"},
    "lu": {"A": "input"},
    "ormqr": {"input2": "tau", "input3": "other"},
    "one_hot": {"input": "tensor", "x": "tensor", "a": "tensor", "x1": "tensor"},
    "split": {"split_size": "split_size_or_sections", "input": "tensor", "x": "tensor"},
    "unsafe_split": {"split_size": "split_size_or_sections", "input": "tensor", "x": "tensor"},
    "tensor_split": {
        "tensor_indices_or_sections": "indices_or_sections",
        "indices": "indices_or_sections",
        "sections": "indices_or_sections",
    },
    "tensorsolve": {"other": "B", "x2": "B"},
    "xlog1py": {"input": "a", "x": "a", "x1": "a", "other": "b", "x2": "b"},
}
_SPELLINGS = frozenset(_NUMPY) | {"input", "other"} | {name for names in _FURTHER.values() for name in names}
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


# Of `nn.functional`, what torch's parser reads: it takes other spellings there. (Not `linear`, `gelu` and `relu_`:
# these are called as they stand, as all others are.)
PARSED = frozenset(
    """
    adaptive_avg_pool1d avg_pool1d avg_pool2d avg_pool3d bilinear celu_ channel_shuffle conv1d conv2d conv3d conv_tbc
    conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity elu_ hardshrink hardtanh_ leaky_relu_
    logsigmoid native_channel_shuffle one_hot pairwise_distance pdist pixel_shuffle pixel_unshuffle prelu rrelu_
    selu_ softplus softshrink threshold_""".split()
)


@functools.lru_cache(maxsize=4096)
def parameters_of(body: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments of `body`."""
    try:
        return tuple(signature_of(body).parameters)  # whoever listens stands in the body's code
    except (TypeError, ValueError):
        return ()


def _known(title: str, key: str, names: tuple[str, ...]) -> str:
    """What a body whose arguments have these names calls the argument `key`; `key` itself if it has no such one."""
    if key in names:
        return key
    known = _FURTHER.get(title, {}).get(key) or _NUMPY.get(key, key)
    if known == "input" and known not in names and names and names[0] in _FIRST:
        return names[0]
    return known if known in names else key


def respelled(
    body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception, title: str
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments as `body`, that of the operation of that name, calls them, if this error comes of another
    spelling; else None."""
    if type(error) is not TypeError:
        return None
    if kwargs and not _SPELLINGS.isdisjoint(kwargs):
        names = parameters_of(body)
        found = {}
        for key, value in kwargs.items():
            known = _known(title, key, names)
            found[key if known in kwargs or known in found else known] = value
        if not args and names and names[0] in found:  # forms that write in place take it so
            return (found.pop(names[0]),), found
        if found.keys() != kwargs.keys():
            return args, found
    if title in _OLD and len(args) in _OLD[title]:
        names = _OLD[title][len(args)]
        found = dict(zip(names, args, strict=True))
        if all(isinstance(value, Tensor) is (name not in ("alpha", "beta", "value")) for name, value in found.items()) \
                and found.keys().isdisjoint(kwargs):
            warn(f"This overload of {title} is deprecated:\n\t{title}({', '.join(names)})\nConsider using one of the "
                 f"following signatures instead:\n\t{title}{signature_of(body)}")
            factors = tuple([found.pop(name) for name in names if isinstance(found[name], Tensor)])
            return factors, {**kwargs, **found}
    if title in _OF_NUMBERS and len(args) == 2 and all(type(number) in (int, float, complex, bool) for number in args):
        default = defaults.get_default_dtype()
        of = {bool: bool_, int: int64, float: default, complex: default.to_complex()}[type(args[0])]
        return (new(constant(args[0], (), of)), args[1]), kwargs
    return None
