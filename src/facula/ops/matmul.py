"""Matrix products. All of them are CONTRACTs over VIEWs: a transpose is a way of reading, never a copy.

`product(a, b, ta, tb)` is the one differentiable building block, op(a) @ op(b) with either side transposed;
its gradients are products again, so derivatives of every order come from the same few lines.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from facula.autograd.graph import Rule, grad_node, mode
from facula.dtypes import FLOAT, bool_, dtype
from facula.engine.graph.expr import operand, scalar
from facula.engine.graph.node import CONST, CONTRACT, VIEW, Formula, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.ops.pointwise import broadcast, constant, number_for, sum_to, to_dtype
from facula.ops.registry import DTYPE_NAMES, NAMESPACES, alias_of, op, store
from facula.size import Size
from facula.tensor import Tensor, attach, edge_of, new, read, restored, view_node

_C_NAMES = {"uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
            "int64": "long int", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float",
            "float64": "double", "bool": "bool", "complex64": "c10::complex<float>",
            "complex128": "c10::complex<double>"}


def type_name(of: dtype) -> str:
    return DTYPE_NAMES.get(of.name, of.name)


# ---- geometry: VIEWs of values, on the tape without sharing memory --------------------------------------

def reshaped(node: Node, shape: tuple[int, ...]) -> Node:
    return view_node(node, shape, contiguous_strides(shape), 0, node.dtype)


def turned(node: Node, dims: tuple[int, ...]) -> Node:
    """`node` with its dimensions permuted."""
    strides = contiguous_strides(node.shape)
    return view_node(node, tuple([node.shape[d] for d in dims]), tuple([strides[d] for d in dims]), 0, node.dtype)


def _shape_rule(name: str) -> Rule:
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
        return (reshape_value(g, ctx.shapes[0]),)
    return Rule(name, backward)


_UNSAFE_VIEW = _shape_rule("UnsafeViewBackward0")
_VIEW = _shape_rule("ViewBackward0")
_SQUEEZE = _shape_rule("SqueezeBackward4")


def reshape_value(t: Tensor, shape: tuple[int, ...], rule: Rule = _UNSAFE_VIEW) -> Tensor:
    """The elements of `t` in another shape: a value of its own, whatever happens to `t` later."""
    if t.shape == shape and rule is not _VIEW:
        return t
    return attach(new(reshaped(read(t), shape)), rule, (t,))


def _permute_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    dims = ctx.saved[0]
    inverse = [0] * len(dims)
    for place, d in enumerate(dims):
        inverse[d] = place
    return (permute_value(g, tuple(inverse)),)


_PERMUTE = Rule("PermuteBackward0", _permute_backward)


def permute_value(t: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`t` with its dimensions permuted, as a value of its own."""
    if dims == tuple(range(len(dims))):
        return t
    return attach(new(turned(read(t), dims)), _PERMUTE, (t,), (dims,))


def transposed(t: Tensor) -> Tensor:
    """The matrices of `t` transposed."""
    n = len(t.shape)
    return permute_value(t, (*range(n - 2), n - 1, n - 2))


def _conj(t: Tensor) -> Tensor:
    return t.conj() if t.dtype.is_complex else t


# ---- the product ------------------------------------------------------------------------------------------

def _matrices(node: Node, batch: tuple[int, ...], flip: bool) -> Node:
    """`node` (.., R, C) as (B, R, C), or (B, C, R) if `flip`, its leading dimensions broadcast to `batch`."""
    shape = node.shape
    r, c = shape[-2:]
    strides = contiguous_strides(shape)
    tail = ((c, r), (strides[-1], strides[-2])) if flip else ((r, c), strides[-2:])
    total = size_of(batch)
    if shape[:-2] == batch or size_of(shape[:-2]) == total:
        return view_node(node, (total, *tail[0]), (r * c if total > 1 else r * c or 1, *tail[1]), 0, node.dtype)
    if size_of(shape[:-2]) == 1:
        return view_node(node, (total, *tail[0]), (0, *tail[1]), 0, node.dtype)
    lead = len(batch) - (len(shape) - 2)
    steps = (0,) * lead + tuple([0 if s == 1 else t for s, t in zip(shape[:-2], strides, strict=False)])
    wide = view_node(node, (*batch, *tail[0]), (*steps, *tail[1]), 0, node.dtype)
    return reshaped(wide, (total, *tail[0]))


