"""What the functions of linear algebra share: checks, host routines as nodes, small matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula.dtypes import bfloat16, dtype, float32
from facula.engine.graph.node import CALL, PICK
from facula.engine.placing import meta_node
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.engine.session import session
from facula.errors import LinAlgError as LinAlgError
from facula.ops.casting import to_dtype
from facula.ops.product.contraction import conjugated, product
from facula.ops.product.product_checks import type_name
from facula.ops.registry import also, also_with_out
from facula.ops.view.value_views import reshape_value, transposed


def check_matrices(x: Any, name: str, square: bool = True, letter: str = "A",
                   low: bool = False) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument '{letter}' (position 1) must be Tensor, not "
                        f"{type(x).__name__}")
    if len(x.shape) < 2:
        raise RuntimeError(f"{name}: The input tensor {letter} must have at least 2 dimensions.")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(f"{name}: {letter} must be batches of square matrices, but they are "
                           f"{x.shape[-2]} by {x.shape[-1]} matrices")
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got "
                           f"{type_name(x.dtype)}")
    if x.dtype.itemsize < 4 and not low:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {type_name(x.dtype)}")


def host_call(routine: str, inputs: tuple[Tensor, ...], args: tuple[Any, ...],
          results: tuple[tuple[tuple[int, ...], dtype], ...]) -> tuple[Tensor, ...]:
    """A routine that cannot fail, as a CALL and a PICK for each result."""
    call = record(CALL, tuple([read(x) for x in inputs]), (routine, *args), None, (),
                  inputs[0].dtype)
    return tuple([new(record(PICK, (call,), (k,), None, shape, of)) for k,
                  (shape, of) in enumerate(results)])


def traced(*tensors: Tensor) -> bool:
    """Is one of them under a transform, so that its values cannot be looked at? Then a CALL does it later, and its
    errors are told in fewer words."""
    return session.traced is not None and any(read(t).op.kind == "traced" for t in tensors)


def tensor_of(array: Any, of: dtype, like: Tensor | None = None) -> Tensor:
    """A tensor of NumPy's elements; a meta tensor if `like` is one."""
    if like is not None and is_meta(like):
        return new(meta_node(np.shape(array), of))
    if of is bfloat16:  # NumPy has none: it would take the bits for numbers
        return to_dtype(tensor_of(array, float32), of)
    array = np.ascontiguousarray(np.asarray(array), dtype=of.numpy).reshape(np.shape(array))
    return new(leaf(array, array.shape, of))


def adjoint_of(x: Tensor) -> Tensor:
    """The matrices transposed and conjugated."""
    return conjugated(transposed(x))


def adjoint_times(a: Tensor, b: Tensor) -> Tensor:
    """The adjoint of a, times b."""
    return product(conjugated(a), b, True, False)


def times_adjoint(a: Tensor, b: Tensor) -> Tensor:
    """a times the adjoint of b."""
    return product(a, conjugated(b), False, True)


def column_of(x: Tensor) -> Tensor:
    """(.., n) to (.., n, 1)"""
    return reshape_value(x, (*x.shape, 1))


def row_of(x: Tensor) -> Tensor:
    """(.., n) to (.., 1, n)"""
    return reshape_value(x, (*x.shape[:-1], 1, x.shape[-1]))


def matrix_of(x: Tensor) -> Tensor:
    """Numbers (..) to matrices (.., 1, 1)."""
    return reshape_value(x, (*x.shape, 1, 1))


def constant_like(array: Any, like: Tensor) -> Tensor:
    """An array as a tensor of the dtype of `like`."""
    return tensor_of(array, like.dtype)


def eye_like(n: int, like: Tensor) -> Tensor:
    return constant_like(np.eye(n), like)


def diagonal_of(x: Tensor, k: int) -> Tensor:
    """(.., k, k) to (.., k)"""
    return (x * eye_like(k, x)).sum(-1)


def skew(x: Tensor) -> Tensor:
    """Twice the skew-Hermitian part."""
    return x - adjoint_of(x)


def batch_element(array: Any, singular: Any) -> str:
    """The batch element that failed, in torch's words."""
    if np.ndim(array) == 2:
        return ""
    flat = np.reshape(array, (-1, *np.shape(array)[-2:]))
    for i, m in enumerate(flat):
        if singular(m):
            return f"(Batch element {i}): "
    return ""


def at_root(name: str, body: Any, out: bool = False) -> None:
    """Give `body` to `facula` and to Tensor; it has an `out=` form in `facula` alone, if it has one."""
    also(body, name, "Tensor." + name)
    if out:
        also_with_out(body, name)
