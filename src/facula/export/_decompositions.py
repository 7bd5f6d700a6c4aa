"""Operations as compositions of fewer ones, towards PyTorch's core set: what `run_decompositions()` puts there.

Movements of dimensions become `permute`, products `mm`, `addmm` and `bmm`, losses what they consist of. What Facula has
as one operation with a gradient of its own and PyTorch's core set has too (norms, attention, convolutions) stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula.nn import functional as F
from facula.ops.aten_names import aten

_REDUCED: dict[int, Callable[..., Any]] = {0: lambda x: x, 1: lambda x: x.mean(), 2: lambda x: x.sum()}


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    rows = x if x.dim() == 2 else x.reshape([-1, x.shape[-1]])
    turned = weight.permute(1, 0) if weight.dim() == 2 else None
    if turned is None:
        return F.linear(x, weight, bias)
    found = facula.mm(rows, turned) if bias is None else facula.addmm(bias, rows, turned)
    return found if x.dim() == 2 else found.reshape([*x.shape[:-1], weight.shape[0]])


def _matmul(a: Any, b: Any) -> Any:
    if a.dim() == b.dim() == 2:
        return facula.mm(a, b)
    if a.dim() == b.dim() == 3 and a.shape[0] == b.shape[0]:
        return facula.bmm(a, b)
    return facula.matmul(a, b)


def _permuted(x: Any, order: list[int]) -> Any:
    return x.permute(order)


def _reversed(x: Any) -> Any:
    return _permuted(x, list(range(x.dim()))[::-1])


def _transpose(x: Any, dim0: int, dim1: int) -> Any:
    order = list(range(x.dim()))
    if not order:
        return x.clone()
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return _permuted(x, order)


def _movedim(x: Any, source: Any, destination: Any) -> Any:
    count = x.dim()
    sources, places = ([d % count for d in ([dims] if isinstance(dims, int) else dims)]
                       for dims in (source, destination))
    order = [d for d in range(count) if d not in sources]
    for place, d in sorted(zip(places, sources, strict=True)):
        order.insert(place, d)
    return _permuted(x, order)


def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    count = x.dim()
    if count == 0:
        return x.reshape([1])
    start, end = start_dim % count, end_dim % count
    length = 1
    for d in range(start, end + 1):
        length = length * x.shape[d]
    return x.reshape([*x.shape[:start], length, *x.shape[end + 1:]])


def _unflatten(x: Any, dim: int, sizes: Any) -> Any:
    dim = dim % x.dim()
    return x.reshape([*x.shape[:dim], *sizes, *x.shape[dim + 1:]])


def _cross_entropy(x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore_index: int = -100,
                   label_smoothing: float = 0.0) -> Any:
    name = ("none", "mean", "sum")[reduction]
    if label_smoothing or target.is_floating_point():
        return F.cross_entropy(x, target, weight, ignore_index=ignore_index, reduction=name,
                               label_smoothing=label_smoothing)
    return F.nll_loss(F.log_softmax(x, 0 if x.dim() == 1 else 1), target, weight, ignore_index=ignore_index,
                      reduction=name)


def _full(size: Any, value: float, options: dict[str, Any]) -> Any:
    kind = options.pop("dtype", None) or facula.get_default_dtype()
    return facula.full(size, value, dtype=kind, **options)


TABLE: dict[Any, Callable[..., Any]] = {
    aten.linear.default: _linear, aten.matmul.default: _matmul, aten.t.default: _reversed,
    aten.numpy_T.default: _reversed,
    aten.mT.default: lambda x: _transpose(x, -2, -1), aten.transpose.int: _transpose, aten.movedim.int: _movedim,
    aten.movedim.intlist: _movedim, aten.flatten.using_ints: _flatten, aten.unflatten.int: _unflatten,
    aten.silu.default: lambda x: x * facula.sigmoid(x), aten.square.default: lambda x: x * x,
    aten.hardswish.default: lambda x: x * facula.clamp(x + 3, 0, 6) / 6,
    aten.relu6.default: lambda x: facula.clamp(x, 0, 6),
    aten.stack.default: lambda xs, dim=0: facula.cat([x.unsqueeze(dim) for x in xs], dim),
    aten.chunk.default: lambda x, chunks, dim=0: x.split((x.shape[dim] + chunks - 1) // chunks, dim),
    aten.mse_loss.default: lambda x, y, reduction=1: _REDUCED[reduction]((x - y) ** 2),
    aten.l1_loss.default: lambda x, y, reduction=1: _REDUCED[reduction]((x - y).abs()),
    aten.cross_entropy_loss.default: _cross_entropy,
    aten.zeros.default: lambda size, **options: _full(size, 0, options),
    aten.ones.default: lambda size, **options: _full(size, 1, options)}
