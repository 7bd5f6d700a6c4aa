"""What products of matrices refuse, in torch's words."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import CPP_NAMES, bool_, dtype
from facula.engine.graph.node import size_of
from facula.ops.registry import DTYPE_NAMES


def type_name(of: dtype) -> str:
    return DTYPE_NAMES.get(of.name, of.name)


def need_tensors(name: str, *named: tuple[str, Any]) -> None:
    for place, (label, t) in enumerate(named):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): argument '{label}' (position {place + 1}) must be Tensor, "
                            f"not {type(t).__name__}")


def check_mm(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError("expected m1 and m2 to have the same dtype, but got: "
                           f"{CPP_NAMES[a.dtype.name]} != {CPP_NAMES[b.dtype.name]}")
    if a.dtype is bool_ and size_of(a.shape) and size_of(b.shape):
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")


def cannot_multiply(m: int, k: int, k2: int, n: int) -> RuntimeError:
    return RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({m}x{k} and {k2}x{n})")


def check_batch(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {type_name(a.dtype)} but found "
                           f"{type_name(b.dtype)}")
    if a.dtype is bool_:
        raise NotImplementedError("\"bmm\" not implemented for 'Bool'")


def check_stacks(batch1: Tensor, batch2: Tensor) -> None:
    a, b = batch1.shape, batch2.shape
    if len(a) != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if len(b) != 3:
        raise RuntimeError("batch2 must be a 3D tensor")
    if b[0] != a[0] or b[1] != a[2]:
        raise RuntimeError("Expected size for first two dimensions of batch2 tensor to be: "
                           f"[{a[0]}, {a[2]}] but got: [{b[0]}, {b[1]}].")
    check_batch(batch1, batch2)
