"""Type rules of operations whose shape follows from sizes too, not only from which dimensions there are."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, dtype, float64, int64
from facula.ops.arguments import dims_of, wrap_dim
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.promotion import result_dtype
from facula.ops.type_rules import Given, Typed, TypeRule, floating


def _of_first(given: Given) -> Tensor:
    x: Tensor = next(iter(given.values()))
    return x


# ---- along one dimension --------------------------------------------------------------------------------


def _resized(shape: Any, dim: int, size: int) -> tuple[int, ...]:
    return tuple([size if k == dim else n for k, n in enumerate(shape)])


def _differences(given: Given) -> Typed:
    x, n = _of_first(given), given["n"]
    parts = [p for p in (given["prepend"], x, given["append"]) if p is not None] if n else [x]
    d = wrap_dim(given["dim"], len(x.shape))
    return _resized(x.shape, d, max(sum(p.shape[d] for p in parts) - n, 0)), result_dtype(tuple(parts))


def _trapezia(given: Given) -> tuple[list[int], int, dtype]:
    """The shape of the trapezia that y's elements and the steps make, the dimension they follow each other in."""
    y, x = _of_first(given), given["x"]
    d = wrap_dim(given["dim"], len(y.shape))
    shape = _resized(y.shape, d, max(y.shape[d] - 1, 0))
    if x is None:
        of = result_dtype((y, 1 if given["dx"] is None else given["dx"]))
        return list(shape), d, of
    if len(x.shape) == 1 and len(y.shape) > 1:
        steps = tuple([max(x.shape[0] - 1, 0) if k == d else 1 for k in range(len(y.shape))])
    else:
        e = d - len(y.shape) + len(x.shape)
        steps = _resized(x.shape, e, max(x.shape[e] - 1, 0))
    return list(broadcast(shape, steps)), d, result_dtype((y, x))


def _trapezoid(given: Given) -> Typed:
    y = _of_first(given)
    d = wrap_dim(given["dim"], len(y.shape))
    if not y.shape[d]:
        return tuple([n for k, n in enumerate(y.shape) if k != d]), y.dtype
    shape, d, of = _trapezia(given)
    del shape[d]
    return tuple(shape), floating(of)


def _running_trapezoid(given: Given) -> Typed:
    shape, _, of = _trapezia(given)
    return tuple(shape), floating(of)


DIFFERENCES = TypeRule("differences along a dimension: as much shorter as their order", _differences)
TRAPEZOID = TypeRule("an integral along a dimension, integers as the default float", _trapezoid)
RUNNING_TRAPEZOID = TypeRule("integrals up to each place along a dimension", _running_trapezoid)


def _slopes(given: Given) -> tuple[Typed, ...]:
    x, rank = _of_first(given), len(_of_first(given).shape)
    count = len(dims_of(given["dim"], rank))
    spacing = given["spacing"]
    spacing = spacing if isinstance(spacing, (tuple, list)) else [spacing] * count
    return tuple([(tuple(x.shape), result_dtype((x, s)) if isinstance(s, Tensor) and s.dtype is float64
                   else floating(x.dtype)) for s in spacing])


SLOPES = TypeRule("of its own shape, for each dimension, integers as the default float", _slopes)


# ---- quantiles ------------------------------------------------------------------------------------------


def _quantiles(given: Given) -> Typed:
    x, q, dim = _of_first(given), given["q"], given["dim"]
    many = tuple(q.shape) if isinstance(q, Tensor) else ()
    dims = dims_of(dim, len(x.shape))
    kept = tuple([1 if k in dims else n for k, n in enumerate(x.shape) if given["keepdim"] or k not in dims])
    return (*many, *kept), x.dtype


QUANTILES = TypeRule("reduced, in front one for each of several levels", _quantiles)


# ---- matrices -------------------------------------------------------------------------------------------


def _powers(given: Given) -> Typed:
    x, n = _of_first(given), given["N"]
    return (x.shape[0], x.shape[0] if n is None else n), x.dtype if x.dtype.category >= FLOAT else int64


def _covariance(given: Given) -> Typed:
    x = _of_first(given)
    n = x.shape[0] if len(x.shape) == 2 else 1
    of = floating(x.dtype)
    weights = [w for w in (given.get("fweights"), given.get("aweights")) if w is not None]
    for w in weights:
        of = result_dtype((x, w)) if w.dtype.category >= FLOAT else of
    return (n, n) if n != 1 else (), floating(of)


def _distances(given: Given) -> Typed:
    a, b = given["x1"], given["x2"]
    return (*broadcast(tuple(a.shape[:-2]), tuple(b.shape[:-2])), a.shape[-2], b.shape[-2]), a.dtype


def _pairs(given: Given) -> Typed:
    x = _of_first(given)
    return (x.shape[0] * (x.shape[0] - 1) // 2,), x.dtype


POWERS = TypeRule("(n, N), integers as int64", _powers)
COVARIANCE = TypeRule("(n, n) of n variables, integers as the default float; a number if there is one", _covariance)
DISTANCES = TypeRule("(.., P, R) of (.., P, M) and (.., R, M)", _distances)
PAIRS = TypeRule("one for each pair of rows", _pairs)


# ---- places and bins ------------------------------------------------------------------------------------


def _coordinates(given: Given) -> tuple[Typed, ...]:
    shape = given["shape"]
    return ((tuple(given["indices"].shape), int64),) * (1 if isinstance(shape, int) else len(shape))


def _edges(bins: Any) -> int:
    return bins.shape[0] if isinstance(bins, Tensor) else int(bins) + 1


def _counts(given: Given) -> tuple[Typed, ...]:
    of, edges = _of_first(given).dtype, _edges(given["bins"])
    return ((edges - 1,), of), ((edges,), of)


def _grid(given: Given) -> tuple[Any, ...]:
    x, bins = _of_first(given), given["bins"]
    edges = [_edges(b) for b in ([bins] * x.shape[-1] if isinstance(bins, int) else bins)]
    return (tuple([n - 1 for n in edges]), x.dtype), tuple([((n,), x.dtype) for n in edges])


COORDINATES = TypeRule("int64 of its own shape, for each dimension of another", _coordinates)
PLACES = TypeRule("as many int64 rows as are asked for, a column for each dimension", lambda given: (
    (given["size"], len(_of_first(given).shape)), int64))
BINS = TypeRule("counts of bins and their edges, in its dtype", _counts)
GRID = TypeRule("counts of a grid and its edges along each dimension, in its dtype", _grid)
