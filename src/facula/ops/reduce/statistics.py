"""Variance and what is near it, covariance, distances."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.handle import Tensor, new
from facula._tensor.tape import attach, attach_many
from facula.autograd.graph import Rule, by_rule
from facula.dtypes import BOOL, FLOAT, int64
from facula.engine.graph.node import Node, size_of
from facula.engine.session import session
from facula.errors import warn
from facula.ops.arguments import check_tensor, dims_of, numpy_names
from facula.ops.casting import constant, to_dtype
from facula.ops.create.conversion import from_array
from facula.ops.elementwise.comparison import clamp
from facula.ops.index.gathering import index_select
from facula.ops.product.matrix_products import mm
from facula.ops.reduce.moments import centre_node, spread_node
from facula.ops.reduce.norms import vector_norm
from facula.ops.reduce.reduction_nodes import (
    count_of,
    kept,
    mask,
    mask_zero,
    spread,
)
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.requirements import require
from facula.ops.severing import severed
from facula.ops.sized_types import COVARIANCE, DISTANCES, PAIRS
from facula.ops.type_rules import MAGNITUDE, SPREADS
from facula.ops.view.value_views import reshaped
from facula.size import Size

# ---- variance -----------------------------------------------------------------------------------------


def _var_gradient(g: Tensor, x: Tensor, dims: tuple[int, ...], correction: float) -> Tensor:
    freedom = max(count_of(x.shape, dims) - correction, 0)
    g = spread(g, x.shape, dims)
    centred = x - x.mean(dims, True) if dims else x - x
    if freedom == 0:
        return g * centred * float("nan")
    return (2.0 / freedom) * g * centred


def _std_gradient(g: Tensor, x: Tensor, out: Tensor, dims: tuple[int, ...], correction: float) -> Tensor:
    return _var_gradient(mask(out != 0, g / (mask_zero(out) * 2)), x, dims, correction)


def _var_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, dims, correction = ctx.saved
    return (_var_gradient(g, x, dims, correction),)


def _std_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, dims, correction = ctx.saved
    return (_std_gradient(g, x, out, dims, correction),)


def _pair_back(std: bool) -> Any:
    def backward(ctx: Any, g: Any, gm: Any) -> tuple[Tensor | None]:
        x, out, dims, correction = ctx.saved
        total = None
        if g is not None:
            total = _std_gradient(g, x, out, dims, correction) if std else _var_gradient(g, x, dims, correction)
        if gm is not None:
            part = (spread(gm, x.shape, dims) / count_of(x.shape, dims)).expand(x.shape)
            total = part if total is None else total + part
        return (total,)
    return backward


_VAR, _STD = Rule("VarBackward0", _var_back), Rule("StdBackward0", _std_back)
_VAR_MEAN, _STD_MEAN = Rule("VarMeanBackward0", _pair_back(False)), Rule("StdMeanBackward0", _pair_back(True))
by_rule.update((_STD, _STD_MEAN))  # which have a slope where nothing varies


def _arguments(name: str, input: Any, dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    """(dim, correction); var(x, True) is var(x, unbiased=True)."""
    check_tensor(input, name)
    if type(dim) is bool:
        dim, unbiased = None, dim
    if input.dtype.category < FLOAT:
        what = "std and var" if "mean" not in name else name
        raise RuntimeError(f"{what} only support floating point and complex dtypes")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, correction


def _variance(name: str, x: Tensor, dims: tuple[int, ...], keepdim: bool, correction: float,
              std: bool, pair: bool) -> tuple[Node, Node | None]:
    """Variance (or deviation) and, for a pair, mean."""
    freedom = count_of(x.shape, dims) - correction
    if freedom <= 0:
        warn(f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction "
             "factor (input numel divided by output numel).", UserWarning)
        freedom = 0
    value, first, away = spread_node(x, dims, float(freedom), std)
    centre = centre_node(x, dims, first, away) if pair else None
    if keepdim:
        shape = Size(kept(x.shape, dims))
        return reshaped(value, shape), centre and reshaped(centre, shape)
    return value, centre


def _spread_op(name: str, std: bool, pair: bool) -> Any:
    public = name + "_mean" if pair else name

    def body(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
             correction: Any = None) -> Any:
        dim, correction = _arguments(public, input, dim, unbiased, correction)
        if input.dtype.is_complex:
            real = body_of["var"](input.real, dim, keepdim=keepdim, correction=correction)
            result = real + body_of["var"](input.imag, dim, keepdim=keepdim, correction=correction)
            result = result.sqrt() if std else result
            return (result, input.mean(dim, keepdim)) if pair else result
        dims = dims_of(dim, len(input.shape))
        value, centre = _variance(public, input, dims, keepdim, correction, std, pair)
        out = new(value)
        if centre is not None:
            mean = new(centre)
            if input._rg or input._base is not None or session.traced is not None:
                attach_many((out, mean), _STD_MEAN if std else _VAR_MEAN, (input,),
                            (input, ("out", 0), dims, correction))
            return out, mean
        if std:
            return attach(out, _STD, (input,), (input, out, dims, correction))
        return attach(out, _VAR, (input,), (input, dims, correction))
    body.__name__ = body.__qualname__ = public
    rule = (_STD_MEAN if std else _VAR_MEAN) if pair else _STD if std else _VAR
    body_of[public] = body
    return op(out=True, types=SPREADS if pair else MAGNITUDE, rules=(rule,))(numpy_names(body))


body_of: dict[str, Any] = {}
var = _spread_op("var", False, False)
std = _spread_op("std", True, False)
var_mean = _spread_op("var", False, True)
std_mean = _spread_op("std", True, True)


# ---- covariance -------------------------------------------------------------------------------------------


@op(types=COVARIANCE)
def cov(input: Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    check_tensor(input, "cov")
    rank = len(input.shape)
    if rank > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {rank} "
                           "dimensions")
    if input.dtype.name == "bool":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if rank < 2 else input
    n = x.shape[1]
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is not None:
            _check_weights(name, w, n)
    w = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    # numbers are divided in the dtype to which observations and weights are promoted
    x = x if x.dtype.category >= FLOAT or w is not None and w.dtype.category >= FLOAT else to_dtype(
        x, defaults.get_default_dtype())
    total: Any = n
    if w is not None:
        total = w.sum()
        mean = (x * w).sum(1) / total
        require(total, lambda x: x != 0, RuntimeError, "cov(): weights sum to zero, can't be normalized")
    else:
        mean = x.sum(1) / n if n else x.sum(1)
    centred = x - mean.unsqueeze(1)
    if w is None:
        norm: Any = max(n - correction, 0)
    elif correction == 0:
        norm = total
    elif aweights is None:
        norm = total - correction
    else:
        norm = total - correction * ((w * aweights).sum() / total)
    if not isinstance(norm, Tensor):
        if norm <= 0:
            warn("cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of "
                 "observations.", UserWarning)
    else:
        norm = clamp(norm, 0)
    right = centred if w is None else centred * w
    right = right.t()
    product = mm(centred, right.conj() if x.dtype.is_complex else right)
    out: Tensor = product / norm
    return out.squeeze()


def _check_weights(name: str, w: Tensor, n: int) -> None:
    """Refuse what cannot weigh `n` observations, in torch's words."""
    if len(w.shape) > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {name} with "
                           f"{len(w.shape)} dimensions")
    whole = name == "fweights"
    if whole and not BOOL < w.dtype.category < FLOAT or not whole and not w.dtype.is_floating_point:
        raise RuntimeError(f"cov(): expected {name} to have {'integral' if whole else 'floating point'} dtype but got "
                           f"{name} with {DTYPE_NAMES[w.dtype.name]} dtype")
    if size_of(w.shape) != n:
        raise RuntimeError(f"cov(): expected {name} to have the same numel as there are observations in the input but "
                           f"got {size_of(w.shape)} != {n}")
    require(w, lambda x: x >= 0, RuntimeError, f"cov(): {name} cannot be negative")


