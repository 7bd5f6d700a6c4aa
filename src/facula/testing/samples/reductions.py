"""Reductions, scans, sorting, statistics."""

from __future__ import annotations

import numpy as np

from facula.testing.samples.arrays import (
    CUBE,
    MASK,
    POSITIVE,
    ROW,
    SPECIAL,
    WHOLE,
    Dtype,
    Sample,
    X,
    Y,
    call,
    normal,
)

SAMPLES: dict[str, list[Sample]] = {}


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


def _dims(x: object) -> list[Sample]:
    return [call(x), call(x, 0), call(x, 1, True), call(x, dim=-1)]


_HOLES = X.copy()
_HOLES[0, 1] = _HOLES[2, 3] = np.nan
_each(
    "sum mean nansum nanmean",
    [
        *_dims(X),
        call(CUBE, (0, 2)),
        call(CUBE, (0, -1), keepdim=True),
        call(X, dtype=Dtype("float64")),
        call(X, 0, dtype=Dtype("float64")),
        call(SPECIAL).flat(),
    ],
)
_each("nansum nanmean", [*SAMPLES["nansum"], call(_HOLES).flat(), call(_HOLES, 1).flat()])
_each("prod", [*_dims(X), call(X, 0, dtype=Dtype("float64"))])
_each("amax amin", [*_dims(X), call(CUBE, (0, 2)), call(SPECIAL).flat()])
_each("aminmax", [call(X), call(X, dim=0), call(X, dim=1, keepdim=True)])
_each("max min", [*_dims(X), call(X, Y), call(SPECIAL).flat()])
_each("argmax argmin", [*_dims(X), call(SPECIAL), call(WHOLE, 0)])
_each("all any", [*_dims(MASK), call(X), call(WHOLE, 0), call(np.stack([MASK, ~MASK]), (0, 2))])
_each("count_nonzero", [call(WHOLE % 3), call(WHOLE % 3, 0), call(X, (0, 1))])
_each("logsumexp", [call(X, 0), call(X, 1, True), call(CUBE, (0, 2)), call(SPECIAL, 0).flat()])
_each("softmax log_softmax", [call(X, 0), call(X, -1), call(X, 1, dtype=Dtype("float64"))])
_each(
    "nn.functional.softmax nn.functional.log_softmax nn.functional.softmin",
    [call(X, 0), call(X, dim=-1), call(X, 1, dtype=Dtype("float64"))],
)
_each(
    "var std",
    [
        *_dims(X),
        call(CUBE, (0, 2)),
        call(X, 1, unbiased=False),
        call(X, unbiased=False),
        call(X, 0, correction=2),
        call(X, dim=1, keepdim=True),
    ],
)
_each(
    "var_mean std_mean",
    [call(X), call(X, 0), call(X, 1, unbiased=False), call(CUBE, (0, 2), keepdim=True)],
)
_each(
    "norm",
    [call(X), call(X, 1), call(X, 3.0, 1), call(X, 2, (0, 1), True), call(X, float("inf"), 0)],
)
_each(
    "linalg.vector_norm",
    [call(X), call(X, 1), call(X, 3.0, 1), call(X, float("inf"), 0), call(X, 0).flat()],
)
_each("norm_except_dim", [call(X), call(X, 2, 1), call(X, 1, 0)])

# ---- scans -------------------------------------------------------------------------------------

_each(
    "cumsum cumprod",
    [call(X, 0), call(X, -1), call(CUBE, 1), call(X, 0, dtype=Dtype("float64")), call(WHOLE, 1)],
)
_each("cummax cummin", [call(X, 0), call(X, -1), call(CUBE, 1)])
_each("logcumsumexp", [call(X, 0), call(X, -1), call(CUBE, 1)])
_each("diff", [call(X), call(X, 2), call(X, dim=0), call(X, prepend=X[:, :1], append=X[:, :2])])
_each(
    "trapezoid trapz cumulative_trapezoid",
    [call(X), call(X, dim=0), call(X, dx=0.5), call(X, ROW), call(X, Y, dim=0)],
)

