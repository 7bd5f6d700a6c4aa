"""Taking elements by index, and putting them there."""

from __future__ import annotations

import numpy as np

from facula.testing.samples.arrays import (
    CELL,
    CUBE,
    MASK,
    ROW,
    SMALL,
    WHOLE,
    Sample,
    X,
    Y,
    call,
    distinct,
)

SAMPLES: dict[str, list[Sample]] = {}
_AT = WHOLE[0] % 3  # repeats an index
_SOURCE = distinct(4, 4) + 0.02
_ONCE = WHOLE[0][:3] * 0 + [2, 0, 1]  # each index once


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


_each("gather", [call(X, 0, SMALL), call(X, 1, SMALL[:, :2]), call(X, -1, SMALL[:2])])
_each("take", [call(X, WHOLE), call(X, WHOLE - 9)])
_each("take_along_dim", [call(X, SMALL, 0), call(X, WHOLE), call(X, SMALL[:, :1], 1)])
_each("index_select", [call(X, 0, _AT), call(X, 1, _ONCE), call(CUBE, -1, _AT)])
_each("masked_select", [call(X, MASK), call(X, MASK[0]), call(WHOLE, MASK)])
_each("nonzero", [call(WHOLE % 3), call(MASK), call(WHOLE % 2, as_tuple=True)])
_each("argwhere", [call(WHOLE % 3), call(MASK)])
_each(
    "embedding",
    [call(X, SMALL), call(X, _AT, 1).flat(), call(X, _AT, scale_grad_by_freq=True).flat()],
)
_each("nn.functional.one_hot", [call(SMALL), call(SMALL, 5)])
_each(
    "masked_fill",
    [call(X, MASK, 0.5), call(X, MASK[0], 2), call(X, MASK, CELL), call(WHOLE, MASK, 3)],
)
_each("masked_scatter", [call(X, MASK, Y), call(X, MASK[0], CUBE)])
_each(
    "scatter",
    [
        call(X, 0, SMALL, Y),
        call(X, 1, _ONCE[None], Y[:1]),
        call(X, 0, SMALL, 0.5),
        call(X, 1, _ONCE[None], 0.5, reduce="add").flat(),
        call(X, 1, _ONCE[None], 0.5, reduce="multiply").flat(),
    ],
)
SAMPLES["scatter"][0].flat()  # which of several writes wins is not determined: the gradient neither
_each(
    "scatter_add", [call(X, 0, SMALL, Y), call(X, 1, SMALL[:, :2], Y), call(WHOLE, 0, SMALL, WHOLE)]
)
_each(
    "scatter_reduce", [call(X, 0, SMALL, Y, how) for how in ("sum", "prod", "mean", "amax", "amin")]
)
SAMPLES["scatter_reduce"] += [
    call(X, 0, SMALL, Y, "amax", include_self=False),
    call(X, 0, SMALL, Y, "mean", include_self=False),
]
_each("index_add", [call(X, 0, _AT, _SOURCE), call(X, 1, _ONCE, Y[:, :3], alpha=2)])
_each("index_copy", [call(X, 0, _ONCE, Y), call(X, 1, _ONCE, Y[:, :3])])
_each("index_fill", [call(X, 0, _ONCE[:2], 0.5), call(X, 1, _AT, 2), call(X, 1, _AT, CELL)])
_each("index_reduce", [call(X, 0, _AT, _SOURCE, how) for how in ("prod", "mean", "amax", "amin")])
SAMPLES["index_reduce"] += [call(X, 0, _AT, _SOURCE, "amax", include_self=False)]
_each(
    "index_put",
    [
        call(X, (_ONCE,), Y),
        call(X, (_AT, WHOLE[1] % 4), ROW, accumulate=True),
        call(X, (MASK,), CELL),
        call(X, (_ONCE[:2], _ONCE[:2]), ROW[:2]),
    ],
)
_each("_unsafe_masked_index", [call(X, MASK, [WHOLE % 5, WHOLE[:1] % 9 - 4], 0.5),
                               call(X, MASK[:, :1], [WHOLE[:, :1] - 4], -1)])
_each("_unsafe_masked_index_put_accumulate", [call(X, MASK, [WHOLE % 5, WHOLE[:1] % 9 - 4], Y)])
_each("put", [call(X, _ONCE, ROW[:3]), call(X, WHOLE, Y, accumulate=True)])
_each("fill", [call(X, 2), call(X, CELL), call(WHOLE, 3)])
_each("unravel_index", [call(WHOLE, (3, 4)), call(WHOLE, 12)])
_each("nonzero_static", [call(WHOLE % 3, size=4), call(MASK, size=9, fill_value=7)])

# ---- segments ----------------------------------------------------------------------------------

_LENGTHS, _ROWS = np.array([2, 0, 1]), np.array([[1, 2, 1], [0, 0, 4], [3, 1, 0]])
SAMPLES["segment_reduce"] = [
    *[call(X, how, lengths=_LENGTHS, initial=0.3) for how in ("sum", "mean", "prod")],
    *[call(X, how, lengths=_LENGTHS, initial=9.0) for how in ("max", "min")],
    *[call(X, how, lengths=_ROWS, axis=1).flat() for how in ("max", "mean")],
    call(X, "sum", offsets=np.array([0, 1, 3])),
    call(X, "max", offsets=np.array([1, 2]), initial=-50, unsafe=True),
    call(CUBE, "min", lengths=np.array([[1, 2], [3, 0]]), axis=1, initial=50),
    call(np.array([1.0, 5.0, 5.0, np.nan]), "max", lengths=np.array([3, 1])).flat(),
]
