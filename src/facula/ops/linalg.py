"""Linear algebra: NumPy's LAPACK on the host, with gradients in terms of tensor operations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from facula.autograd.graph import Rule, mode
from facula.dtypes import FLOAT, bfloat16, bool_, complex128, dtype, float32, float64, int32, int64
from facula.engine.graph.node import CALL, PICK
from facula.engine.meta import meta_node
from facula.engine.realize import leaf, value_of
from facula.engine.recorder import record
from facula.engine.runtime.routines import ROUTINES
from facula.ops.matmul import matmul, multi_dot, product, reshape_value, transposed, type_name
from facula.ops.pointwise import broadcast, constant, sum_to, to_dtype
from facula.ops.registry import FUNCTIONS, METHODS, NAMESPACES, op
from facula.ops.severing import severed
from facula.tensor import Tensor, attach, attach_many, is_meta, new, read


class LinAlgError(RuntimeError):
    """A factorization failed: the matrix is singular, or not positive-definite."""


LinAlgError.__name__ = LinAlgError.__qualname__ = "_LinAlgError"
LINALG = NAMESPACES.setdefault("linalg", {})
LINALG["LinAlgError"] = LinAlgError
LINALG["multi_dot"] = multi_dot


# ---- plumbing ---------------------------------------------------------------------------------------------

def _check(x: Any, name: str, square: bool = True, letter: str = "A", low: bool = False) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument '{letter}' (position 1) must be Tensor, not {type(x).__name__}")
    if len(x.shape) < 2:
        raise RuntimeError(f"{name}: The input tensor {letter} must have at least 2 dimensions.")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(f"{name}: {letter} must be batches of square matrices, but they are {x.shape[-2]} by "
                           f"{x.shape[-1]} matrices")
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {type_name(x.dtype)}")
    if x.dtype.itemsize < 4 and not low:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {type_name(x.dtype)}")


def _call(routine: str, inputs: tuple[Tensor, ...], args: tuple[Any, ...],
          results: tuple[tuple[tuple[int, ...], dtype], ...]) -> tuple[Tensor, ...]:
    """A routine that cannot fail, as a CALL and a PICK for each result."""
    call = record(CALL, tuple([read(x) for x in inputs]), (routine, *args), None, (), inputs[0].dtype)
    return tuple([new(record(PICK, (call,), (k,), None, shape, of)) for k, (shape, of) in enumerate(results)])


def _value(array: Any, of: dtype, like: Tensor | None = None) -> Tensor:
    """A tensor of NumPy's elements; a meta tensor if `like` is one."""
    if like is not None and is_meta(like):
        return new(meta_node(np.shape(array), of))
    if of is bfloat16:  # NumPy has none: it would take the bits for numbers
        return to_dtype(_value(array, float32), of)
    array = np.ascontiguousarray(np.asarray(array), dtype=of.numpy).reshape(np.shape(array))
    return new(leaf(array, array.shape, of))


def _adjoint(x: Tensor) -> Tensor:
    x = transposed(x)
    return x.conj() if x.dtype.is_complex else x


def _left(a: Tensor, b: Tensor) -> Tensor:
    """The adjoint of a, times b."""
    return product(a.conj() if a.dtype.is_complex else a, b, True, False)


def _right(a: Tensor, b: Tensor) -> Tensor:
    """a times the adjoint of b."""
    return product(a, b.conj() if b.dtype.is_complex else b, False, True)


def _column(x: Tensor) -> Tensor:
    return reshape_value(x, (*x.shape, 1))


def _row(x: Tensor) -> Tensor:
    return reshape_value(x, (*x.shape[:-1], 1, x.shape[-1]))


def _matrix(x: Tensor) -> Tensor:
    return reshape_value(x, (*x.shape, 1, 1))


def _mask(array: Any, like: Tensor) -> Tensor:
    return _value(array, like.dtype)


def _eye(n: int, like: Tensor) -> Tensor:
    return _mask(np.eye(n), like)


def _diagonal_of(x: Tensor, k: int) -> Tensor:
    """(.., k, k) to (.., k)"""
    return (x * _eye(k, x)).sum(-1)


def _which(n: int, array: Any, singular: Any) -> str:
    """The batch element that failed, in torch's words."""
    if np.ndim(array) == 2:
        return ""
    flat = np.reshape(array, (-1, *np.shape(array)[-2:]))
    for i, m in enumerate(flat):
        if singular(m):
            return f"(Batch element {i}): "
    return ""


# ---- inverse, determinant, systems ------------------------------------------------------------------------

