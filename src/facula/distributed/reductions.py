"""`ReduceOp`: how the elements of several ranks become one, and what that means for arrays.

Sums are taken in the order of the ranks, each rounded to the tensor's own type: ((x0 + x1) + x2) + ..., whatever the
number of elements and whoever adds. So the result has the same bits on each rank and on each run, and those that one
process gets which adds one after the other.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from facula.dtypes import BOOL, COMPLEX, FLOAT, bfloat16, dtype
from facula.errors import warn
from facula.rng.rounding import from_bfloat16, to_bfloat16


class RedOpType(enum.Enum):
    """The kinds of reductions."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8

    def __str__(self) -> str:
        return f"RedOpType.{self.name}"

    def __int__(self) -> int:
        return int(self.value)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ReduceOp) and other.op is self)

    def __hash__(self) -> int:
        return hash(self.name)


class ReduceOp:
    """How the elements of several ranks become one: SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM.

    Example:
        >>> from facula.distributed import ReduceOp
        >>> ReduceOp.SUM, ReduceOp(ReduceOp.MAX) == ReduceOp.MAX
        (<RedOpType.SUM: 0>, True)
    """

    RedOpType = RedOpType
    SUM, AVG, PRODUCT, MIN, MAX = RedOpType.SUM, RedOpType.AVG, RedOpType.PRODUCT, RedOpType.MIN, RedOpType.MAX
    BAND, BOR, BXOR, PREMUL_SUM = RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR, RedOpType.PREMUL_SUM

    def __init__(self, op: Any, factor: Any = None) -> None:
        self.op, self.factor = RedOpType(op), factor

    def __eq__(self, other: object) -> bool:
        return self.op is (other.op if isinstance(other, ReduceOp) else other)

    def __hash__(self) -> int:
        return hash(self.op)

    def __repr__(self) -> str:
        return f"<torch.distributed.distributed_c10d.ReduceOp {self.op}>"

    def __deepcopy__(self, memo: Any) -> ReduceOp:
        return ReduceOp(self.op, self.factor)


class _ReduceOps(type):
    def __getattr__(cls, name: str) -> RedOpType:
        if name not in RedOpType.__members__:
            raise AttributeError(name)
        warn("`torch.distributed.reduce_op` is deprecated, please use `torch.distributed.ReduceOp` instead",
             FutureWarning)
        return RedOpType[name]


class reduce_op(metaclass=_ReduceOps):
    """The old name of ReduceOp: its members warn."""


def _make_nccl_premul_sum(factor: Any) -> ReduceOp:
    """SUM of what each rank has multiplied by its `factor`, a number or a tensor of one element."""
    return ReduceOp(RedOpType.PREMUL_SUM, factor)


def supports_complex(reduceOp: Any) -> bool:
    """Is that reduction one of complex numbers, taken as pairs of real ones?"""
    return kind_of(reduceOp) not in (RedOpType.MAX, RedOpType.MIN, RedOpType.PRODUCT, RedOpType.BAND, RedOpType.BOR,
                                     RedOpType.BXOR)


def kind_of(op: Any) -> RedOpType:
    """The kind of a ReduceOp, or itself. TypeError of anything else."""
    found = op.op if isinstance(op, ReduceOp) else op
    if not isinstance(found, RedOpType):
        raise TypeError(f"expected a ReduceOp, got {op!r}")
    return found


_BITWISE = {RedOpType.BAND: np.bitwise_and, RedOpType.BOR: np.bitwise_or, RedOpType.BXOR: np.bitwise_xor}
_ARITHMETIC: dict[RedOpType, Any] = {
    RedOpType.SUM: np.add, RedOpType.AVG: np.add, RedOpType.PREMUL_SUM: np.add, RedOpType.PRODUCT: np.multiply,
    RedOpType.MIN: np.minimum, RedOpType.MAX: np.maximum}
_OF_BOOLS = {RedOpType.SUM: np.logical_or, RedOpType.MAX: np.logical_or, RedOpType.BOR: np.logical_or,
             RedOpType.PRODUCT: np.logical_and, RedOpType.MIN: np.logical_and, RedOpType.BAND: np.logical_and,
             RedOpType.BXOR: np.logical_xor}


def check(op: Any, of: dtype, name: str) -> None:
    """Refuse a reduction that the type does not have: ValueError or RuntimeError, as PyTorch's."""
    kind = kind_of(op)
    if of.category == COMPLEX and not supports_complex(kind):
        raise ValueError(f"{name} does not support {kind} on complex tensors")
    if kind in _BITWISE and of.category >= FLOAT:
        raise ValueError(f"Cannot use ReduceOp.{kind.name} with non-integral dtype")
    if kind is RedOpType.AVG and BOOL < of.category < FLOAT:
        raise RuntimeError(f"ReduceOp.AVG: the mean of {of} is no {of} (result type Float can't be cast to it)")
    if of.category == BOOL and kind not in _OF_BOOLS:
        raise ValueError(f"Cannot use ReduceOp.{kind.name} with Bool tensors")


def prepared(op: Any, array: np.ndarray, of: dtype) -> np.ndarray:
    """What a rank brings: its elements, times its factor for PREMUL_SUM."""
    if kind_of(op) is not RedOpType.PREMUL_SUM:
        return array
    factor = getattr(op, "factor", None)
    if factor is None:
        raise ValueError("PREMUL_SUM needs a factor: _make_nccl_premul_sum(factor)")
    factor = factor.item() if hasattr(factor, "item") else factor
    if of is bfloat16:
        return to_bfloat16(from_bfloat16(array) * np.float32(factor))
    product: np.ndarray = (array * np.asarray(factor).astype(array.dtype)).astype(array.dtype)
    return product


def combine(op: Any, total: np.ndarray, other: np.ndarray, of: dtype) -> None:
    """Reduce `other` into `total`, arrays of the carriers of a type."""
    kind = kind_of(op)
    with np.errstate(all="ignore"):
        if of is bfloat16:
            total[...] = to_bfloat16(_ARITHMETIC[kind](from_bfloat16(total), from_bfloat16(other)))
        elif of.category == BOOL:
            _OF_BOOLS[kind](total, other, out=total)
        else:
            (_BITWISE.get(kind) or _ARITHMETIC[kind])(total, other, out=total)


def finish(op: Any, total: np.ndarray, ranks: int, of: dtype) -> None:
    """What is done when all have been reduced: AVG divides."""
    if kind_of(op) is not RedOpType.AVG or ranks == 1:
        return
    if of is bfloat16:
        total[...] = to_bfloat16(from_bfloat16(total) / np.float32(ranks))
    else:
        np.divide(total, total.dtype.type(ranks), out=total)