# ---- order -------------------------------------------------------------------------------------

_each(
    "sort",
    [
        call(X),
        call(X, 0),
        call(X, -1, True),
        call(CUBE, dim=1, descending=True),
        call(SPECIAL).flat(),
    ],
)
SAMPLES["sort"] += [
    call(WHOLE, stable=True, dim=1),
    call(WHOLE, dim=1, descending=True, stable=True),
]
_each("argsort", [call(X), call(X, 0), call(X, -1, True), call(WHOLE, dim=1, stable=True)])
_each("msort", [call(X), call(CUBE)])
_each("topk", [call(X, 2), call(X, 2, 0), call(X, 3, 1, False)])
_each("kthvalue", [call(X, 2), call(X, 2, 0), call(X, 1, 1, True)])
_each("median nanmedian", [*_dims(X), call(_HOLES).flat(), call(_HOLES, 1).flat()])
_each("mode", [call(WHOLE), call(WHOLE, 0), call(WHOLE, 1, True), call(X, 1)])
_each(
    "quantile nanquantile",
    [
        call(X, 0.3),
        call(X, 0.3, 1),
        call(X, np.array([0.2, 0.9]), 0),
        call(X, 0.5, 1, True),
        call(X, 0.4, 0, interpolation="lower"),
        call(_HOLES, 0.6, 1).flat(),
    ],
)
_each(
    "unique",
    [
        call(WHOLE),
        call(WHOLE, return_inverse=True, return_counts=True),
        call(np.concatenate([SPECIAL[:1], X[0], X[0]])[1:]).flat(),
        call(WHOLE % 2, dim=0),
    ],
)
_each(
    "unique_consecutive",
    [
        call(WHOLE // 3),
        call(WHOLE // 3, return_inverse=True, return_counts=True),
        call(WHOLE % 2, dim=0),
    ],
)
_EDGES = np.sort(ROW)
_each(
    "searchsorted",
    [
        call(_EDGES, X),
        call(_EDGES, X, right=True),
        call(_EDGES, 0.3),
        call(np.sort(X, 1), Y, out_int32=True),
    ],
)
_each(
    "bucketize", [call(X, _EDGES), call(X, _EDGES, right=True), call(0.3, _EDGES, out_int32=True)]
)

# ---- statistics --------------------------------------------------------------------------------

_each("histc", [call(X, 4), call(X, 5, -1.0, 2.0), call(X, bins=3, min=-2, max=2)])
_each(
    "histogram",
    [
        call(X, 4),
        call(X, 3, range=(-1.0, 2.0)),
        call(X, _EDGES),
        call(X, 4, weight=POSITIVE, density=True),
    ],
)
SAMPLES["histc"] = [s.flat() for s in SAMPLES["histc"]]
SAMPLES["histogram"] = [s.flat() for s in SAMPLES["histogram"]]
_each("bincount", [call(WHOLE[0]), call(WHOLE[0], ROW).flat(), call(WHOLE[0], minlength=12)])
_each(
    "cov",
    [
        call(X),
        call(ROW),
        call(X, correction=0),
        call(X, fweights=WHOLE[0]),
        call(X, aweights=POSITIVE[0]),
    ],
)
_each("corrcoef", [call(X), call(normal(5, 3))])
_each(
    "histogramdd",
    [call(X, [2, 3, 2, 2]).flat(), call(X[:, :2], [_EDGES, _EDGES], weight=POSITIVE[:, 0]).flat()],
)
_each("gradient", [call(X), call(X, dim=0), call(CUBE, spacing=2.0, dim=(1, 2)), call(_EDGES, edge_order=2)])
_each("renorm", [call(X, 2, 0, 1.0), call(CUBE, 1.0, 1, 5.0)])