def _singular_at(m: Any) -> int:
    """The first zero on the diagonal of the LU factorization, from 1 (0: none)."""
    u = np.array(m)
    n = len(u)
    for k in range(n):
        p = k + int(np.argmax(np.abs(u[k:, k])))
        if u[p, k] == 0:
            return k + 1
        u[[k, p]] = u[[p, k]]
        u[k + 1:, k:] -= np.outer(u[k + 1:, k] / u[k, k], u[k, k:])
    return 0


def _inv_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    b = ctx.saved[0]
    return (-_left(b, _right(g, b)),)


_INV = Rule("LinalgInvExBackward0", _inv_backward)


@op(method=False, out=True, namespace="linalg")
def inv(A: Tensor) -> Tensor:
    """The inverse of each matrix."""
    _check(A, "linalg.inv")
    if is_meta(A):
        out = new(meta_node(A.shape, A.dtype))
        return attach(out, _INV, (A,), (out,))
    array = value_of(read(A))
    try:
        result = ROUTINES["inv"](array)[0]
    except np.linalg.LinAlgError:
        where = _which(A.shape[-1], array, _singular_at)
        flat = np.reshape(array, (-1, *array.shape[-2:]))
        at = next((k for k in map(_singular_at, flat) if k), A.shape[-1])
        raise LinAlgError(f"linalg.inv: {where}The diagonal element {at} is zero, the inversion could not be "
                          "completed because the input matrix is singular.") from None
    out = _value(result, A.dtype)
    return attach(out, _INV, (A,), (out,))


class InvEx(NamedTuple):
    inverse: Any
    info: Any


@op(method=False, namespace="linalg")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> InvEx:
    """The inverse, and 0 for each matrix that has one."""
    return InvEx(inv(A), _value(np.zeros(A.shape[:-2]), int32, A))


def _det_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    a, d = ctx.saved
    factor = g * (d.conj() if d.dtype.is_complex else d)
    try:
        return (_matrix(factor) * _adjoint(inv(a)),)
    except LinAlgError:  # a product of all singular values but one in place of det * inverse
        u, s, vh = np.linalg.svd(value_of(read(a)))
        k = s.shape[-1]
        rest = np.stack([np.prod(np.delete(s, i, -1), -1) for i in range(k)], -1)
        sign = np.linalg.det(u) * np.linalg.det(vh)
        cofactor = sign[..., None, None] * ((u * rest[..., None, :]) @ vh)
        return (_matrix(g) * _value(cofactor, a.dtype),)


_DET = Rule("LinalgDetBackward0", _det_backward)


@op(method=False, out=True, namespace="linalg")
def det(A: Tensor) -> Tensor:
    """The determinant of each matrix."""
    _check(A, "linalg.det")
    out = _call("det", (A,), (), ((tuple(A.shape[:-2]), A.dtype),))[0]
    return attach(out, _DET, (A,), (A, out))


class Slogdet(NamedTuple):
    sign: Any
    logabsdet: Any


def _slogdet_backward(ctx: Any, gs: Tensor | None, g: Tensor | None) -> tuple[Tensor | None]:
    a, sign = ctx.saved
    if not a.dtype.is_complex:
        return (None if g is None else _matrix(g) * _adjoint(inv(a)),)
    if gs is not None:  # the sign turns with the imaginary part of tr(A^-1 dA)
        turn = (gs.conj() * sign).imag.to(a.dtype) * -1j
        g = turn if g is None else g.to(a.dtype) + turn
    return (None if g is None else _matrix(g.to(a.dtype)) * _adjoint(inv(a)),)


_SLOGDET = Rule("LinalgSlogdetBackward0", _slogdet_backward)


@op(method=False, out=True, namespace="linalg")
def slogdet(A: Tensor) -> Slogdet:
    """Sign and logarithm of the absolute value of each determinant."""
    _check(A, "linalg.slogdet")
    sign, log = _call("slogdet", (A,), (), ((tuple(A.shape[:-2]), A.dtype), (tuple(A.shape[:-2]), A.dtype.to_real())))
    attach_many((sign, log), _SLOGDET, (A,), (A, ("out", 0)))
    return Slogdet(sign, log)


def _solve_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, x = ctx.saved
    db = _solved(_adjoint(a), g)
    da = None
    if ctx.needs[0]:
        da = -_right(db, x)
        if da.shape != ctx.shapes[0]:
            da = sum_to(da, ctx.shapes[0])
    if ctx.needs[1] and db.shape != ctx.shapes[1]:
        db = sum_to(db, ctx.shapes[1])
    return da, db