@lru_cache(4096)
def _flat_geometry(p: tuple[int, ...], q: tuple[int, ...], ta: bool, tb: bool) -> tuple[Any, ...]:
    """One matrix on the right, so the rows of a all together: (shape, strides) of the views of a and of b, the
    product's shape, and (shape, strides) of the view of the result."""
    n = q[-2] if tb else q[-1]
    k = p[-2] if ta else p[-1]
    m = p[-1] if ta else size_of(p[:-1])
    out = Size((p[-1], n) if ta else (*p[:-1], n))
    return ((Size((1, m, k)), (m * k, 1, m) if ta else (m * k, k, 1)),
            (Size((1, k, n)), (n * k, 1, k) if tb else (n * k, n, 1)),
            Size((1, m, n)), (out, contiguous_strides(out)))


def _seen(node: Node, geometry: Any) -> Node:
    shape, strides = geometry
    if node.op is CONST:
        return Node(CONST, (), None, node.scalars, shape, node.dtype)
    return record(VIEW, (node,), (strides,), (0,), shape, node.dtype)


def _contract(a: Tensor, b: Tensor, ta: bool, tb: bool) -> Node:
    """The node of op(a) @ op(b). Sizes have been checked; both have two dimensions or more."""
    x, y = a._node, b._node
    if x is None:
        x = read(a)
    if y is None:
        y = read(b)
    p, q = x.shape, y.shape
    of = x.dtype
    if 0 in p or 0 in q:
        shape = (*broadcast(p[:-2], q[:-2]), p[-1] if ta else p[-2], q[-2] if tb else q[-1])
        return constant(0, shape, of)
    if len(q) == 2 and (len(p) == 2 or not ta):
        left, right, both, out = _flat_geometry(p, q, ta, tb)
        product = record(CONTRACT, (_seen(x, left), _seen(y, right)), None, None, both, of)
        return record(VIEW, (product,), (out[1],), (0,), out[0], of)
    batch = broadcast(p[:-2], q[:-2])
    left, right = _matrices(x, batch, ta), _matrices(y, batch, tb)
    m, n = left.shape[1], right.shape[2]
    result = record(CONTRACT, (left, right), None, None, (left.shape[0], m, n), of)
    return reshaped(result, (*batch, m, n))


def _product_grads(ctx: Any, g: Tensor, a: Any, b: Any, ta: bool, tb: bool, needs: tuple[bool, ...],
                   shapes: tuple[Any, ...]) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of op(a) @ op(b); `a` is None where b's gradient is not wanted, and the other way round."""
    da = db = None
    if needs[0]:
        b = _conj(b)
        da = product(b, g, tb, True) if ta else product(g, b, False, not tb)
        if da.shape != shapes[0]:
            da = sum_to(da, shapes[0])
    if needs[1]:
        a = _conj(a)
        if len(shapes[1]) == 2 and not ta and len(a.shape) > 2:
            a = reshape_value(a, (size_of(a.shape[:-1]), a.shape[-1]))
            g = reshape_value(g, (size_of(g.shape[:-1]), g.shape[-1]))
        db = product(g, a, True, ta) if tb else product(a, g, not ta, False)
        if db.shape != shapes[1]:
            db = sum_to(db, shapes[1])
    return da, db


def _restored(ctx: Any, first: int, a: Any, b: Any) -> tuple[Any, Any]:
    """The factors, which `_attach` has saved as nodes, as tensors with their history."""
    e, f = ctx.edges[first], ctx.edges[first + 1]
    return (None if a is None else restored(a, e, e is not None), None if b is None else restored(b, f, f is not None))


def _attach(out: Tensor, rule: Rule, inputs: tuple[Tensor, ...], factors: tuple[Node, Node],
            more: tuple[Any, ...]) -> None:
    """`attach` for a product, the last two of whose inputs are factors: of each, the node is saved if the other needs a
    gradient."""
    edges = [edge_of(t) if t._rg or t._base is not None else None for t in inputs]
    e, f = edges[-2:]
    if e is None and f is None and edges[0] is None:  # views of what needs no gradient
        return
    fn = grad_node(rule, tuple(edges), (None if f is None else factors[0], None if e is None else factors[1], *more),
                   tuple([t.shape for t in inputs]), tuple([t.dtype for t in inputs]))
    out._grad_fn = fn
    out._rg = True


def _product_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b, ta, tb = ctx.saved
    a, b = _restored(ctx, 0, a, b)
    return _product_grads(ctx, g, a, b, ta, tb, ctx.needs, ctx.shapes)


