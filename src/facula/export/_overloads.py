"""Which overload of an operation of `torch.ops.aten` a call with given arguments is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula.ops import aten_names
from facula.ops.aten_names import aten


def overload(base: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The overload of an operation that takes such arguments."""
    known = _OVERLOADS.get(base)
    if known is None and base.endswith("_"):
        known = _OVERLOADS.get(base[:-1])
    found = known(args, kwargs) if callable(known) else known or aten_names._overload(base, args, kwargs)
    return getattr(getattr(aten, base), found)


def _is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


def _dim_or_default(name: str) -> Callable[[Any, Any], str]:
    return lambda args, kwargs: name if len(args) > 1 and args[1] is not None or kwargs.get("dim") is not None \
        else "default"


def _by_second(args: Any, kwargs: Any) -> str:
    return "Tensor" if len(args) > 1 and _is_tensor(args[1]) else "Scalar"


def _tensors_or_numbers(args: Any, kwargs: Any) -> str:
    """Of `where`: self is a tensor and other a number, and so on."""
    kinds = tuple([_is_tensor(x) for x in args[1:3]])
    names: dict[Any, str] = {(True, True): "self", (False, True): "ScalarSelf", (True, False): "ScalarOther",
                             (False, False): "Scalar"}
    return names.get(kinds, "default")


def _arange(args: Any, kwargs: Any) -> str:
    return {1: "default", 2: "start"}.get(len(args), "start_step")


_OVERLOADS: dict[str, Any] = {
    "squeeze": lambda a, k: "default" if len(a) < 2 else "dims" if isinstance(a[1], (list, tuple)) else "dim",
    "mean": _dim_or_default("dim"), "sum": _dim_or_default("dim_IntList"), "nansum": _dim_or_default("dim_IntList"),
    "max": lambda a, k: "default" if len(a) < 2 else "other" if _is_tensor(a[1]) else "dim",
    "min": lambda a, k: "default" if len(a) < 2 else "other" if _is_tensor(a[1]) else "dim",
    "any": _dim_or_default("dim"), "all": _dim_or_default("dim"), "prod": _dim_or_default("dim_int"),
    "median": _dim_or_default("dim"), "nanmedian": _dim_or_default("dim"),
    "var": "correction", "std": "correction", "flatten": "using_ints", "unflatten": "int", "where":
    _tensors_or_numbers, "arange": _arange, "transpose": "int", "select": "int", "softmax": "int", "log_softmax": "int",
    "unbind": "int", "clamp": lambda a, k: "Tensor" if any(map(_is_tensor, [*a[1:], *k.values()])) else "default",
    "pow": lambda a, k: ("Tensor_" if _is_tensor(a[0]) else "") + ("Tensor" if _is_tensor(a[1]) else "Scalar")
    if _is_tensor(a[0]) else "Scalar", "lerp": lambda a, k: "Tensor" if _is_tensor(a[-1]) else "Scalar",
    **dict.fromkeys(("add", "sub", "mul"), "Tensor"),
    "div": lambda a, k: "Tensor_mode" if k.get("rounding_mode") else "Tensor",
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
                     "remainder", "fmod", "floor_divide", "copysign", "xlogy", "eq", "ne", "lt", "le", "gt", "ge"),
                    lambda a, k: "Tensor" if _is_tensor(a[0]) and _is_tensor(a[1]) else
                    "Scalar" if _is_tensor(a[0]) else "Scalar_Tensor"),
    "floor_divide": "default", "meshgrid": lambda a, k: "indexing" if k.get("indexing") else "default",
    "movedim": lambda a, k: "intlist" if isinstance(a[1], list) else "int",
    "masked_fill": lambda a, k: "Tensor" if _is_tensor(a[-1]) else "Scalar", "fill": _by_second, "rsub": _by_second,
    "index_fill": lambda a, k: "int_Tensor" if _is_tensor(a[-1]) else "int_Scalar",
    "scatter": lambda a, k: "src" if len(a) > 3 and _is_tensor(a[3]) else "value",
    "scatter_reduce": "two", "norm": lambda a, k: "ScalarOpt_dim" if len(a) > 2 and a[2] is not None else "Scalar",
    "split": "Tensor", "tensor_split": "sections", "repeat_interleave": lambda a, k: "self_Tensor" if _is_tensor(a[1])
    else "self_int", "empty": "memory_format", "index": "Tensor", "slice": "Tensor"}
