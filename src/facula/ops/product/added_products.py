"""Products with something added: beta * input + alpha * product."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule, mode
from facula.dtypes import FLOAT, dtype
from facula.engine.graph.expr import operand, scalar
from facula.engine.graph.node import CONTRACT, Formula, Node
from facula.engine.recorder import record
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import sum_to
from facula.ops.product.contraction import (
    attach_product,
    conjugated,
    contract,
    live,
    product,
    product_gradients,
    restored_factors,
)
from facula.ops.product.matrix_products import mv_gradients, mv_node
from facula.ops.product.product_checks import (
    cannot_multiply,
    check_batch,
    check_mm,
    check_stacks,
    need_tensors,
    type_name,
)
from facula.ops.promotion import plain_number, result_dtype, scalar_value
from facula.ops.reduce.reduction_nodes import narrowed, widened
from facula.ops.registry import op, store
from facula.ops.view.value_views import reshape_value, reshaped, turned

_ADDED = Formula("addmm", operand(0) + operand(1))
_BLENDED = Formula("addmm", operand(0) * scalar(0) + operand(1) * scalar(1))
_SCALED = Formula("addmm", operand(0) * scalar(0))


def _blend(out: Node, added: Node, beta: Any, alpha: Any) -> Node:
    """alpha * out + beta * added."""
    of = out.dtype
    if beta == 0:
        if alpha == 1:
            return out
        return record(_SCALED, (out,), None, (scalar_value(alpha, of),), out.shape, of)
    if beta == 1 and alpha == 1:
        return record(_ADDED, (out, added), None, None, out.shape, of)
    return record(_BLENDED, (out, added), None, (scalar_value(alpha, of), scalar_value(beta, of)),
                  out.shape, of)


def _rounded(out: Node, input: Tensor, beta: Any, alpha: Any, of: dtype) -> Node:
    """`_blend` of a product that 16-bit factors have in single precision: rounded once, with what is added."""
    return narrowed(_blend(out, widened(input), beta, alpha), of)


def _times(t: Tensor | None, factor: Any) -> Any:
    return t if t is None or factor == 1 else t * factor


def _back_times(g: Tensor, factor: Any) -> Any:
    """The gradient behind `_times`: a complex factor counts with its conjugate."""
    return _times(g, factor.conjugate() if isinstance(factor, complex) else factor)


def add_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, b, ta, tb, beta, alpha = ctx.saved
    a, b = restored_factors(ctx, 1, a, b)
    needs, shapes = ctx.needs, ctx.shapes
    first = None
    if needs[0]:
        first = _back_times(g, beta)
        if first.shape != shapes[0]:
            first = sum_to(first, shapes[0])
    da = db = None
    if needs[1] or needs[2]:
        da, db = product_gradients(ctx, _back_times(g, alpha), a, b, ta, tb, needs[1:], shapes[1:])
    return first, da, db


ADDMM = Rule("AddmmBackward0", add_backward)
_BADDBMM = Rule("BaddbmmBackward0", add_backward)


def add_product(input: Tensor, a: Tensor, b: Tensor, tb: bool, beta: Any, alpha: Any,
                rule: Rule) -> Tensor:
    of = a.dtype
    if of.compute is of:
        result = new(_blend(contract(a, b, False, tb), read(input), beta, alpha))
    else:
        result = new(_rounded(contract(new(widened(a)), new(widened(b)), False, tb), input, beta, alpha, of))
    if mode.grad:
        if (live(a) or live(b) or live(input)) and result.dtype.category >= FLOAT:
            attach_product(result, rule, (input, a, b), (a._node or read(a), b._node or read(b)),
                           (False, tb, beta, alpha))
    return result


def check_added(added: tuple[int, ...], shape: tuple[int, ...]) -> None:
    lead = len(shape) - len(added)
    if lead < 0:
        raise RuntimeError(f"expand(torch.FloatTensor{{{list(added)}}}, size={list(shape)}): the "
                           f"number of sizes provided ({len(shape)}) must be greater or equal to "
                           f"the number of dimensions in the tensor ({len(added)})")
    for k in range(len(shape) - 1, lead - 1, -1):
        s = added[k - lead]
        if s != 1 and s != shape[k]:
            raise RuntimeError(f"The expanded size of the tensor ({shape[k]}) must match the "
                               f"existing size ({s}) at non-singleton dimension {k}.  Target "
                               f"sizes: {list(shape)}.  Tensor sizes: {list(added)}")


def _check_factor(factor: Any, of: dtype, name: str) -> None:
    if not of.is_floating_point and not of.is_complex and isinstance(factor, float):
        raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating "
                           "point number.")


def same_dtype(input: Tensor, a: Tensor, what: str = "self and mat2") -> None:
    if input.dtype is not a.dtype:
        raise RuntimeError(f"{what} must have the same dtype, but got {type_name(input.dtype)} and "
                           f"{type_name(a.dtype)}")


@op(inplace=True, out=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2."""
    need_tensors("addmm", ("input", input), ("mat1", mat1), ("mat2", mat2))
    a, b = mat1.shape, mat2.shape
    if len(a) != 2:
        raise RuntimeError(f"mat1 must be a matrix, got {len(a)}-D tensor")
    if len(b) != 2:
        raise RuntimeError(f"mat2 must be a matrix, got {len(b)}-D tensor")
    if a[1] != b[0]:
        raise cannot_multiply(*a, *b)
    if mat1.dtype is not mat2.dtype:
        raise RuntimeError("mat1 and mat2 must have the same dtype, but got "
                           f"{type_name(mat1.dtype)} and {type_name(mat2.dtype)}")
    same_dtype(input, mat2)
    check_mm(mat1, mat2)
    _check_factor(beta, mat1.dtype, "beta")
    _check_factor(alpha, mat1.dtype, "alpha")
    check_added(input.shape, (a[0], b[1]))
    return add_product(input, mat1, mat2, False, beta, alpha, ADDMM)