_MM = Rule("MmBackward0", _product_backward)
_BMM = Rule("BmmBackward0", _product_backward)
_CLONE = Rule("CloneBackward0", _product_backward)
_MATMUL = Rule("UnsafeViewBackward0", _product_backward)


def _live(t: Tensor) -> bool:
    return t._rg or t._base is not None


def product(a: Tensor, b: Tensor, ta: bool = False, tb: bool = False, rule: Rule = _MM) -> Tensor:
    """op(a) @ op(b) over the last two dimensions, op transposing if asked; the others broadcast."""
    out = new(_contract(a, b, ta, tb))
    if mode.grad:
        if (_live(a) or _live(b)) and out.dtype.category >= FLOAT:
            _attach(out, rule, (a, b), (a._node or read(a), b._node or read(b)), (ta, tb))
    return out


# ---- checks -----------------------------------------------------------------------------------------------

def _need_tensors(name: str, *named: tuple[str, Any]) -> None:
    for place, (label, t) in enumerate(named):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): argument '{label}' (position {place + 1}) must be Tensor, not "
                            f"{type(t).__name__}")


def _check_mm(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {_C_NAMES[a.dtype.name]} != "
                           f"{_C_NAMES[b.dtype.name]}")
    if a.dtype is bool_:
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")


def _cannot(m: int, k: int, k2: int, n: int) -> RuntimeError:
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({m}x{k} and {k2}x{n})")


def _check_batch(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {type_name(a.dtype)} but found {type_name(b.dtype)}")
    if a.dtype is bool_:
        raise NotImplementedError("\"bmm\" not implemented for 'Bool'")


def _check_stacks(batch1: Tensor, batch2: Tensor) -> None:
    a, b = batch1.shape, batch2.shape
    if len(a) != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if len(b) != 3:
        raise RuntimeError("batch2 must be a 3D tensor")
    if b[0] != a[0] or b[1] != a[2]:
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{a[0]}, {a[2]}] but got: "
                           f"[{b[0]}, {b[1]}].")
    _check_batch(batch1, batch2)


# ---- the operations ---------------------------------------------------------------------------------------

@op(out=True)
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    if not isinstance(input, Tensor) or not isinstance(mat2, Tensor):
        _need_tensors("mm", ("input", input), ("mat2", mat2))
    a, b = input.shape, mat2.shape
    if len(a) != 2:
        raise RuntimeError("self must be a matrix")
    if len(b) != 2:
        raise RuntimeError("mat2 must be a matrix")
    if a[1] != b[0]:
        raise _cannot(*a, *b)
    if input.dtype is not mat2.dtype or input.dtype is bool_:
        _check_mm(input, mat2)
    return product(input, mat2)