_SOLVE = Rule("LinalgSolveExBackward0", _solve_backward)


def _solved(a: Tensor, b: Tensor) -> Tensor:
    if is_meta(a) and is_meta(b):
        out = new(meta_node((*broadcast(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), a.dtype))
        return attach(out, _SOLVE, (a, b), (a, out))
    array = value_of(read(a))
    try:
        result = ROUTINES["solve"](array, value_of(read(b)))[0]
    except np.linalg.LinAlgError:
        where = _which(a.shape[-1], array, _singular_at)
        raise LinAlgError(f"torch.linalg.solve: {where}The solver failed because the input matrix is "
                          "singular.") from None
    out = _value(result, a.dtype)
    return attach(out, _SOLVE, (a, b), (a, out))


def _is_vector(a: Tensor, b: Tensor) -> bool:
    return len(b.shape) == 1 or (len(a.shape) - 1 == len(b.shape) and tuple(b.shape) == tuple(a.shape[:-1]))


@op(method=False, out=True, namespace="linalg")
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (or X A = B)."""
    _check(A, "linalg.solve")
    if A.dtype is not B.dtype:
        raise RuntimeError(f"linalg.solve: Expected A and B to have the same dtype, but found A of type "
                           f"{type_name(A.dtype)} and B of type {type_name(B.dtype)} instead")
    if _is_vector(A, B):
        if B.shape[-1] != A.shape[-1]:
            raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B "
                               f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-1]}x1)")
        x = _solved(A, _column(B))
        return reshape_value(x, x.shape[:-1])
    if not left:
        return transposed(_solved(transposed(A), transposed(B)))
    if B.shape[-2] != A.shape[-1]:
        raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B "
                           f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})")
    return _solved(A, B)


@op(method=False, out=True, namespace="linalg")
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X with A X = B, of A only one triangle."""
    _check(A, "linalg.solve_triangular")
    n = A.shape[-1]
    ones = np.ones((n, n))
    k = 1 if unitriangular else 0
    A = A * _mask(np.triu(ones, k) if upper else np.tril(ones, -k), A)
    if unitriangular:
        A = A + _eye(n, A)
    return solve(A, B, left=left)


# ---- factorizations ---------------------------------------------------------------------------------------

def _cholesky_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    lower = ctx.saved[0]
    n = lower.shape[-1]
    low = _left(lower, g) * _mask(np.tril(np.ones((n, n))), lower)
    # torch leaves the imaginary part on the diagonal; no Hermitian change of the matrix meets it
    both = low + _adjoint(low * _mask(1 - np.eye(n), lower))
    inverse = inv(lower)
    return (_left(inverse, product(both, inverse)) * 0.5,)


_CHOLESKY = Rule("LinalgCholeskyExBackward0", _cholesky_backward)


def _minor(m: Any) -> int:
    """Order of the first leading minor that is not positive-definite (0: none)."""
    for k in range(1, len(m) + 1):
        try:
            np.linalg.cholesky(m[:k, :k])
        except np.linalg.LinAlgError:
            return k
    return 0


@op(method=False, out=True, namespace="linalg")
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with A = L L^H (or its adjoint)."""
    _check(A, "linalg.cholesky")
    if is_meta(A):
        out = new(meta_node(A.shape, A.dtype))
        attach(out, _CHOLESKY, (A,), (out,))
        return _adjoint(out) if upper else out
    array = value_of(read(A))
    try:
        result = ROUTINES["cholesky"](array)[0]
    except np.linalg.LinAlgError:
        where = _which(A.shape[-1], array, _minor)
        at = next((k for k in map(_minor, np.reshape(array, (-1, *array.shape[-2:]))) if k), 1)
        raise LinAlgError(f"linalg.cholesky: {where}The factorization could not be completed because the input is "
                          f"not positive-definite (the leading minor of order {at} is not "
                          "positive-definite).") from None
    out = _value(result, A.dtype)
    attach(out, _CHOLESKY, (A,), (out,))
    return _adjoint(out) if upper else out


class CholeskyEx(NamedTuple):
    L: Any
    info: Any


@op(method=False, namespace="linalg")
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> CholeskyEx:
    """The Cholesky factor, and the order of the minor that is not positive-definite (0: none)."""
    try:
        return CholeskyEx(cholesky(A, upper=upper), _value(np.zeros(A.shape[:-2]), int32, A))
    except LinAlgError:
        if check_errors:
            raise
        array = value_of(read(A))
        info = np.array([_minor(m) for m in array.reshape(-1, *array.shape[-2:])]).reshape(array.shape[:-2])
        return CholeskyEx(_value(np.zeros(array.shape), A.dtype), _value(info, int32))


class Eigh(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


def _eigh_backward(ctx: Any, gw: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None]:
    w, v = ctx.saved
    n = w.shape[-1]
    if gw is None and gv is None:
        return (None,)
    if gv is None:
        assert gw is not None
        return (_right(v * _row(gw.to(v.dtype)), v),)
    eye = _eye(n, w)
    gaps = (_row(w) - _column(w)) * (1 - eye) + eye
    # only the skew part: rotations are what eigenvectors can do. Then the gradient is Hermitian.
    inner = _skew(_left(v, gv)) * 0.5 / gaps * _mask(1 - np.eye(n), v)
    if gw is not None:
        inner = inner + _eye(n, v) * _row(gw.to(v.dtype))
    return (_right(product(v, inner), v),)


_EIGH = Rule("LinalgEighBackward0", _eigh_backward)


@op(method=False, out=True, namespace="linalg")
def eigh(A: Tensor, UPLO: str = "L") -> Eigh:
    """Eigenvalues (ascending) and eigenvectors of Hermitian matrices."""
    _check(A, "linalg.eigh")
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    w, v = _call("eigh", (A,), (UPLO.upper(),), ((tuple(A.shape[:-1]), A.dtype.to_real()), (tuple(A.shape), A.dtype)))
    attach_many((w, v), _EIGH, (A,), (("out", 0), ("out", 1)))
    return Eigh(w, v)


@op(method=False, out=True, namespace="linalg")
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian matrices, ascending."""
    return eigh(A, UPLO).eigenvalues  # type: ignore[no-any-return]


class Eig(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


def _eig_backward(ctx: Any, gw: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None]:
    w, v = ctx.saved
    n = w.shape[-1]
    if gw is None and gv is None:
        return (None,)
    adjoint = _adjoint(v)
    if gv is None:
        assert gw is not None
        inner = _eye(n, v) * _row(gw)
    else:
        inner = _left(v, gv)
        along = _diagonal_of(inner, n).real
        imag = _diagonal_of(inner, n).imag.detach()
        turned = np.zeros(0) if is_meta(imag) else np.abs(value_of(read(imag)))
        if turned.size and turned.max() > 1e-2:
            raise RuntimeError("linalg_eig_backward: The eigenvectors in the complex case are specified up to "
                               "multiplication by e^{i phi}. The specified loss function depends on this quantity, "
                               "so it is ill-defined.")
        eye = _eye(n, w)
        gaps = ((_row(w) - _column(w)) * (1 - eye)).conj() + eye
        inner = (inner - product(adjoint, v * _row(along.to(v.dtype)))) / gaps * _mask(1 - np.eye(n), v)
        if gw is not None:
            inner = inner + eye * _row(gw)
    ga = _solved(adjoint, product(inner, adjoint))
    return (ga if ctx.dtypes[0].is_complex else ga.real,)


_EIG = Rule("LinalgEigBackward0", _eig_backward)


@op(method=False, out=True, namespace="linalg")
def eig(A: Tensor) -> Eig:
    """Eigenvalues and eigenvectors, both complex."""
    _check(A, "linalg.eig")
    of = A.dtype.to_complex()
    w, v = _call("eig", (A,), (), ((tuple(A.shape[:-1]), of), (tuple(A.shape), of)))
    attach_many((w, v), _EIG, (A,), (("out", 0), ("out", 1)))
    return Eig(w, v)


@op(method=False, out=True, namespace="linalg")
def eigvals(A: Tensor) -> Tensor:
    """Eigenvalues, complex."""
    return eig(A).eigenvalues  # type: ignore[no-any-return]


class LinalgQr(NamedTuple):
    Q: Any
    R: Any


def _qr_backward(ctx: Any, gq: Tensor | None, gr: Tensor | None) -> tuple[Tensor | None]:
    q, r, mode = ctx.saved
    m, n = ctx.shapes[0][-2:]
    if mode == "r":
        raise RuntimeError("The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
                           "linalg.qr(A, mode='reduced') if you are going to require gradients through linalg.qr.")
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    if gq is None and gr is None:
        return (None,)
    rest = None
    if m < n:  # A = [X | Y], R = [U | V], with X = Q U and Y = Q V
        y = product(q, r[..., m:])
        r = r[..., :m]
        if gr is not None:
            gv = gr[..., m:]
            rest = product(q, gv)
            gq = _right(y, gv) if gq is None else gq + _right(y, gv)
            gr = gr[..., :m]
        else:
            rest = y * 0
    k = min(m, n)
    inner = _right(r, gr) if gr is not None else None
    if gq is not None:
        inner = -_left(gq, q) if inner is None else inner - _left(gq, q)
    assert inner is not None
    low = np.tril(np.ones((k, k)), -1)
    strict = inner * _mask(low, inner)
    middle = inner * _eye(k, inner)  # only its real part: R's diagonal is real
    sym = strict + _adjoint(strict) + (middle + _adjoint(middle)) * 0.5
    total = product(q, sym)
    if gq is not None:
        total = total + gq
    ga = _adjoint(_solved(r, _adjoint(total)))
    if rest is not None:
        ga = FUNCTIONS["cat"]([ga, rest], -1)
    return (ga,)


_QR = Rule("LinalgQrBackward0", _qr_backward)


@op(method=False, out=True, namespace="linalg")
def qr(A: Tensor, mode: str = "reduced") -> LinalgQr:
    """Q and R with A = Q R."""
    _check(A, "linalg.qr", square=False)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or "
                           "'complete'")
    m, n = A.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    lead = tuple(A.shape[:-2])
    q, r = _call("qr", (A,), ("complete" if mode == "complete" else "reduced",),
                 (((*lead, m, k), A.dtype), ((*lead, k, n), A.dtype)))
    if mode == "r":
        attach_many((q, r), _QR, (A,), (None, ("out", 1), mode))
        return LinalgQr(_value(np.zeros(0), A.dtype, A), r)
    attach_many((q, r), _QR, (A,), (("out", 0), ("out", 1), mode))
    return LinalgQr(q, r)


class LinalgSvd(NamedTuple):
    U: Any
    S: Any
    Vh: Any


def _skew(x: Tensor) -> Tensor:
    return x - _adjoint(x)


def _svd_backward(ctx: Any, gu: Tensor | None, gs: Tensor | None, gvh: Tensor | None) -> tuple[Tensor | None]:
    u, s, vh = ctx.saved
    m, n = ctx.shapes[0][-2:]
    k = min(m, n)
    if gu is None and gs is None and gvh is None:
        return (None,)
    u, vh = u[..., :k], vh[..., :k, :]
    if gu is None and gvh is None:
        assert gs is not None
        return (product(u * _row(gs.to(u.dtype)), vh),)
    sc = s.to(u.dtype) if u.dtype.is_complex else s
    eye = _eye(k, s)
    square = s * s
    gaps = (_row(square) - _column(square)) * (1 - eye) + eye
    off = _mask(1 - np.eye(k), u)
    inner: Tensor | None = None
    if gu is not None:
        gu = gu[..., :k]
        turned = _skew(_left(u, gu))
        inner = turned / gaps * off * _row(sc)
        if u.dtype.is_complex:  # u and vh may turn together
            inner = inner + turned * _eye(k, turned) / (_row(sc) * 2)
    if gvh is not None:
        gvh = gvh[..., :k, :]
        part = _column(sc) * (_skew(_adjoint(_right(gvh, vh))) / gaps * off)
        inner = part if inner is None else inner + part
    assert inner is not None
    if gs is not None:
        inner = inner + _eye(k, inner) * _row(gs.to(inner.dtype))
    ga = product(product(u, inner), vh)
    if gu is not None and m > k:
        scaled = gu / _row(sc)
        ga = ga + product(scaled - product(u, _left(u, scaled)), vh)
    if gvh is not None and n > k:
        scaled = gvh / _column(sc)
        ga = ga + product(u, scaled - product(_right(scaled, vh), vh))
    return (ga,)


_SVD = Rule("LinalgSvdBackward0", _svd_backward)


@op(method=False, out=True, namespace="linalg")
def svd(A: Tensor, full_matrices: bool = True, *, driver: Any = None) -> LinalgSvd:
    """U, S, Vh with A = U diag(S) Vh."""
    _check(A, "linalg.svd", square=False)
    m, n = A.shape[-2:]
    k = min(m, n)
    lead = tuple(A.shape[:-2])
    u, s, vh = _call("svd", (A,), (bool(full_matrices),),
                     (((*lead, m, m if full_matrices else k), A.dtype), ((*lead, k), A.dtype.to_real()),
                      ((*lead, n if full_matrices else k, n), A.dtype)))
    attach_many((u, s, vh), _SVD, (A,), (("out", 0), ("out", 1), ("out", 2)))
    return LinalgSvd(u, s, vh)


@op(method=False, out=True, namespace="linalg")
def svdvals(A: Tensor, *, driver: Any = None) -> Tensor:
    """Singular values, largest first."""
    return svd(A, False).S  # type: ignore[no-any-return]


# ---- made of these ----------------------------------------------------------------------------------------

def _tolerances(A: Tensor, top: Tensor, atol: Any, rtol: Any) -> Tensor:
    """What counts as zero, for `top`, the largest value of each matrix, (..., 1)."""
    def column(x: Any) -> Tensor:
        return _column(x.to(top.dtype)) if isinstance(x, Tensor) else _value(x, top.dtype)

    atol = column(0.0 if atol is None else atol)
    if rtol is not None:
        rtol = column(rtol)
    else:
        rtol = FUNCTIONS["where"](atol > 0, 0.0, max(A.shape[-2:]) * float(np.finfo(top.dtype.numpy).eps))
    return FUNCTIONS["maximum"](top * rtol, atol)  # type: ignore[no-any-return]


def _pinv_gradient(g: Tensor, p: Tensor, a: Tensor) -> Tensor:
    """The gradient for A of the pseudo-inverse p, where A's rank does not change."""
    m, n = a.shape[-2:]
    if m <= n:
        k = _left(g, p)
        kp = _right(k, p)
        return (-_adjoint(product(p, k)) + kp - product(product(a, p), kp)
                + product(_left(p, p), _adjoint(g) - product(k, a)))
    k = _right(p, g)
    pk = _left(p, k)
    return (-_adjoint(product(k, p)) + _right(product(_adjoint(g) - product(a, k), p), p) + pk
            - product(product(pk, p), a))


_PINV = Rule("LinalgPinvBackward0", lambda ctx, g: (_pinv_gradient(g, *ctx.saved),))


@op(method=False, out=True, namespace="linalg")
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The pseudo-inverse."""
    _check(A, "linalg.pinv", square=False)
    if hermitian and A.shape[-1] != A.shape[-2]:
        _check(A, "linalg.pinv")
    if 0 in A.shape:
        return transposed(A)
    a = A.detach()
    if hermitian:
        s, right = eigh(a)
        left, size = right, s.abs()
    else:
        left, s, vh = svd(a, False)
        right, size = _adjoint(vh), s
    least = _tolerances(A, size.amax(-1, keepdim=True), atol, rcond if rtol is None else rtol)
    inverse = FUNCTIONS["where"](size > least, 1 / s, 0.0)
    out = _right(right * _row(inverse.to(left.dtype)), left)
    return attach(out, _PINV, (A,), (out, A))


@op(method=False, out=True, namespace="linalg")
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The number of singular values above the tolerance."""
    _check(A, "linalg.matrix_rank", square=hermitian)
    s = eigvalsh(A.detach()).abs() if hermitian else svd(A.detach(), False).S
    if 0 in A.shape[-2:]:
        return _value(np.zeros(A.shape[:-2]), int64, A)
    least = _tolerances(A, s.amax(-1, keepdim=True), tol if atol is None else atol, rtol)
    return (s > least).sum(-1)


@op(method=False, out=True, namespace="linalg")
def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied by itself n times; negative n take the inverse."""
    if len(A.shape) < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError(f"linalg.matrix_power: A must be batches of square matrices, but they are {A.shape[-2]} by "
                           f"{A.shape[-1]} matrices")
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        return severed(_value(np.broadcast_to(np.eye(A.shape[-1]), A.shape), A.dtype, A), A,
                       name="CopyBackwards")
    result = None
    while True:
        if n & 1:
            result = A if result is None else matmul(result, A)
        n >>= 1
        if not n:
            break
        A = matmul(A, A)
    return result  # type: ignore[return-value]


def _top(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """The largest of numbers none of which is negative: 0 where there is none."""
    return x.amax(dim, keepdim) if x.shape[dim] else x.sum(dim, keepdim)


@op(method=False, out=True, namespace="linalg")
def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *,
                dtype: Any = None) -> Tensor:
    """A norm of each matrix: 'fro', 'nuc', +-inf, +-1, +-2."""
    if dtype is not None:
        A = A.to(dtype)
    if len(A.shape) < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    p, q = (d % len(A.shape) for d in dim)
    if p == q:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return LINALG["vector_norm"](A, 2, (p, q), keepdim)  # type: ignore[no-any-return]
    if ord in ("nuc", 2, -2):
        s = svdvals(A.movedim((p, q), (-2, -1)))
        out = s.sum(-1) if ord == "nuc" else _top(s, -1) if ord == 2 else s.amin(-1)
        if keepdim:
            for d in sorted((p, q)):
                out = out.unsqueeze(d)
        return out
    if ord not in (1, -1, float("inf"), float("-inf")):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    over, along = (p, q) if ord in (1, -1) else (q, p)
    sums = A.abs().sum(over, keepdim=True)
    out = _top(sums, along, True) if ord > 0 else sums.amin(along, keepdim=True)
    return out if keepdim else out.squeeze(max(p, q)).squeeze(min(p, q))


@op(method=False, out=True, namespace="linalg")
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """A vector norm, or a matrix norm if two dimensions (or a matrix) and an order are given."""
    if dim is not None and not isinstance(dim, int):
        dim = tuple(dim)
    if ord is not None and (isinstance(dim, tuple) and len(dim) == 2 or dim is None and len(A.shape) == 2):
        return matrix_norm(A, ord, dim or (0, 1), keepdim, dtype=dtype)
    if isinstance(ord, str) or ord is not None and dim is None and len(A.shape) != 1:
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                           f"{len(A.shape)}D.")
    if dtype is not None:
        A = A.to(dtype)
    return LINALG["vector_norm"](A, 2 if ord is None else ord, dim, keepdim)  # type: ignore[no-any-return]


@op(method=False, out=True, namespace="linalg")
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number in a norm."""
    if 0 in A.shape[-2:] and not isinstance(p, str):
        return A.new_zeros(A.shape[:-2])
    if p is None or p in (2, -2):
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


class Lstsq(NamedTuple):
    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


def _lstsq_backward(ctx: Any, gx: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    a, b, p, rcond = ctx.saved
    if gx is None:
        return None, None
    if mode.grad and a._rg:  # this gradient is to be differentiated: the inverse depends on A too
        p = pinv(a, rtol=rcond)
    ga = _pinv_gradient(_right(gx, b), p, a) if ctx.needs[0] else None
    gb = _left(p, gx) if ctx.needs[1] else None
    return (None if ga is None else sum_to(ga, ctx.shapes[0]), None if gb is None else sum_to(gb, ctx.shapes[1]))


def _residuals_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, gap, x = ctx.saved
    if not g.shape or not x.shape or 0 in g.shape:
        (m, n), (of, to) = ctx.shapes, ctx.dtypes
        return new(constant(0, m, of)), new(constant(0, n, to))
    # the solution's own change does not count: the residual is least there
    twice = _row(g.to(gap.dtype)) * gap * 2
    return sum_to(_right(twice, x), ctx.shapes[0]), sum_to(-twice, ctx.shapes[1])


_LSTSQ = Rule("LinalgLstsqBackward0", _lstsq_backward)
_RESIDUALS = Rule("LinalgLstsqBackward0", _residuals_backward)


@op(method=False, namespace="linalg")
def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: Any = None) -> Lstsq:
    """The X for which A X comes closest to B."""
    _check(A, "linalg.lstsq", square=False)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    if is_meta(A) or is_meta(B):
        raise NotImplementedError("linalg.lstsq: what it gives depends on the values, and a meta tensor has none")
    vector = len(A.shape) - 1 == len(B.shape) and tuple(B.shape) == tuple(A.shape[:-1])
    right = _column(B) if vector else B
    a, b = A.detach(), right.detach()
    inverse = pinv(a, rtol=rcond)
    solution = product(inverse, b)
    x = attach(new(read(solution)), _LSTSQ, (A, right), (A, right, inverse, rcond))
    m, n = A.shape[-2:]
    rank = matrix_rank(a, rtol=rcond)
    residuals = _value(np.zeros(0), A.dtype.to_real(), A)
    gap = solution
    if m > n and driver in ("gels", "gelsd", "gelss") and bool((value_of(read(rank)) == n).all()):
        gap = product(a, solution) - b
        residuals = (gap.abs() if gap.dtype.is_complex else gap).square().sum(-2)
    attach(residuals, _RESIDUALS, (A, right), (A, gap, solution))
    return Lstsq(reshape_value(x, x.shape[:-1]) if vector else x, residuals,
                 _value(np.zeros(0), int64, A) if driver == "gels" else rank,
                 svdvals(a) if driver in ("gelsd", "gelss") else _value(np.zeros(0), A.dtype.to_real(), A))


@op(method=False, out=True, namespace="linalg")
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three."""
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and "
                           f"{other.shape[dim]}")
    def turn(x: Tensor, by: int) -> Tensor:
        return x.index_select(dim, _value([by % 3, (by + 1) % 3, (by + 2) % 3], int64))

    return turn(input, 1) * turn(other, 2) - turn(input, 2) * turn(other, 1)


@op(method=False, namespace="linalg")
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of each matrix."""
    return A.diagonal(offset, dim1, dim2)


@op(method=False, namespace="linalg")
def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Powers 0 .. N-1 of each element."""
    if not x.shape:
        x = x.reshape(1)
    n = x.shape[-1] if N is None else N
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    if x.dtype.category < FLOAT:
        x = to_dtype(x, int64)
    return FUNCTIONS["stack"]([x ** k for k in range(n)], -1)  # type: ignore[no-any-return]


@op(method=False, out=True, namespace="linalg")
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot products along a dimension."""
    return ((x.conj() if x.dtype.is_complex else x) * y).sum(dim)


def _halvings(array: Any, most: float) -> Any:
    """How often to halve each matrix until its 1-norm is at most `most`."""
    size = np.abs(array).sum(-2).max(-1)
    with np.errstate(divide="ignore"):
        found = np.ceil(np.log2(size / most))
    return np.where(np.isfinite(found), np.maximum(found, 0), 0).astype(np.int64)


@op(method=False, out=True, namespace="linalg")
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of each matrix: a Taylor polynomial of the matrix scaled down, then squared.

    Computed in double precision: each squaring doubles the relative error.
    """
    _check(A, "linalg.matrix_exp", low=True)
    if 0 in A.shape:
        return A
    of = A.dtype
    A = A.to(complex128 if of.is_complex else float64)
    # degree 18 is exact to 2**-53 up to there
    times = np.broadcast_to(0, A.shape[:-2]) if is_meta(A) else _halvings(value_of(read(A)), 1.09)
    X = A * _mask(0.5 ** times[..., None, None], A)
    eye = _eye(A.shape[-1], A)
    result = eye + X / 18
    for k in range(17, 0, -1):
        result = eye + product(X, result) / k
    for k in range(int(times.max(initial=0))):
        squared = product(result, result)
        more = times > k
        result = squared if more.all() else FUNCTIONS["where"](
            _value(more[..., None, None], bool_), squared, result)
    return result.to(of)  # type: ignore[no-any-return]


# ---- the names at the root --------------------------------------------------------------------------------

class Svd(NamedTuple):
    U: Any
    S: Any
    V: Any


class Qr(NamedTuple):
    Q: Any
    R: Any


def _svd_root(input: Tensor, some: bool = True, compute_uv: bool = True) -> Svd:
    """U, S, V with input = U diag(S) V^H."""
    u, s, vh = svd(input, not some)
    return Svd(u, s, _adjoint(vh))


def _qr_root(input: Tensor, some: bool = True) -> Qr:
    """Q and R with input = Q R."""
    return Qr(*qr(input, "reduced" if some else "complete"))


def _cholesky_root(input: Tensor, upper: bool = False) -> Tensor:
    """The Cholesky factor."""
    return cholesky(input, upper=upper)


def _pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse."""
    return pinv(input, rtol=rcond)


def _logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where a real one is negative."""
    sign, log = slogdet(input)
    if sign.dtype.is_complex:
        return sign.log() + log.to(sign.dtype)  # type: ignore[no-any-return]
    return log + FUNCTIONS["where"](  # type: ignore[no-any-return]
        sign.detach() < 0, _value(np.nan, log.dtype), _value(0.0, log.dtype))


def _trace_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    m, n = ctx.shapes[0]
    return (g * _value(np.eye(m, n), ctx.dtypes[0]),)


_TRACE = Rule("TraceBackward0", _trace_backward)


def _trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if len(input.shape) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {len(input.shape)}")
    out = input.detach().diagonal().sum()
    return attach(out, _TRACE, (input,))


def _cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, given A's Cholesky factor."""
    lower = _adjoint(L) if upper else L
    return solve(_adjoint(lower), solve(lower, B))


def _cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, given its Cholesky factor."""
    inverse = inv(_adjoint(L) if upper else L)
    return _left(inverse, inverse)


def _root(name: str, body: Any) -> None:
    FUNCTIONS[name] = METHODS[name] = body
    setattr(Tensor, name, body)


for _name, _body in (("inverse", inv), ("det", det), ("logdet", _logdet), ("slogdet", slogdet),
                     ("cholesky", _cholesky_root), ("qr", _qr_root), ("svd", _svd_root), ("pinverse", _pinverse),
                     ("matrix_power", matrix_power), ("trace", _trace), ("matrix_exp", matrix_exp),
                     ("cholesky_solve", _cholesky_solve), ("cholesky_inverse", _cholesky_inverse)):
    _root(_name, _body)