@op(inplace=True, out=True)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1,
            alpha: Any = 1) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
    need_tensors("baddbmm", ("input", input), ("batch1", batch1), ("batch2", batch2))
    a, b = batch1.shape, batch2.shape
    check_stacks(batch1, batch2)
    if input.dtype is not batch1.dtype:
        raise RuntimeError(f"Input dtypes must be the same, got: input {input.dtype.name}, batch1: "
                           f"{batch1.dtype.name}, batch2: {batch2.dtype.name}")
    check_added(input.shape, (a[0], a[1], b[2]))
    return add_product(input, batch1, batch2, False, beta, alpha, _BADDBMM)


def _addbmm_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, b, beta, alpha = ctx.saved
    first = sum_to(_back_times(g, beta), ctx.shapes[0]) if ctx.needs[0] else None
    g = _back_times(g, alpha)
    da = product(g, conjugated(b), False, True) if ctx.needs[1] else None
    db = product(conjugated(a), g, True) if ctx.needs[2] else None
    return first, da, db


_ADDBMM = Rule("AddbmmBackward0", _addbmm_backward)


@op(out=True)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1,
           alpha: Any = 1) -> Tensor:
    """beta * input + alpha * the sum of bmm(batch1, batch2) over the stack."""
    need_tensors("addbmm", ("input", input), ("batch1", batch1), ("batch2", batch2))
    a, b = batch1.shape, batch2.shape
    if len(a) != 3 or len(b) != 3:
        raise RuntimeError(f"batch{1 if len(a) != 3 else 2} must be a 3D tensor")
    if a[0] != b[0]:
        raise RuntimeError(f"batch1 and batch2 must have same number of batches, got {a[0]} and "
                           f"{b[0]}")
    if a[2] != b[1]:
        raise RuntimeError(f"Incompatible matrix sizes for bmm ({a[1]}x{a[2]} and {b[1]}x{b[2]})")
    check_batch(batch1, batch2)
    same_dtype(input, batch1)
    x, y = widened(batch1), widened(batch2)
    s, m, k = a
    n = b[2]
    if 0 in a or 0 in b:
        out = constant(0, (m, n), x.dtype)
    else:
        left = reshaped(turned(x, (1, 0, 2)), (1, m, s * k))
        right = reshaped(y, (1, s * k, n))
        out = reshaped(record(CONTRACT, (left, right), mode.products, None, (1, m, n), x.dtype), (m, n))
    check_added(input.shape, (m, n))
    return attach(new(_rounded(out, input, beta, alpha, batch1.dtype)), _ADDBMM, (input, batch1, batch2),
                  (batch1, batch2, beta, alpha))


