"""The lazy graph: what is to be computed. Every primitive is on this page.

A `Node` is an immutable value: primitive, inputs, static attributes, run-time numbers, shape, dtype.
Its elements are laid out contiguously, row-major, whatever its inputs look like.

primitive   inputs                 attrs            scalars    value
BUFFER      -                      -                -          the elements in `buffer`
CONST       -                      -                (v,)       v everywhere
META        -                      -                -          no elements: shape and dtype only (engine/placing.py)
DUAL        primal, tangent        (level,)         -          the primal; forward mode takes both along (transforms/)
BATCHED     physical (B, ..)       (level,)         -          none: one of B values, B being a hidden dimension
LOST        primal                 (level, routine) -          a DUAL whose tangent its operation has yet to give
INDEX       -                      (dim,)           -          int64 coordinate along `dim`
Formula     x0, x1, ...            -                numbers    formula over elements; inputs broadcast
VIEW        base                   strides          (offset,)  out[i] = base[offset + sum(i*strides)]
SUM.. ALL   x                      dims (sorted)    -          reduction over dims, which are dropped
CUMSUM..    x                      (dim,)           -          running sum, product, max, min
CONTRACT    a (B,M,K), b (B,K,N)   None, WINDOWS, ROWS  -      batched matrix product (B,M,N); or all without B
GATHER      src (V,D), idx (I..)   -                -          out[i.., d] = src[idx[i..], d]; int64 idx
SCATTER_*   base, idx (I..), src (I..,D)            -          base as rows of D, with [idx[i]] = (+= ..) src[i]
ARGSORT     x                      (dim, down, k)   -          int64 indices of the stable sort, from rank k on;
                                                               with a fourth attr equals as a way leaves them (sort.py)
SEARCH      edges (R,N), x (R,M)   (right,)         -          int64: edges of the row before x (right: or equal)
WRITE       base, value            strides          (offset,)  base, the region (as VIEW) replaced
CALL        x0, x1, ...            (routine, *args) -          tuple of arrays from a host routine
PICK        call                   (i,)             -          i-th result of a CALL

Strides may be 0 (expand) or negative (flip) in a VIEW. In a WRITE no two indices meet the same element.
A VIEW or WRITE may have its offset fixed: attrs (strides, offset) and no scalars. Plans are then made for that
offset alone, and the compiler can tell coordinates by it (the padding of a convolution); `offset_of` asks for either.
A scalar is a Python float for float results, an int for integers and bools, a complex for complex ones.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from facula.devices import CPU
from facula.devices import device as Device
from facula.dtypes import dtype
from facula.dtypes import dtype as DType
from facula.engine.graph.expr import Expr, postorder
from facula.undisturbed import undisturbed

if TYPE_CHECKING:
    from facula.engine.runtime.buffer import Buffer

Number = int | float | complex | bool


class Primitive:
    """A kind of node. `kind` groups those that are scheduled alike."""

    __slots__ = ("name", "kind")

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind

    def __repr__(self) -> str:
        return self.name


class Formula(Primitive):
    """A pointwise primitive: `expr` over `operands` tensor elements and `scalars` run-time numbers."""

    __slots__ = ("expr", "operands", "scalars", "order", "rule")

    rule: Any  # how it is differentiated: the concern of ops, which fills it in when first asked

    def __init__(self, name: str, expr: Expr) -> None:
        super().__init__(name, "pointwise")
        self.expr = expr
        self.rule = None
        self.order = postorder(expr)
        self.operands = 1 + max((e.value for e in self.order if e.fn == "in"), default=-1)  # type: ignore[type-var,operator]
        self.scalars = 1 + max((e.value for e in self.order if e.fn == "scalar"), default=-1)  # type: ignore[type-var,operator]


BUFFER = Primitive("buffer", "buffer")
CONST = Primitive("const", "const")
META = Primitive("meta", "meta")
# What a transform sees instead of a value. None of them is ever pending: `session.traced` takes apart what is
# recorded over one.
DUAL = Primitive("dual", "traced")
BATCHED = Primitive("batched", "traced")
LOST = Primitive("lost", "traced")
INDEX = Primitive("index", "index")
VIEW = Primitive("view", "view")
SUM = Primitive("sum", "reduce")
PROD = Primitive("prod", "reduce")
MAX = Primitive("max", "reduce")  # NaN wins
MIN = Primitive("min", "reduce")
ARGMAX = Primitive("argmax", "reduce")  # int64 flat index over the reduced dims; first of equals; NaN wins
ARGMIN = Primitive("argmin", "reduce")
ANY = Primitive("any", "reduce")
ALL = Primitive("all", "reduce")
CUMSUM = Primitive("cumsum", "scan")
CUMPROD = Primitive("cumprod", "scan")
CUMMAX = Primitive("cummax", "scan")
CUMMIN = Primitive("cummin", "scan")
CONTRACT = Primitive("contract", "contract")
# A product that reads windows, which may never be in memory: sums are in the order of blocks even where it has one row
# or column, as no other kernels read through a map. So the bits are those of windows in memory.
WINDOWS = ("windows",)
# A product whose sums are in an order that follows from K alone: the bits of a row (and of a column) are the same
# whatever others it is multiplied with. `autograd.modes.rows_alike` asks for it.
ROWS = ("rows",)
GATHER = Primitive("gather", "gather")
SCATTER_SET = Primitive("scatter_set", "scatter")
SCATTER_ADD = Primitive("scatter_add", "scatter")
SCATTER_MUL = Primitive("scatter_mul", "scatter")
SCATTER_MAX = Primitive("scatter_max", "scatter")
SCATTER_MIN = Primitive("scatter_min", "scatter")
ARGSORT = Primitive("argsort", "sort")
SEARCH = Primitive("search", "search")
WRITE = Primitive("write", "write")
CALL = Primitive("call", "call")
PICK = Primitive("pick", "call")


class Node:
    """One value of the graph. `buffer` is set once the value has been computed; `slot` belongs to
    whoever walks the graph at the moment (realize.py, under its lock) and is None otherwise."""

    __slots__ = ("op", "inputs", "attrs", "scalars", "shape", "dtype", "buffer", "slot", "range")

    op: Primitive
    inputs: tuple[Node, ...]
    attrs: tuple[object, ...] | None
    scalars: tuple[Number, ...] | None
    shape: tuple[int, ...]
    dtype: dtype
    buffer: Buffer | None
    slot: int | None
    range: tuple[int, int]  # smallest and largest value of an index tensor, once someone has looked
    device: Device = CPU  # a PlacedNode's own; no other has room for one

    def __init__(self, op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
                 scalars: tuple[Number, ...] | None, shape: tuple[int, ...], dtype: DType) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.scalars = scalars
        self.shape = shape
        self.dtype = dtype
        self.buffer = None
        self.slot = None

    def __repr__(self) -> str:
        return f"{self.op.name}{list(self.shape)}:{self.dtype.name}"


# One entry for each PlacedNode that is alive. While there is none, nothing is asked about devices.
elsewhere: list[None] = []


class PlacedNode(Node):
    """A value on another device than the cpu. engine/placing.py makes them all."""

    __slots__ = ("device",)

    device: Device

    @undisturbed
    def __init__(self, place: Device, op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
                 scalars: tuple[Number, ...] | None, shape: tuple[int, ...], dtype: DType) -> None:
        global elsewhere
        elsewhere += [None]  # first: __del__ takes one out, however far we come. Not append(): a call looks for signals
        super().__init__(op, inputs, attrs, scalars, shape, dtype)
        self.device = place

    @undisturbed
    def __del__(self, elsewhere: list[None] = elsewhere) -> None:
        del elsewhere[-1:]

    def __repr__(self) -> str:
        return f"{super().__repr__()}@{self.device}"


def offset_of(node: Node) -> int:
    """Where the region of a VIEW or WRITE starts in its base."""
    attrs = node.attrs
    assert attrs is not None
    return attrs[1] if len(attrs) > 1 else (node.scalars or (0,))[0]  # type: ignore[return-value]


def size_of(shape: tuple[int, ...]) -> int:
    """Number of elements."""
    n = 1
    for s in shape:
        n *= s
    return n


def inside(shape: tuple[int, ...], strides: tuple[int, ...], offset: int, size: int) -> bool:
    """Does the region lie in a memory of `size` elements? An empty one does, wherever it starts.

    >>> inside((2, 2), (1, 2), -5, 10), inside((2, 2), (1, 2), 6, 10), inside((2, 2), (1, 2), 7, 10)
    (False, True, False)
    """
    low = high = offset
    for n, stride in zip(shape, strides, strict=True):
        if n == 0:
            return True
        if stride < 0:
            low += (n - 1) * stride
        else:
            high += (n - 1) * stride
    return low >= 0 and high < size


@functools.lru_cache(4096)
def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides, in elements. As in torch, a dimension of size 0 counts as 1."""
    out = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        out[i] = out[i + 1] * (shape[i + 1] or 1)
    return tuple(out)