@op(out=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two stacks of matrices."""
    _need_tensors("bmm", ("input", input), ("mat2", mat2))
    _check_stacks(input, mat2)
    return product(input, mat2, rule=_BMM)


def _dot_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = ctx.saved
    return (g * _conj(b) if ctx.needs[0] else None, g * _conj(a) if ctx.needs[1] else None)


def _vdot_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = ctx.saved
    return (_conj(g) * b if ctx.needs[0] else None, g * a if ctx.needs[1] else None)


_DOT = Rule("DotBackward0", _dot_backward)
_VDOT = Rule("VdotBackward0", _vdot_backward)


def _check_dot(a: Tensor, b: Tensor, name: str) -> None:
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(a.shape)}D and {len(b.shape)}D tensors")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {type_name(a.dtype)} and "
                           f"{type_name(b.dtype)}")
    if a.shape != b.shape:
        raise RuntimeError(f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to have "
                           f"the same number of elements, but got {a.shape[0]} and {b.shape[0]} elements respectively")
    if a.dtype is bool_:
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")


def _dotted(x: Node, y: Node) -> Tensor:
    n = x.shape[0]
    if n == 0:
        return new(constant(0, (), x.dtype))
    left, right = reshaped(x, (1, 1, n)), reshaped(y, (1, n, 1))
    return new(reshaped(record(CONTRACT, (left, right), None, None, (1, 1, 1), x.dtype), ()))


@op(out=True)
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors' elements."""
    _need_tensors("dot", ("input", input), ("tensor", tensor))
    _check_dot(input, tensor, "dot")
    return attach(_dotted(read(input), read(tensor)), _DOT, (input, tensor), (input, tensor))


@op(out=True)
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """As `dot`, with the first vector conjugated."""
    _need_tensors("vdot", ("input", input), ("other", other))
    _check_dot(input, other, "vdot")
    return attach(_dotted(read(_conj(input)), read(other)), _VDOT, (input, other), (input, other))


def _mv_grads(g: Tensor, a: Any, v: Any, needs: tuple[bool, ...]) -> tuple[Tensor | None, Tensor | None]:
    da = dv = None
    if needs[0]:
        da = reshape_value(g, (g.shape[0], 1)) * reshape_value(_conj(v), (1, v.shape[0]))
    if needs[1]:
        dv = reshape_value(product(_conj(a), reshape_value(g, (g.shape[0], 1)), True), (a.shape[1],))
    return da, dv


def _mv_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, v = ctx.saved
    return _mv_grads(g, a, v, ctx.needs)


_MV = Rule("MvBackward0", _mv_backward)


def _mv_node(a: Tensor, v: Tensor) -> Node:
    x, y = read(a), read(v)
    m, k = x.shape
    if m * k == 0:
        return constant(0, (m,), x.dtype)
    result = record(CONTRACT, (reshaped(x, (1, m, k)), reshaped(y, (1, k, 1))), None, None, (1, m, 1), x.dtype)
    return reshaped(result, (m,))


def _check_mv(a: Tensor, v: Tensor, out: int | None = None) -> None:
    if len(a.shape) != 2 or len(v.shape) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {len(a.shape)}, {len(v.shape)}")
    if a.shape[1] != v.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a.shape[0] if out is None else out}), mat "
                           f"({a.shape[0]}x{a.shape[1]}), vec ({v.shape[0]})")
    if a.dtype is not v.dtype:
        raise RuntimeError(f"addmv input tensors must have the same dtype, but got {type_name(v.dtype)}, "
                           f"{type_name(a.dtype)}, and {type_name(v.dtype)}")
    if a.dtype is bool_:
        raise NotImplementedError("\"addmv_impl_cpu\" not implemented for 'Bool'")


@op(out=True)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector."""
    _need_tensors("mv", ("input", input), ("vec", vec))
    _check_mv(input, vec)
    return attach(new(_mv_node(input, vec)), _MV, (input, vec),
                  (input if _live(vec) else Row(input.shape), vec if _live(input) else None))


class Row:
    """Stands for a saved matrix of which only the shape matters."""

    __slots__ = ("shape", "dtype")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


@op(out=True)
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product by torch's rules: vectors are rows or columns, leading dimensions broadcast."""
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        _need_tensors("matmul", ("input", input), ("other", other))
    a, b = input.shape, other.shape
    p, q = len(a), len(b)
    if p == 2 and q == 2:
        if a[1] != b[0]:
            raise _cannot(*a, *b)
        if input.dtype is not other.dtype or input.dtype is bool_:
            _check_mm(input, other)
        return product(input, other)
    if p == 0 or q == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {p}D and {q}D")
    if p == 1 and q == 1:
        return dot(input, other)
    if p == 2 and q == 1:
        return mv(input, other)
    if p == 1:
        row = reshape_value(input, (1, a[0]))
        out = matmul(row, other)
        shape = (*out.shape[:-2], out.shape[-1])
        return reshape_value(out, shape, _SQUEEZE if q == 2 else _UNSAFE_VIEW)
    if q == 1:
        if a[-1] != b[0]:
            m = size_of(a[:-1])
            raise RuntimeError(f"size mismatch, got input ({m}), mat ({m}x{a[-1]}), vec ({b[0]})")
        out = matmul(input, reshape_value(other, (b[0], 1)))
        return reshape_value(out, out.shape[:-1])
    if q == 2:
        if a[-1] != b[0]:
            raise _cannot(size_of(a[:-1]), a[-1], *b)
        _check_mm(input, other)
        return product(input, other, rule=_MATMUL)
    batch = broadcast(a[:-2], b[:-2])
    if a[-1] != b[-2]:
        n = size_of(batch)
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{n}, {a[-1]}] but got: "
                           f"[{n}, {b[-2]}].")
    _check_batch(input, other)
    return product(input, other, rule=_CLONE if p == 2 else _MATMUL)


NAMESPACES.setdefault("linalg", {})["matmul"] = matmul


def _dunder(self: Tensor, other: Any) -> Any:
    return matmul(self, other) if isinstance(other, Tensor) else NotImplemented


def _reflected(self: Tensor, other: Any) -> Any:
    return matmul(other, self) if isinstance(other, Tensor) else NotImplemented


