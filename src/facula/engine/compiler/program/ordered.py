"""What steps mean that are not loop programs: kernels of fixed form. Data only.

`Step.slots` says where their buffers lie.

Scan      (source, result)        along the middle of (outer, n, inner), in order; the first element is itself. If it
                                  is `grouped`, four elements at a time, as many as there are whole fours: a, b, c, d
                                  become a, b+a, (c+b)+a, (d+c)+(b+a), and the sum so far is added to each
Scatter   (result, index, source) result[index[i]] = op(result[index[i]], source[i]) for i in order, rows of columns;
                                  an index that is no row writes nothing
Product   (a, b, result)          result[b, i, j] = sum over k of a[b, i, k] * b[b, k, j], in the order that an
                                  Order says
Alike     (inputs.., result)      the primitive's own meaning in NumPy (engine/graph/primitives/): of kernels that add
                                  nothing up, so that there is no order to keep to
Nothing                           part of a later step
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.dtypes import dtype, float32
from facula.engine.graph.node import Node, Primitive


@dataclass(frozen=True, slots=True)
class Scan:
    op: str
    source: dtype
    dtype: dtype
    outer: int
    n: int
    inner: int

    @property
    def grouped(self) -> bool:
        """Doubles have room for any product of four floats: no group overflows that would not one by one."""
        return self.inner == 1 and self.dtype is float32 and self.op in ("cumsum", "cumprod")


GROUP = 4


@dataclass(frozen=True, slots=True)
class Scatter:
    op: str  # set, add, mul, max, min
    dtype: dtype
    count: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Where the elements of a batch of matrices lie.

    at      position among the run's numbers of one that is added to `const`; None: no number
    axes    of batch, row and column: the dimensions it is made of, the innermost first, each as (size, stride, step of
            each bounded coordinate). A position is const + the strides' sum
    bounds  (start, size) of each bounded coordinate: start + the steps' sum. Where one lies outside [0, size) the
            element is the run's number `fill_at`
    """

    const: int
    at: int | None
    axes: tuple[tuple[tuple[int, ...], ...], ...]
    bounds: tuple[tuple[int, int], ...] = ()
    fill_at: int = -1


@dataclass(frozen=True, slots=True)
class Order:
    """How the products of one sum are added, each by x * y + z.

    piece   so many products are a sum of their own, and these sums are added in order, to 0 first. 0: there is one
    blocks  of a piece: as many whole blocks of the first size as there are, then of the next; of the last size the last
            block may be shorter. A block's products are added up from 0, and blocks' sums in order. (): one block
    zero    the first block's sum is added to 0
    lanes   of a block: as long as there are as many products as the first number says, each goes to a partial sum of
            its own. Then partial sums are added, the first half and the second, until they are as many as the next
            number says, and so on; in the end until there is one
    padded  what is left for the last number of lanes, less than a product each and perhaps none, is filled up with
            products of zeros
    """

    piece: int = 0
    blocks: tuple[int, ...] = ()
    zero: bool = False
    lanes: tuple[int, ...] = (1,)
    padded: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """`fused`: is x * y + z rounded once?"""

    dtype: dtype
    batch: int
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    order: Order
    fused: bool


@dataclass(frozen=True, slots=True)
class Alike:
    op: Primitive
    attrs: tuple[object, ...] | None
    inputs: tuple[tuple[tuple[int, ...], dtype], ...]
    shape: tuple[int, ...]
    dtype: dtype


def alike(node: Node) -> Alike:
    """What a kernel means that computes `node`, its inputs as they lie."""
    return Alike(node.op, node.attrs, tuple([(i.shape, i.dtype) for i in node.inputs]), node.shape, node.dtype)


@dataclass(frozen=True, slots=True)
class Nothing:
    pass
