"""Public calls whose arguments `torch.ops.aten` has in another order or form: convolutions, pools, losses, norms.

Each function here is given every argument by its name (`v`), and gives the overload with its arguments; None where the
public operation is the overload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.ops import aten_names
from facula.ops.aten_names import aten


def same(a: Any, b: Any) -> bool:
    """Are two arguments the same? Tensors if they are one object."""
    if isinstance(a, Tensor) or isinstance(b, Tensor) or isinstance(a, facula.SymInt):
        return a is b
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def _trimmed(args: list[Any], defaults: list[Any]) -> tuple[Any, ...]:
    """Without what is as by default at the end; `defaults` are those of the last arguments."""
    while defaults and same(args[-1], defaults[-1]):
        args, defaults = args[:-1], defaults[:-1]
    return tuple(args)


def _wide(value: Any, n: int) -> Any:
    """A number for each dimension."""
    return [value] * n if isinstance(value, (int, facula.SymInt)) and not isinstance(value, bool) else \
        list(value) * n if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _first(values: dict[str, Any]) -> Any:
    return next(iter(values.values()))


def _conv(n: int) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        packet = getattr(aten, f"conv{n}d")
        padding = v["padding"]
        args = [_first(v), v["weight"], v["bias"], _wide(v["stride"], n),
                padding if isinstance(padding, str) else _wide(padding, n), _wide(v["dilation"], n), v["groups"]]
        plain = [None, [1] * n, [0] * n, [1] * n, 1]
        return (packet.padding if isinstance(padding, str) else packet.default), _trimmed(args, plain), {}
    return of


def _transposed(n: int) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        packet = getattr(aten, f"conv_transpose{n}d")
        args = [_first(v), v["weight"], v["bias"], _wide(v["stride"], n), _wide(v["padding"], n),
                _wide(v["output_padding"], n), v["groups"], _wide(v["dilation"], n)]
        plain = [None, [1] * n, [0] * n, [0] * n, 1, [1] * n]
        return (packet.default if n == 1 else packet.input), _trimmed(args, plain), {}
    return of


def _pool(name: str, n: int) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        size = _wide(v["kernel_size"], n)
        stride = size if v["stride"] in (None, []) else _wide(v["stride"], n)
        if name == "max":
            if v.get("return_indices"):
                return None
            args = [_first(v), size, stride, _wide(v["padding"], n), _wide(v["dilation"], n), v["ceil_mode"]]
            return getattr(aten, f"max_pool{n}d").default, _trimmed(args, [[0] * n, [1] * n, False]), {}
        args = [_first(v), size, stride, _wide(v["padding"], n), v["ceil_mode"], v["count_include_pad"]]
        plain: list[Any] = [[0] * n, False, True]
        if n > 1:
            args, plain = [*args, v["divisor_override"]], [*plain, None]
        return getattr(aten, f"avg_pool{n}d").default, _trimmed(args, plain), {}
    return of


def _adaptive(n: int) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        size = _wide(v["output_size"], n)
        return getattr(aten, f"adaptive_avg_pool{n}d").default, (_first(v), size), {}
    return of


def _batch_norm(v: dict[str, Any], given: Any, named: Any) -> Any:
    if "training" not in v or "cudnn_enabled" in v:
        return None
    return aten.batch_norm.default, (_first(v), v["weight"], v["bias"], v["running_mean"], v["running_var"],
                                     v["training"], v["momentum"], v["eps"], False), {}


def _embedding(v: dict[str, Any], given: Any, named: Any) -> Any:
    if "max_norm" not in v:
        return None
    found = aten_names._embedding(**{("input" if name == "input" else name): value for name, value in v.items()})
    overload, args, kwargs = found
    return overload, (_trimmed(list(args), [-1, False, False]) if overload._overloadname == "default" else args), kwargs


def _dropout(name: str) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        train = v.get("training", v.get("train"))
        return getattr(aten, name + ("_" if v.get("inplace") else "")).default, (_first(v), v["p"], train), {}
    return of


def _soft(name: str) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        if v.get("dim") is None:
            return None
        args = (_first(v), v["dim"]) + (() if v.get("dtype") is None else (v["dtype"],))
        return getattr(aten, name).int, args, {}
    return of


def _rectified(name: str) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        if "inplace" not in v:
            return None
        rest = [value for key, value in list(v.items())[1:] if key != "inplace"]
        packet = getattr(aten, name + ("_" if v["inplace"] else ""))
        plain = list(_DEFAULTS.get(name, []))
        return packet.default, _trimmed([_first(v), *rest], plain), {}
    return of


_DEFAULTS: dict[str, list[Any]] = {"leaky_relu": [0.01], "elu": [1.0], "hardtanh": [-1.0, 1.0], "celu": [1.0]}


def _reduced(name: str) -> Callable[..., Any]:
    """Sums and means: dimensions as a list."""
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        dim, keep = v.get("dim"), v.get("keepdim", False)
        extra = {} if v.get("dtype") is None else {"dtype": v["dtype"]}
        if dim is None and not keep:
            return getattr(aten, name).default, (_first(v),), extra
        if isinstance(dim, (tuple, list)) or dim is None:
            dim = dim if dim is None else list(dim)
        else:
            dim = [dim]
        packet = getattr(aten, name)
        return (packet.dim if name == "mean" else packet.dim_IntList), _trimmed([_first(v), dim, keep], [False]), extra
    return of


def _cross_entropy(v: dict[str, Any], given: Any, named: Any) -> Any:
    if v.get("size_average") is not None or v.get("reduce") is not None:
        return None
    reduction = {"none": 0, "mean": 1, "sum": 2}.get(v["reduction"])
    if reduction is None:
        return None
    args = [_first(v), v["target"], v["weight"], reduction, v["ignore_index"], v["label_smoothing"]]
    return aten.cross_entropy_loss.default, _trimmed(args, [None, 1, -100, 0.0]), {}


def _nll_loss(v: dict[str, Any], given: Any, named: Any) -> Any:
    reduction = {"none": 0, "mean": 1, "sum": 2}.get(v["reduction"])
    if v.get("size_average") is not None or v.get("reduce") is not None or reduction is None:
        return None
    args = [_first(v), v["target"], v["weight"], reduction, v["ignore_index"]]
    return aten.nll_loss_nd.default, _trimmed(args, [None, 1, -100]), {}


def _mse(name: str) -> Callable[..., Any]:
    def of(v: dict[str, Any], given: Any, named: Any) -> Any:
        reduction = {"none": 0, "mean": 1, "sum": 2}.get(v.get("reduction", ""))
        if reduction is None or v.get("size_average") is not None or v.get("reduce") is not None \
                or v.get("weight") is not None:
            return None
        return getattr(aten, name).default, _trimmed([_first(v), v["target"], reduction], [1]), {}
    return of


def _layer_norm(v: dict[str, Any], given: Any, named: Any) -> Any:
    shape = v["normalized_shape"]
    shape = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    return aten.layer_norm.default, _trimmed([_first(v), shape, v.get("weight"), v.get("bias"), v["eps"]],
                                             [None, None, 1e-05]), {}


def _gelu(v: dict[str, Any], given: Any, named: Any) -> Any:
    return aten.gelu.default, (_first(v),), {} if v["approximate"] == "none" else {"approximate": v["approximate"]}


def _split(v: dict[str, Any], given: Any, named: Any) -> Any:
    values = list(v.values())
    size, dim = values[1], v.get("dim", 0)
    if isinstance(size, (tuple, list)):
        return aten.split_with_sizes.default, _trimmed([values[0], list(size), dim], [0]), {}
    return aten.split.Tensor, _trimmed([values[0], size, dim], [0]), {}


SPECIAL: dict[str, Callable[..., Any]] = {
    **{f"conv{n}d": _conv(n) for n in (1, 2, 3)}, **{f"conv_transpose{n}d": _transposed(n) for n in (1, 2, 3)},
    **{f"{name}_pool{n}d": _pool(name, n) for name in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive(n) for n in (1, 2, 3)},
    "batch_norm": _batch_norm, "embedding": _embedding, "softmax": _soft("softmax"),
    "log_softmax": _soft("log_softmax"), "sum": _reduced("sum"), "mean": _reduced("mean"),
    "cross_entropy": _cross_entropy, "mse_loss": _mse("mse_loss"), "l1_loss": _mse("l1_loss"),
    "logsigmoid": lambda v, given, named: (aten.log_sigmoid.default, (_first(v),), {}),
    "nll_loss": _nll_loss, "layer_norm": _layer_norm, "gelu": _gelu, "split": _split,
    **{name: _dropout(name) for name in ("dropout", "alpha_dropout", "feature_alpha_dropout")},
    **{name: _rectified(name) for name in ("relu", "silu", "elu", "leaky_relu", "selu", "celu", "hardtanh", "relu6",
                                           "hardswish", "hardsigmoid", "mish")}}
