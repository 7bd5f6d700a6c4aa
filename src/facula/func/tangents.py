"""`jvp`, and `linearize` on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import edge_of
from facula.dtypes import FLOAT
from facula.func.trees import leaves, mapped, only_tensors, rebuilt, with_aux
from facula.transforms.crossing import enter_dual, leave_dual, zeros_of
from facula.transforms.forward import Forward
from facula.utils._pytree import tree_structure


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
    if not isinstance(primals, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call "
                           "f(*primals).")
    flat, moving = leaves(primals), leaves(tangents)
    if tree_structure(primals) != tree_structure(tangents):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to have the same python "
                           "structure. For example, if primals is a tuple of 3 tensors, tangents also must be. Got "
                           f"primals with structure {tree_structure(primals)} and tangents with structure "
                           f"{tree_structure(tangents)}")
    if not flat:
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to contain at least one Tensor.")
    moving = [fitting(x, t) for x, t in zip(flat, moving, strict=True)]
    with Forward() as level:
        inner = [enter_dual(x, t, level) for x, t in zip(flat, moving, strict=True)]
        entered = [read(x) for x in inner]
        result = func(*rebuilt(primals, inner))
        for x, own, node in zip(flat, inner, entered, strict=True):
            if read(own) is not node:  # `func` has written its argument in place
                x.copy_(leave_dual(own, level)[0])
        aux = None
        if has_aux:
            result, aux = with_aux("jvp(f, primals, tangents)", result)
            aux = mapped(lambda x: leave_dual(x, level)[0] if isinstance(x, Tensor) else x, aux)
        only_tensors("jvp(f, primals, tangents): expected f(*primals)", leaves(result))
        pairs = [_pair(x, level, strict) for x in leaves(result)]
    out = rebuilt(result, [p for p, _ in pairs]), rebuilt(result, [t for _, t in pairs])
    return (*out, aux) if has_aux else out


def fitting(x: Any, t: Any) -> Any:
    """`t` as the tangent of `x`, in its dtype: floats become complex and wider or narrower ones."""
    only_tensors("jvp(f, primals, tangents): expected primals and tangents", [x, t])
    if x.dtype.category < FLOAT:
        raise ValueError(f"Expected primal to be floating point or complex, but got: {x.dtype}")
    if x.shape != t.shape:
        raise RuntimeError("Trying to set a forward gradient that has a different size than that of the original "
                           f"Tensor, this is not supported. Tensor is of size {list(x.shape)} while the given forward "
                           f"gradient is of size {list(t.shape)}.")
    if t.dtype.category < FLOAT or t.dtype.is_complex and not x.dtype.is_complex:
        raise RuntimeError(f"Expected tangent to have the dtype of primal, got {t.dtype} and {x.dtype}")
    return t if x.dtype is t.dtype else t.to(x.dtype)


def _pair(x: Any, level: Forward, strict: bool) -> tuple[Tensor, Tensor]:
    primal, tangent = leave_dual(x, level)
    if tangent is None and strict:
        raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of "
                           "the inputs. This is not allowed with strict=True.")
    return primal, zeros_of(primal) if tangent is None else tangent


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(func(*primals), a function from tangents of the primals to the tangents of what `func` returns).

    The function may be called many times: it stays at these primals, whatever is written into them. Each call
    runs `func` anew.

    Example:
        >>> import facula
        >>> y, push = facula.func.linearize(lambda x: x * x, facula.tensor([1.0, 2.0]))
        >>> push(facula.ones(2))
        tensor([2., 4.])
    """
    only_tensors("linearize(f, *primals): expected primals", leaves(primals))
    at = mapped(lambda x: x.view_as(x) if edge_of(x) is not None else new(read(x)), primals)
    out = func(*at)

    def push(*tangents: Any) -> Any:
        if tree_structure(tangents) != tree_structure(primals):
            raise RuntimeError(f"Expected the tangents {tree_structure(tangents)} to have the same argspec as the "
                               f"primals {tree_structure(primals)}")
        for k, (x, t) in enumerate(zip(leaves(at), leaves(tangents), strict=True)):
            for what in ("shape", "dtype"):
                if getattr(x, what) != getattr(t, what):
                    raise RuntimeError(f"tangent:{k} with {what} {getattr(t, what)} in flattened pytree doesn't match "
                                       f"the {what} {getattr(x, what)} of the corresponding primal.")
        return jvp(func, at, tangents)[1]

    return out, push
