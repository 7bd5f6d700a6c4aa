"""Samples of every operation: what the tests sweep over (tests/sweeps/test_sweep_*.py).

An operation is named as its user finds it: `add`, `linalg.inv`, `nn.functional.pad`,
`Tensor.expand`. Its in-place and out= forms have no samples of their own, and another name of the
same operation has none either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula.nn.functional  # noqa: F401  (its operations are defined there)
from facula.ops import op
from facula.testing.samples import (
    creation,
    functional,
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
    functional,
):
    SAMPLES.update(_family.SAMPLES)

# Registered names that are no function of tensors that a sweep could call, and why.
NOT_SWEPT = {
    "from_numpy": "takes an array, in a sample a tensor; tests/sweeps/test_random_programs.py",
    "frombuffer": "takes a Python buffer",
    "Tensor.backward": "has no result; tests/autograd/test_autograd.py",
    "Tensor.register_hook": "takes a callback; tests/autograd/test_autograd.py",
    "Tensor.register_post_accumulate_grad_hook": "takes a callback; tests/autograd/test_autograd.py",
    "Tensor.retain_grad": "has no result; tests/autograd/test_autograd.py",
    "Tensor.numpy": "its result is no tensor; every comparison of the sweep goes through it",
    "Tensor.new": "what Tensor(...) gives, under an old name; tests/_tensor/test_small_objects.py",
    "Tensor.data_ptr": "an address",
    "Tensor._is_view": "a bool; tests/autograd/test_views_off_the_tape.py",
    "Tensor.storage": "its result is no tensor; tests/serialization/test_serialization.py",
    "Tensor.untyped_storage": "its result is no tensor; tests/serialization/test_serialization.py",
    "Tensor.share_memory_": "moves memory between processes",
    "Tensor.cuda": "always an error here",
    "Tensor.xpu": "always an error here",
    "Tensor.pin_memory": "always an error without a CUDA device",
    "_standard_gamma_grad": "PyTorch's are right to 1e-3; tests/ops/random/test_gamma.py",
    "_packed_rows": "our own name, for nn.utils.rnn; tests/engine/test_arranging.py",
    "_dirichlet_grad": "PyTorch's are right to 1e-3; tests/ops/random/test_gamma.py",
    **{f"Tensor.{name}": "of sparse tensors; tests/sparse/test_sparse_tensors.py" for name in (
        "to_sparse", "to_sparse_coo", "to_sparse_csr", "to_sparse_csc", "to_sparse_bsr", "to_sparse_bsc", "sparse_mask",
        "smm", "sspaddmm", "indices", "_indices", "_nnz", "coalesce", "is_coalesced", "_coalesced_", "sparse_resize_",
        "sparse_resize_and_clear_", "resize_as_sparse_", "values", "_values", "crow_indices", "col_indices",
        "ccol_indices", "row_indices", "sparse_dim", "dense_dim")},
    **{f"Tensor.{name}": "always an error, as in PyTorch; tests/utils/test_names_census.py"
       for name in ("eig", "lstsq", "solve", "symeig", "reinforce", "ipu", "mtia")},
    **{f"Tensor.{name}": "deprecated, with a warning; tests/utils/test_names_census.py"
       for name in ("resize", "resize_as")},
    "Tensor.map2_": "takes a callback; tests/utils/test_names_census.py",
    "Tensor.module_load": "of modules that load states; tests/utils/test_names_census.py",
    "Tensor.storage_type": "its result is no tensor; tests/utils/test_names_census.py",
    "Tensor.record_stream": "has no result; tests/utils/test_names_census.py",
}


def operations() -> dict[str, Callable[..., Any]]:
    """Every operation once: under the name that has samples, else its first one. What is nothing but
    the in-place form of another operation is left out."""
    found: dict[str, Callable[..., Any]] = {}
    for operation in op.operations():
        names = [name for name in operation.spellings if name in SAMPLES] or [operation.name]
        plain = names[0].removeprefix("Tensor.")
        if names[0] not in SAMPLES and plain.endswith("_") and not plain.endswith("__"):
            if any(op.owner(prefix + plain[:-1]) for prefix in ("", "Tensor.", "nn.functional.")):
                continue
        found.update((name, operation.spellings[name]) for name in names)
    return found