Tensor.__matmul__ = _dunder  # type: ignore[assignment,method-assign]
Tensor.__rmatmul__ = _reflected  # type: ignore[assignment,method-assign]


# ---- with something added ---------------------------------------------------------------------------------

_ADDED = Formula("addmm", operand(0) + operand(1))
_BLENDED = Formula("addmm", operand(0) * scalar(0) + operand(1) * scalar(1))
_SCALED = Formula("addmm", operand(0) * scalar(0))


def _blend(out: Node, added: Node, beta: Any, alpha: Any) -> Node:
    """alpha * out + beta * added."""
    of = out.dtype
    if beta == 0:
        return out if alpha == 1 else record(_SCALED, (out,), None, (number_for(alpha, of),), out.shape, of)
    if beta == 1 and alpha == 1:
        return record(_ADDED, (out, added), None, None, out.shape, of)
    return record(_BLENDED, (out, added), None, (number_for(alpha, of), number_for(beta, of)), out.shape, of)


def _times(t: Tensor | None, factor: Any) -> Any:
    return t if t is None or factor == 1 else t * factor


def _back_times(g: Tensor, factor: Any) -> Any:
    """The gradient behind `_times`: a complex factor counts with its conjugate."""
    return _times(g, factor.conjugate() if isinstance(factor, complex) else factor)


def _add_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, b, ta, tb, beta, alpha = ctx.saved
    a, b = _restored(ctx, 1, a, b)
    needs, shapes = ctx.needs, ctx.shapes
    first = None
    if needs[0]:
        first = _back_times(g, beta)
        if first.shape != shapes[0]:
            first = sum_to(first, shapes[0])
    da = db = None
    if needs[1] or needs[2]:
        da, db = _product_grads(ctx, _back_times(g, alpha), a, b, ta, tb, needs[1:], shapes[1:])
    return first, da, db


_ADDMM = Rule("AddmmBackward0", _add_backward)
_BADDBMM = Rule("BaddbmmBackward0", _add_backward)
_LINEAR = Rule("ViewBackward0", _add_backward)


def _added(input: Tensor, a: Tensor, b: Tensor, tb: bool, beta: Any, alpha: Any, rule: Rule) -> Tensor:
    result = new(_blend(_contract(a, b, False, tb), read(input), beta, alpha))
    if mode.grad:
        if (_live(a) or _live(b) or _live(input)) and result.dtype.category >= FLOAT:
            _attach(result, rule, (input, a, b), (a._node or read(a), b._node or read(b)), (False, tb, beta, alpha))
    return result


def _check_added(added: tuple[int, ...], shape: tuple[int, ...]) -> None:
    lead = len(shape) - len(added)
    if lead < 0:
        raise RuntimeError(f"expand(torch.FloatTensor{{{list(added)}}}, size={list(shape)}): the number of sizes "
                           f"provided ({len(shape)}) must be greater or equal to the number of dimensions in the "
                           f"tensor ({len(added)})")
    for k in range(len(shape) - 1, lead - 1, -1):
        s = added[k - lead]
        if s != 1 and s != shape[k]:
            raise RuntimeError(f"The expanded size of the tensor ({shape[k]}) must match the existing size ({s}) at "
                               f"non-singleton dimension {k}.  Target sizes: {list(shape)}.  Tensor sizes: "
                               f"{list(added)}")


def _check_factor(factor: Any, of: dtype, name: str) -> None:
    if not of.is_floating_point and not of.is_complex and isinstance(factor, float):
        raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")


def _same_dtype(input: Tensor, a: Tensor, what: str = "self and mat2") -> None:
    if input.dtype is not a.dtype:
        raise RuntimeError(f"{what} must have the same dtype, but got {type_name(input.dtype)} and "
                           f"{type_name(a.dtype)}")


