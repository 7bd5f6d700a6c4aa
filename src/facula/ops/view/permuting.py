"""Dimensions in another order: permute, transpose, movedim, and the properties T, mT, H and mH."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, strides_of, strides_offset
from facula.autograd.graph import Rule
from facula.ops.arguments import check_tensor, ints, wrap_dim
from facula.ops.registry import alias_of, op
from facula.ops.view.regions import Ints
from facula.ops.view.views import alias_view, geometry, make_view


def _permute_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    return (_permuted(g, ctx.saved[0], _PERMUTE),)


_PERMUTE, _TRANSPOSE, _T = (Rule(n, _permute_backward) for n in (
    "PermuteBackward0", "TransposeBackward0", "TBackward0"))
_SWAPPED = (1, 0)


def _permuted(t: Tensor, order: Ints, rule: Rule) -> Tensor:
    strides, offset = geometry(t)
    shape = t.shape
    inverse = [0] * len(order)
    for k, d in enumerate(order):
        inverse[d] = k
    to = tuple([strides[d] for d in order])
    return make_view(t, tuple([shape[d] for d in order]), to, offset, rule, (tuple(inverse),))


@op
def permute(input: Tensor, *dims: Any, **kw: Any) -> Tensor:
    """Dimensions in another order."""
    check_tensor(input, "permute")
    order = ints((kw["dims"],) if kw else dims, "dims")
    n = len(input.shape)
    if len(order) != n:
        raise RuntimeError("permute(sparse_coo): number of dimensions in the tensor input does not "
                           "match the length of the desired ordering of dimensions i.e. "
                           f"input.dim() = {n} is not equal to len(dims) = {len(order)}")
    order = tuple([wrap_dim(d, n) for d in order])
    if len(set(order)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permuted(input, order, _PERMUTE)


def _swap(t: Tensor, a: int, b: int, rule: Rule) -> Tensor:
    order = list(range(len(t.shape)))
    if order:
        order[a], order[b] = order[b], order[a]
    return _permuted(t, tuple(order), rule)


@op
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    check_tensor(input, "transpose")
    n = len(input.shape)
    return _swap(input, wrap_dim(dim0, n), wrap_dim(dim1, n), _TRANSPOSE)


@op
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """`transpose`, under NumPy's name."""
    return transpose(input, axis0, axis1)


@op
def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """`transpose`, under another name."""
    return transpose(input, dim0, dim1)


@op
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector or number as it is."""
    check_tensor(input, "t")
    shape = input.shape
    n = len(shape)
    if n == 2:
        (rows, columns), (down, across) = shape, strides_of(input)
        return make_view(input, (columns, rows), (across, down), strides_offset(input), _T, (_SWAPPED,))
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return _permuted(input, tuple(range(n)), _T)


@op
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    if not input.shape:
        return input.conj()
    if len(input.shape) < 2:
        raise RuntimeError("tensor.adjoint() is only supported on matrices or batches of matrices. "
                           f"Got {len(input.shape)}-D tensor.")
    out = transpose(input, -2, -1)
    return out.conj() if input.dtype.is_complex else out


@op
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions `source` moved to places `destination`; the others keep their order."""
    n = len(input.shape)
    a, b = ints((source,)), ints((destination,))
    if len(a) != len(b):
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({list(a)} dims) "
                           f"should contain the same number of dims as destination ({list(b)} "
                           "dims)")
    a, b = tuple([wrap_dim(d, n) for d in a]), tuple([wrap_dim(d, n) for d in b])
    if len(set(a)) != len(a):
        raise RuntimeError(f"movedim: repeated dim in `source` ({list(a)})")
    if len(set(b)) != len(b):
        raise RuntimeError(f"movedim: repeated dim in `destination` ({list(b)})")
    if not n:
        return alias_view(input)
    order = [-1] * n
    for s, d in zip(a, b, strict=False):
        order[d] = s
    rest = iter([d for d in range(n) if d not in a])
    return _permuted(input, tuple([next(rest) if d < 0 else d for d in order]), _PERMUTE)


alias_of("movedim", "moveaxis")


@property  # type: ignore[misc]
def _T_property(self: Tensor) -> Tensor:
    n = len(self.shape)
    return _permuted(self, tuple(range(n - 1, -1, -1)), _PERMUTE)


@property  # type: ignore[misc]
def _mT(self: Tensor) -> Tensor:
    if len(self.shape) < 2:
        raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got "
                           f"{len(self.shape)}-D tensor.")
    return transpose(self, -2, -1)


@property  # type: ignore[misc]
def _H(self: Tensor) -> Tensor:
    n = len(self.shape)
    if n not in (0, 2):
        hint = " For batches of matrices, consider using tensor.mH" if n > 2 else ""
        raise RuntimeError("tensor.H is only supported on matrices (2-D tensors). Got "
                           f"{n}-D tensor.{hint}")
    out = transpose(self, 0, 1) if n else self
    return out.conj() if self.dtype.is_complex else out


@property  # type: ignore[misc]
def _mH(self: Tensor) -> Tensor:
    if len(self.shape) < 2:
        raise RuntimeError("tensor.mH is only supported on matrices or batches of matrices. Got "
                           f"{len(self.shape)}-D tensor.")
    return adjoint(self)


Tensor.T, Tensor.mT, Tensor.H, Tensor.mH = _T_property, _mT, _H, _mH  # type: ignore[assignment]
