"""`jvp`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT
from facula.func.trees import leaves, mapped, rebuilt
from facula.transforms.crossing import enter_dual, leave_dual, zeros_of
from facula.transforms.forward import Forward


def jvp(func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False,
        has_aux: bool = False) -> tuple[Any, ...]:
    """(func(*primals), its derivative in the direction of `tangents`), in one pass.

    `primals` and `tangents` are tuples of the same trees of tensors; what `func` returns is a tree of tensors, with
    `has_aux` a pair of such a tree and something else, which is returned as it is. RuntimeError if shapes or dtypes
    differ; NotImplementedError where an operation has no forward mode. `strict`: results that do not depend on the
    primals are an error instead of having zero tangents.

    Example:
        >>> import facula
        >>> x, t = facula.tensor([1.0, 2.0]), facula.tensor([1.0, 0.0])
        >>> facula.func.jvp(lambda x: x * x, (x,), (t,))
        (tensor([1., 4.]), tensor([2., 0.]))
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple) or not primals:
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to be non-empty tuples.")
    flat, moving = leaves(primals), leaves(tangents)
    if len(flat) != len(moving):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to have the same python "
                           "structure.")
    for x, t in zip(flat, moving, strict=True):
        check_tangent(x, t)
    with Forward() as level:
        inner = [enter_dual(x, t, level) for x, t in zip(flat, moving, strict=True)]
        result = func(*rebuilt(primals, inner))
        aux = None
        if has_aux:
            result, aux = result
            aux = mapped(lambda x: leave_dual(x, level)[0] if isinstance(x, Tensor) else x, aux)
        pairs = [_pair(x, level, strict) for x in leaves(result)]
    out = rebuilt(result, [p for p, _ in pairs]), rebuilt(result, [t for _, t in pairs])
    return (*out, aux) if has_aux else out


def check_tangent(x: Any, t: Any) -> None:
    """May `t` be the tangent of `x`?"""
    if not isinstance(x, Tensor) or not isinstance(t, Tensor):
        raise RuntimeError(f"jvp: Expected tensors, got {type(x).__name__} and {type(t).__name__}")
    if x.dtype.category < FLOAT:
        raise ValueError(f"Expected primal to be floating point or complex, but got: {x.dtype}")
    if x.shape != t.shape:
        raise RuntimeError(f"Expected tangent to have the same shape as primal, got {list(t.shape)} and "
                           f"{list(x.shape)}")
    if x.dtype is not t.dtype:
        raise RuntimeError(f"Expected tangent to have the same dtype as primal, got {t.dtype} and {x.dtype}")


def _pair(x: Any, level: Forward, strict: bool) -> tuple[Tensor, Tensor]:
    if not isinstance(x, Tensor):
        raise RuntimeError(f"jvp(f, primals, tangents): Expected f to return tensors, got {type(x).__name__}")
    primal, tangent = leave_dual(x, level)
    if tangent is None and strict:
        raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs.")
    return primal, zeros_of(primal) if tangent is None else tangent