@op(inplace=True, out=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2."""
    _need_tensors("addmm", ("input", input), ("mat1", mat1), ("mat2", mat2))
    a, b = mat1.shape, mat2.shape
    if len(a) != 2:
        raise RuntimeError(f"mat1 must be a matrix, got {len(a)}-D tensor")
    if len(b) != 2:
        raise RuntimeError(f"mat2 must be a matrix, got {len(b)}-D tensor")
    if a[1] != b[0]:
        raise _cannot(*a, *b)
    if mat1.dtype is not mat2.dtype:
        raise RuntimeError(f"mat1 and mat2 must have the same dtype, but got {type_name(mat1.dtype)} and "
                           f"{type_name(mat2.dtype)}")
    _same_dtype(input, mat2)
    _check_mm(mat1, mat2)
    _check_factor(beta, mat1.dtype, "beta")
    _check_factor(alpha, mat1.dtype, "alpha")
    _check_added(input.shape, (a[0], b[1]))
    return _added(input, mat1, mat2, False, beta, alpha, _ADDMM)


@op(inplace=True, out=True)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
    _need_tensors("baddbmm", ("input", input), ("batch1", batch1), ("batch2", batch2))
    a, b = batch1.shape, batch2.shape
    _check_stacks(batch1, batch2)
    if input.dtype is not batch1.dtype:
        raise RuntimeError(f"Input dtypes must be the same, got: input {input.dtype.name}, batch1: "
                           f"{batch1.dtype.name}, batch2: {batch2.dtype.name}")
    _check_added(input.shape, (a[0], a[1], b[2]))
    return _added(input, batch1, batch2, False, beta, alpha, _BADDBMM)


def _addbmm_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, b, beta, alpha = ctx.saved
    first = sum_to(_back_times(g, beta), ctx.shapes[0]) if ctx.needs[0] else None
    g = _back_times(g, alpha)
    da = product(g, _conj(b), False, True) if ctx.needs[1] else None
    db = product(_conj(a), g, True) if ctx.needs[2] else None
    return first, da, db


_ADDBMM = Rule("AddbmmBackward0", _addbmm_backward)


@op(out=True)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * the sum of bmm(batch1, batch2) over the stack."""
    _need_tensors("addbmm", ("input", input), ("batch1", batch1), ("batch2", batch2))
    a, b = batch1.shape, batch2.shape
    if len(a) != 3 or len(b) != 3:
        raise RuntimeError(f"batch{1 if len(a) != 3 else 2} must be a 3D tensor")
    if a[0] != b[0]:
        raise RuntimeError(f"batch1 and batch2 must have same number of batches, got {a[0]} and {b[0]}")
    if a[2] != b[1]:
        raise RuntimeError(f"Incompatible matrix sizes for bmm ({a[1]}x{a[2]} and {b[1]}x{b[2]})")
    _check_batch(batch1, batch2)
    x, y = read(batch1), read(batch2)
    s, m, k = a
    n = b[2]
    if 0 in a or 0 in b:
        out = constant(0, (m, n), x.dtype)
    else:
        left = reshaped(turned(x, (1, 0, 2)), (1, m, s * k))
        right = reshaped(y, (1, s * k, n))
        out = reshaped(record(CONTRACT, (left, right), None, None, (1, m, n), x.dtype), (m, n))
    _check_added(input.shape, (m, n))
    return attach(new(_blend(out, read(input), beta, alpha)), _ADDBMM, (input, batch1, batch2),
                  (batch1, batch2, beta, alpha))


@op(name="addbmm_")
def _addbmm_in_place(self: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """addbmm, written into `self`, which takes the result's shape: alone of its kind, as in torch."""
    result = addbmm(self, batch1, batch2, beta=beta, alpha=alpha)
    if self.shape != result.shape:
        if self._rg:
            raise RuntimeError("cannot resize variables that require grad")
        self.resize_(result.shape)
    return store(self, result, "addbmm_")


def _addmv_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, v, beta, alpha = ctx.saved
    first = sum_to(_back_times(g, beta), ctx.shapes[0]) if ctx.needs[0] else None
    return first, *_mv_grads(_back_times(g, alpha), a, v, ctx.needs[1:])


_ADDMV = Rule("AddmvBackward0", _addmv_backward)


@op(inplace=True, out=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec."""
    _need_tensors("addmv", ("input", input), ("mat", mat), ("vec", vec))
    if len(mat.shape) != 2 or len(vec.shape) != 1 or len(input.shape) > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {len(input.shape)}, {len(mat.shape)}, "
                           f"{len(vec.shape)}")
    if mat.shape[1] != vec.shape[0] or input.shape not in ((mat.shape[0],), (1,), ()):
        raise RuntimeError(f"size mismatch, got input ({input.shape[0] if input.shape else 1}), mat "
                           f"({mat.shape[0]}x{mat.shape[1]}), vec ({vec.shape[0]})")
    if not input.dtype is mat.dtype is vec.dtype:
        raise RuntimeError(f"addmv input tensors must have the same dtype, but got {type_name(input.dtype)}, "
                           f"{type_name(mat.dtype)}, and {type_name(vec.dtype)}")
    return attach(new(_blend(_mv_node(mat, vec), read(input), beta, alpha)), _ADDMV, (input, mat, vec),
                  (mat, vec, beta, alpha))


def _addr_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    a, b, beta, alpha = ctx.saved
    first = sum_to(_back_times(g, beta), ctx.shapes[0]) if ctx.needs[0] else None
    g = _back_times(g, alpha)
    da = reshape_value(product(g, reshape_value(_conj(b), (b.shape[0], 1))), a.shape) if ctx.needs[1] else None
    db = reshape_value(product(g, reshape_value(_conj(a), (a.shape[0], 1)), True), b.shape) if ctx.needs[2] else None
    return first, da, db


_ADDR = Rule("AddrBackward0", _addr_backward)
_OUTER = Formula("outer", operand(0) * operand(1))


@op(inplace=True, out=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    _need_tensors("addr", ("input", input), ("vec1", vec1), ("vec2", vec2))
    for place, v in enumerate((vec1, vec2)):
        if len(v.shape) != 1:
            raise RuntimeError(f"addr: Expected 1-D argument vec{place + 1}, but got {len(v.shape)}-D")
    from facula.ops.pointwise import result_dtype
    of = result_dtype((input, vec1, vec2))
    input, vec1, vec2 = to_dtype(input, of), to_dtype(vec1, of), to_dtype(vec2, of)
    m, n = vec1.shape[0], vec2.shape[0]
    _check_added(input.shape, (m, n))
    out = record(_OUTER, (reshaped(read(vec1), (m, 1)), reshaped(read(vec2), (1, n))), None, None, (m, n), of)
    return attach(new(_blend(out, read(input), beta, alpha)), _ADDR, (input, vec1, vec2), (vec1, vec2, beta, alpha))


# ---- linear -----------------------------------------------------------------------------------------------

@op(method=False, namespace="nn.functional")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x W^T + b`: (*, in) with W (out, in) or (in) to (*, out) or (*).

    Raises:
        RuntimeError: the sizes or dtypes do not fit.

    Example:
        >>> import facula
        >>> facula.nn.functional.linear(facula.ones(1, 2), facula.ones(3, 2), facula.ones(3))
        tensor([[3., 3., 3.]])
    """
    x, w = input.shape, weight.shape
    rank = len(x)
    if len(w) == 2 and rank >= 2:
        if x[-1] != w[1]:
            raise _cannot(size_of(x[:-1]), x[-1], w[1], w[0])
        of = input.dtype
        if bias is None:
            if of is not weight.dtype:
                _check_mm(input, weight)
            return product(input, weight, False, True, _MM if rank == 2 else _MATMUL)
        if of is not weight.dtype or of is not bias.dtype:
            if of is not weight.dtype:
                raise RuntimeError(f"mat1 and mat2 must have the same dtype, but got {type_name(of)} and "
                                   f"{type_name(weight.dtype)}")
            _same_dtype(bias, weight)
        if bias.shape != w[:1]:
            _check_added(bias.shape, (*x[:-1], w[0]))
        return _added(bias, input, weight, True, 1, 1, _ADDMM if rank == 2 else _LINEAR)
    if len(w) == 1 and bias is None or rank == 0:
        return matmul(input, weight)
    if rank == 1 and len(w) == 2:
        out = linear(reshape_value(input, (1, x[0])), weight, bias)
        return reshape_value(out, (w[0],), _SQUEEZE if bias is None else _VIEW)
    if len(w) == 1:
        raise RuntimeError("t() expects a tensor with <= 2 dimensions, but self is 1D and a bias was given")
    raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {len(w)}D")


# ---- made of these ----------------------------------------------------------------------------------------

@op(out=True)
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The matrix of the products of two vectors' elements."""
    _need_tensors("outer", ("input", input), ("vec2", vec2))
    for name, v in (("self", input), ("vec2", vec2)):
        if len(v.shape) != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {len(v.shape)}-D")
    return reshape_value(input, (input.shape[0], 1)) * reshape_value(vec2, (1, vec2.shape[0]))


alias_of("outer", "ger")


@op(out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The products over the last dimension of both."""
    _need_tensors("inner", ("input", input), ("other", other))
    a, b = input.shape, other.shape
    if not a or not b:
        return input * other
    if a[-1] != b[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got shapes "
                           f"{list(a)} and {list(b)}")
    if len(a) == 1 and len(b) == 1:
        return dot(input, other)
    _check_mm(input, other)
    k = a[-1]
    flat = product(reshape_value(input, (size_of(a[:-1]), k)), reshape_value(other, (size_of(b[:-1]), k)), False, True)
    return reshape_value(flat, (*a[:-1], *b[:-1]), _VIEW)


def wrap_dim(d: int, rank: int) -> int:
    low = -rank if rank else -1
    if not low <= d < -low:
        raise IndexError(f"Dimension out of range (expected to be in range of [{low}, {-low - 1}], but got {d})")
    return d % rank if rank else 0


@op(out=True, method=False)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The product over several dimensions: `dims` of them, or a list of a's and a list of b's."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(len(a.shape), len(b.shape)):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(-dims, 0)), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have the same length")
    for p, q in zip(left, right, strict=False):
        if a.shape[p] != b.shape[q] and a.shape[p] != 1 and b.shape[q] != 1:
            raise RuntimeError(f"contracted dimensions need to match, but first has size {a.shape[p]} in dim {p} and "
                               f"second has size {b.shape[q]} in dim {q}")
    left = [wrap_dim(d, len(a.shape)) for d in left]
    right = [wrap_dim(d, len(b.shape)) for d in right]
    for p, q in zip(left, right, strict=False):  # a size of 1 on one side: the other side is summed
        if a.shape[p] != b.shape[q]:
            if a.shape[p] == 1:
                b = b.sum(q, keepdim=True)
            else:
                a = a.sum(p, keepdim=True)
    rest_a = [d for d in range(len(a.shape)) if d not in left]
    rest_b = [d for d in range(len(b.shape)) if d not in right]
    k = size_of(tuple(a.shape[d] for d in left))
    rows = tuple(a.shape[d] for d in rest_a)
    columns = tuple(b.shape[d] for d in rest_b)
    _check_mm(a, b)
    x = reshape_value(permute_value(a, (*rest_a, *left)), (size_of(rows), k))
    y = reshape_value(permute_value(b, (*right, *rest_b)), (k, size_of(columns)))
    return reshape_value(product(x, y), (*rows, *columns), _VIEW)


def _cheapest(sizes: list[int]) -> list[list[int]]:
    """Where to split each run of a chain of matrices (i has sizes[i] x sizes[i + 1])."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length - 1
            options = [(cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i][j], split[i][j] = min(options)
    return split


@op(method=False, out=True, namespace="linalg")
def multi_dot(tensors: Any) -> Tensor:
    """The product of a chain of matrices in the order that costs least."""
    chain = list(tensors)
    if len(chain) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(chain)}")
    first, last = chain[0], chain[-1]
    shape: list[int] = []
    if len(first.shape) == 1:
        chain[0] = reshape_value(first, (1, first.shape[0]))
    elif len(first.shape) == 2:
        shape.append(first.shape[0])
    else:
        raise RuntimeError(f"multi_dot(): the first tensor must be 1D or 2D but got {len(first.shape)}D")
    if len(last.shape) == 1:
        chain[-1] = reshape_value(last, (last.shape[0], 1))
    elif len(last.shape) == 2:
        shape.append(last.shape[1])
    else:
        raise RuntimeError(f"multi_dot(): the last tensor must be 1D or 2D but got {len(last.shape)}D")
    for i, t in enumerate(chain):
        if len(t.shape) != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {len(t.shape)}D")
        if i and chain[i - 1].shape[1] != t.shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {i - 1} and {i} with shapes {list(chain[i - 1].shape)} and "
                               f"{list(t.shape)} cannot be multiplied")
    split = _cheapest([chain[0].shape[0], *[t.shape[1] for t in chain]])

    def between(i: int, j: int) -> Tensor:
        if i == j:
            return chain[i]  # type: ignore[no-any-return]
        k = split[i][j]
        return mm(between(i, k), between(k + 1, j))

    return reshape_value(between(0, len(chain) - 1), tuple(shape), _VIEW)


@op(method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """As `linalg.multi_dot`, of its arguments."""
    if len(matrices) == 1:
        return matrices[0]
    return multi_dot(matrices)


@op(out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product."""
    _need_tensors("kron", ("input", input), ("other", other))
    rank = max(len(input.shape), len(other.shape))
    a = (1,) * (rank - len(input.shape)) + tuple(input.shape)
    b = (1,) * (rank - len(other.shape)) + tuple(other.shape)
    x = reshape_value(input, tuple([s for n in a for s in (n, 1)]))
    y = reshape_value(other, tuple([s for n in b for s in (1, n)]))
    return reshape_value(x * y, tuple([p * q for p, q in zip(a, b, strict=False)]))


