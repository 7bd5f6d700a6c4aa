"""Functions of numbers that NumPy computes in double precision, whatever floats they are given.

What has loops whose length depends on the numbers (recurrences, series) is no formula. `@routine`
names such a function of arrays, `host` records a call of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula.dtypes import FLOAT, dtype, float64
from facula.engine.graph.node import CALL, PICK
from facula.engine.recorder import record
from facula.engine.runtime.routines import register
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.promotion import result_dtype

ROUTINES: dict[str, Callable[..., Any]] = {}


def routine(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of float64 arrays known to `host` under its own name."""
    ROUTINES[fn.__name__] = fn
    return fn


@register("special")
def _special(*arguments: Any) -> tuple[np.ndarray[Any, Any], ...]:
    *arrays, name = arguments
    with np.errstate(all="ignore"):
        return (
            np.asarray(ROUTINES[name](*[np.asarray(a, np.float64) for a in arrays]), np.float64),
        )


def host(name: str, *inputs: Tensor) -> Tensor:
    """A routine of doubles on tensors of one dtype, broadcast. It has no gradient of its own."""
    of = inputs[0].dtype
    shape = functools.reduce(broadcast, [tuple(x.shape) for x in inputs])
    call = record(
        CALL,
        tuple([read(to_dtype(x.detach(), float64)) for x in inputs]),
        ("special", name),
        None,
        (),
        float64,
    )
    return to_dtype(new(record(PICK, (call,), (0,), None, shape, float64)), of)


def floating(x: Any, what: str) -> Tensor:
    """A tensor of real numbers as one of floats."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{what}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}"
        )
    if x.dtype.is_complex:
        raise NotImplementedError(f"{what} of complex tensors is not implemented")
    return x if x.dtype.category >= FLOAT else to_dtype(x, defaults.get_default_dtype())


def floating_pair(a: Any, b: Any, what: str) -> tuple[Tensor, Tensor]:
    """Two tensors of real numbers, or one and a number, as tensors of the float dtype of both."""
    if not (isinstance(a, Tensor) or isinstance(b, Tensor)):
        raise TypeError(
            f"{what}(): at least one argument must be a Tensor, got {type(a).__name__} and "
            f"{type(b).__name__}"
        )
    of: dtype = result_dtype((a, b))
    if of.is_complex:
        raise NotImplementedError(f"{what} of complex tensors is not implemented")
    of = of if of.category >= FLOAT else defaults.get_default_dtype()
    x, y = [to_dtype(t, of) if isinstance(t, Tensor) else new(constant(t, (), of)) for t in (a, b)]
    return x, y
