"""What steps mean that are not loop programs: kernels of fixed form. Data only.

`Step.slots` says where their buffers lie.

Scan      (source, result)        along the middle of (outer, n, inner), in order; the first element is itself
Scatter   (result, index, source) result[index[i]] = op(result[index[i]], source[i]) for i in order, rows of columns;
                                  an index out of range means the last row
Product   (a, b, result)          result[b, i, j] = sum over k of a[b, i, k] * b[b, k, j]. The order of the sum is not
                                  said: the emitter's blocks decide it
Nothing                           part of a later step
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.dtypes import dtype


@dataclass(frozen=True, slots=True)
class Scan:
    op: str
    source: dtype
    dtype: dtype
    outer: int
    n: int
    inner: int


@dataclass(frozen=True, slots=True)
class Scatter:
    op: str  # set, add, mul, max, min
    dtype: dtype
    count: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Element (batch, i, j) lies at const + number[at] + the strides' sum. `at` None: no number."""

    const: int
    at: int | None
    strides: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Product:
    dtype: dtype
    batch: int
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix


@dataclass(frozen=True, slots=True)
class Nothing:
    pass