@op(types=COVARIANCE)
def corrcoef(input: Tensor) -> Tensor:
    check_tensor(input, "corrcoef")
    if len(input.shape) > 2:
        raise RuntimeError("corrcoef(): expected input to have two or fewer dimensions but got an input with "
                           f"{len(input.shape)} dimensions")
    c = cov(input)
    if not c.shape:
        return c / c
    d = c.diag()
    deviation = d.real.sqrt() if c.dtype.is_complex else d.sqrt()
    c = c / deviation.unsqueeze(1)
    c = c / deviation.unsqueeze(0)
    return c if c.dtype.is_complex else c.clamp(-1, 1)


@op(method=False, types=DISTANCES)
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0,
          compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    if len(x1.shape) < 2 or len(x2.shape) < 2:
        raise RuntimeError("cdist only supports at least 2D tensors, X1 got: "
                           f"{min(len(x1.shape), len(x2.shape))}D")
    for k, x in enumerate((x1, x2)):
        if not x.dtype.is_floating_point:
            raise RuntimeError(f"cdist only supports floating-point dtypes, X{k + 1} got: {DTYPE_NAMES[x.dtype.name]}")
    if x1.dtype is not x2.dtype:
        raise RuntimeError(f"expected scalar type {DTYPE_NAMES[x1.dtype.name]} but found {DTYPE_NAMES[x2.dtype.name]}")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if p == 0:  # a count: its gradient is zero, where that of vector_norm is absent
        differ = vector_norm(x1.detach().unsqueeze(-2) - x2.detach().unsqueeze(-3), p, -1)
        return severed(differ, x1, x2, name="CdistBackward0")
    if x1.shape[-1] == 0:
        return new(constant(0.0, (*x1.shape[:-1], x2.shape[-2]), x1.dtype))
    return vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@op(method=False, types=PAIRS)
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows of (N, D): (N * (N - 1) / 2)."""
    if len(input.shape) != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {len(input.shape)}D")
    if not input.dtype.is_floating_point:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    n = input.shape[0]
    i, j = np.triu_indices(n, 1)
    a = index_select(input, 0, from_array(i, int64))
    b = index_select(input, 0, from_array(j, int64))
    if p == 0:
        return severed(vector_norm((a - b).detach(), p, -1), input, name="PdistForwardBackward0")
    return vector_norm(a - b, p, -1)