@op(name="addbmm_")
def _addbmm_in_place(self: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1,
                     alpha: Any = 1) -> Tensor:
    """addbmm, written into `self`, which takes the result's shape: alone in that, as in torch."""
    result = addbmm(self, batch1, batch2, beta=beta, alpha=alpha)
    if self.shape != result.shape:
        if self._rg:
            raise RuntimeError("cannot resize variables that require grad")
        self.resize_(result.shape)
    return store(self, result, "addbmm_")


def _addmv_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, v, beta, alpha = ctx.saved
    first = sum_to(_back_times(g, beta), ctx.shapes[0]) if ctx.needs[0] else None
    return first, *mv_gradients(_back_times(g, alpha), a, v, ctx.needs[1:])


_ADDMV = Rule("AddmvBackward0", _addmv_backward)


@op(inplace=True, out=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec."""
    need_tensors("addmv", ("input", input), ("mat", mat), ("vec", vec))
    if len(mat.shape) != 2 or len(vec.shape) != 1 or len(input.shape) > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {len(input.shape)}, "
                           f"{len(mat.shape)}, {len(vec.shape)}")
    if mat.shape[1] != vec.shape[0] or input.shape not in ((mat.shape[0],), (1,), ()):
        raise RuntimeError(f"size mismatch, got input ({input.shape[0] if input.shape else 1}), "
                           f"mat ({mat.shape[0]}x{mat.shape[1]}), vec ({vec.shape[0]})")
    if not input.dtype is mat.dtype is vec.dtype:
        raise RuntimeError("addmv input tensors must have the same dtype, but got "
                           f"{type_name(input.dtype)}, {type_name(mat.dtype)}, and "
                           f"{type_name(vec.dtype)}")
    out = mv_node(new(widened(mat)), new(widened(vec)))
    return attach(new(_rounded(out, input, beta, alpha, mat.dtype)), _ADDMV, (input, mat, vec), (mat, vec, beta, alpha))


def _addr_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, b, beta, alpha = ctx.saved
    first = sum_to(_back_times(g, beta), ctx.shapes[0]) if ctx.needs[0] else None
    g = _back_times(g, alpha)
    da = db = None
    if ctx.needs[1]:
        da = reshape_value(product(g, reshape_value(conjugated(b), (b.shape[0], 1))), a.shape)
    if ctx.needs[2]:
        db = reshape_value(product(g, reshape_value(conjugated(a), (a.shape[0], 1)), True), b.shape)
    return first, da, db


_ADDR = Rule("AddrBackward0", _addr_backward)
_OUTER = Formula("outer", operand(0) * operand(1))


@op(inplace=True, out=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    need_tensors("addr", ("input", input), ("vec1", vec1), ("vec2", vec2))
    for place, v in enumerate((vec1, vec2)):
        if len(v.shape) != 1:
            raise RuntimeError(f"addr: Expected 1-D argument vec{place + 1}, but got "
                               f"{len(v.shape)}-D")
    of = result_dtype((input, vec1, vec2))
    input, vec1, vec2 = to_dtype(input, of), to_dtype(vec1, of), to_dtype(vec2, of)
    if of.category < FLOAT:
        for name, factor in (("beta", beta), ("alpha", alpha)):
            if isinstance(plain_number(factor), (float, complex)):
                raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    m, n = vec1.shape[0], vec2.shape[0]
    check_added(input.shape, (m, n))
    out = record(_OUTER, (reshaped(read(vec1), (m, 1)), reshaped(read(vec2), (1, n))), None, None,
                 (m, n), of)
    return attach(new(_blend(out, read(input), beta, alpha)), _ADDR, (input, vec1, vec2),
                  (vec1, vec2, beta, alpha))
