"""Samples of every operation: what the tests sweep over (tests/test_sweep_*.py).

An operation is named as its user finds it: `add`, `linalg.inv`, `nn.functional.pad`,
`Tensor.expand`. Its in-place and out= forms have no samples of their own, and another name of the
same operation has none either.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from facula.ops.registry import FUNCTIONS, METHODS, NAMESPACES
from facula.testing.samples import (
    creation,
    images,
    indices,
    inplace,
    matrices,
    pointwise,
    reductions,
    shapes,
    special_functions,
    spectra,
)
from facula.testing.samples.arrays import Dtype, Sample

__all__ = ["NOT_SWEPT", "SAMPLES", "Dtype", "Sample", "operations"]

SAMPLES: dict[str, list[Sample]] = {}
for _family in (
    pointwise,
    reductions,
    shapes,
    special_functions,
    indices,
    matrices,
    images,
    spectra,
    creation,
    inplace,
):
    SAMPLES.update(_family.SAMPLES)

# Registered names that are no function of tensors that a sweep could call, and why.
NOT_SWEPT = {
    "from_numpy": "takes an array, in a sample a tensor; tests/test_random_programs.py",
    "frombuffer": "takes a Python buffer",
    "linalg.LinAlgError": "an exception",
    "Tensor.backward": "has no result; tests/test_autograd.py",
    "Tensor.register_hook": "takes a callback; tests/test_autograd.py",
    "Tensor.register_post_accumulate_grad_hook": "takes a callback; tests/test_autograd.py",
    "Tensor.retain_grad": "has no result; tests/test_autograd.py",
    "Tensor.numpy": "its result is no tensor; every comparison of the sweep goes through it",
    "Tensor.data_ptr": "an address",
    "Tensor.storage": "its result is no tensor; tests/test_serialization.py",
    "Tensor.untyped_storage": "its result is no tensor; tests/test_serialization.py",
    "Tensor.share_memory_": "moves memory between processes",
    "Tensor.cuda": "always an error here",
    "Tensor.xpu": "always an error here",
    "Tensor.pin_memory": "always an error without a CUDA device",
    "Tensor.is_coalesced": "always an error: there are no sparse tensors",
}


def operations() -> dict[str, Callable[..., Any]]:
    """Every registered operation once, by its first name; neither in-place forms nor further
    names."""
    named = dict(FUNCTIONS)
    named |= {
        f"{space}.{name}": fn for space, table in NAMESPACES.items() for name, fn in table.items()
    }
    bodies = {name: inspect.unwrap(fn) for name, fn in FUNCTIONS.items()}
    named |= {
        f"Tensor.{name}": fn
        for name, fn in METHODS.items()
        if bodies.get(name) is not inspect.unwrap(fn)
    }
    found: dict[str, Callable[..., Any]] = {}
    seen: set[int] = set()
    for name, fn in sorted(named.items(), key=lambda item: item[0] not in SAMPLES):
        plain = name.removeprefix("Tensor.")
        in_place = (
            plain.endswith("_")
            and not plain.endswith("__")
            and plain[:-1] in METHODS.keys() | FUNCTIONS.keys()
        )
        if (name in SAMPLES or not in_place) and id(fn) not in seen:
            seen.add(id(fn))
            found[name] = fn
    return found
