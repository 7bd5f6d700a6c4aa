"""Tensors from nothing, from numbers, from chance; conversions; what a tensor says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.testing.samples.arrays import (
    COMPLEX,
    CUBE,
    MASK,
    POSITIVE,
    ROW,
    SCALAR,
    SPECIAL,
    UNIT,
    WHOLE,
    Dtype,
    Sample,
    X,
    call,
)

_I64, _F64 = Dtype("int64"), Dtype("float64")
SAMPLES: dict[str, list[Sample]] = {}


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


def _shape(result: Any) -> Any:
    """Of memory that nobody has filled."""
    return result.shape, result.dtype


# ---- from numbers ------------------------------------------------------------------------------

_each("zeros ones", [call(2, 3), call((2, 3)), call(2, dtype=_I64), call(())])
_each("empty", [s.only(_shape) for s in (call(2, 3), call((2, 3), dtype=_I64), call(0))])
_each("empty_permuted", [call((2, 3), (1, 0)).only(lambda r: (r.shape, r.stride()))])
_each("empty_strided", [call((2, 3), (1, 2)).only(lambda r: (r.shape, r.stride()))])
_each("full", [call((2, 3), 1.5), call((2,), 3), call((2, 2), True), call((2,), 3, dtype=_F64)])
_each("zeros_like ones_like", [call(X), call(WHOLE), call(X, dtype=_I64)])
_each("empty_like", [call(X).only(_shape), call(WHOLE, dtype=_F64).only(_shape)])
_each("full_like", [call(X, 2), call(WHOLE, 3), call(X, 2, dtype=_I64)])
_each(
    "arange", [call(5), call(1, 5), call(1, 2, 0.3), call(5, dtype=_F64), call(5, 1, -2), call(0)]
)
_each("range", [call(1, 4), call(0, 1, 0.25)])
_each("linspace", [call(0, 1, 5), call(-2, 3, 4, dtype=_F64), call(1, 1, 1)])
_each("logspace", [call(0, 2, 5), call(0, 3, 4, base=2.0)])
_each("eye", [call(3), call(2, 3), call(3, dtype=_I64)])
_each("tril_indices triu_indices", [call(3, 4), call(4, 3, 1), call(3, 3, -1)])
_each("scalar_tensor", [call(2.5), call(3, dtype=_I64)])
_each("tensor", [call([1, 2]), call([[1.5], [2]]), call(3), call([True]), call([1, 2], dtype=_F64)])
_each("as_tensor asarray", [call([1.5, 2]), call(X), call([1, 2], dtype=_F64)])
_each("broadcast_shapes", [call((3, 1), (4,)), call((2, 1, 3), (5, 1))])
_each(
    "bartlett_window blackman_window hamming_window hann_window kaiser_window",
    [call(7), call(6, False), call(1), call(5, dtype=_F64)],
)
_each(
    "Tensor.new_zeros Tensor.new_ones",
    [call(X, (2, 3)), call(WHOLE, (2,)), call(X, (2,), dtype=_I64)],
)
_each("Tensor.new_empty", [call(X, (2, 3)).only(_shape), call(WHOLE, (2,)).only(_shape)])
_each("Tensor.new_empty_strided", [call(X, (2, 3), (1, 2)).only(lambda r: (r.shape, r.stride()))])
_each("Tensor.new_full", [call(X, (2, 3), 7), call(WHOLE, (2,), 7)])
_each("Tensor.new_tensor", [call(X, [1.5, 2]), call(WHOLE, [1, 2])])

# ---- from chance: both libraries are seeded alike ----------------------------------------------

_each("rand randn", [call(2, 3), call((5,), dtype=_F64)])
_each("rand_like randn_like", [call(X), call(X[0])])
_each("randint", [call(9, (3,)), call(-2, 9, (2, 3))])
_each("randint_like", [call(X, 9), call(WHOLE, 2, 9)])
_each("randperm", [call(7), call(1)])
_each("bernoulli", [call(UNIT * UNIT).flat(), call(UNIT * UNIT, 0.3).flat()])
_each("multinomial", [call(POSITIVE, 2), call(POSITIVE[0], 5, True)])
_each("normal", [call(0.0, 1.0, (3,)), call(X, 2.0), call(2.0, POSITIVE), call(X, POSITIVE)])
_each("poisson _standard_gamma _sample_dirichlet", [call(POSITIVE)])
_each("binomial", [call(np.abs(WHOLE).astype(np.float32), UNIT * UNIT)])
for _name in (
    "multinomial",
    "normal",
    "poisson",
    "rand_like",
    "randn_like",
    "randint_like",
    "_standard_gamma",
    "_sample_dirichlet",
    "binomial",
):
    SAMPLES[_name] = [s.flat() for s in SAMPLES[_name]]

# ---- conversions -------------------------------------------------------------------------------

_each(
    "Tensor.float Tensor.double Tensor.half Tensor.bfloat16 Tensor.long Tensor.int "
    "Tensor.short Tensor.char "
    "Tensor.bool Tensor.cfloat Tensor.cdouble",
    [call(X).flat(), call(WHOLE), call(MASK)],
)
_each("Tensor.byte", [call(WHOLE), call(MASK)])
_each("Tensor.double", [call(X), call(WHOLE), call(SPECIAL).flat()])
_each("Tensor.to Tensor.type", [call(X, _F64), call(X, _I64), call(WHOLE, Dtype("float32"))])
_each(
    "Tensor.to", [*SAMPLES["Tensor.to"], call(X, WHOLE), call(X, "cpu"), call(X, _F64, copy=True)]
)
_each("Tensor.type_as", [call(X, WHOLE), call(WHOLE, X)])
_each("Tensor.cpu Tensor.resolve_conj Tensor.resolve_neg Tensor.to_dense", [call(X)])

# ---- what a tensor says of itself --------------------------------------------------------------

_each(
    "Tensor.dim Tensor.numel Tensor.size Tensor.stride Tensor.storage_offset "
    "Tensor.element_size Tensor.is_contiguous "
    "Tensor.is_complex Tensor.is_floating_point Tensor.is_signed Tensor.is_conj "
    "Tensor.is_neg Tensor.is_inference "
    "Tensor.is_distributed Tensor.is_shared Tensor.is_pinned Tensor.dim_order "
    "Tensor.get_device Tensor.tolist",
    [call(X), call(WHOLE), call(SCALAR)],
)
SAMPLES["Tensor.size"] = SAMPLES["Tensor.stride"] = [call(CUBE), call(CUBE, 1), call(CUBE, -1)]
_each("Tensor.is_same_size", [call(X, WHOLE), call(X, ROW)])
_each("Tensor.is_set_to", [call(X, WHOLE)])
_each("Tensor.item Tensor.is_nonzero", [call(SCALAR), call(np.asarray(0.0))])
_each("Tensor.is_complex", [call(X), call(COMPLEX)])
