"""Names at torch's root that say how it was built, kinds of quantization, tags of operations: for programs that ask."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from facula.layouts import _Named, contiguous_format

has_lapack = True  # NumPy's
has_mkl = has_openmp = False
has_spectral = True
USE_GLOBAL_DEPS, USE_RTLD_GLOBAL_WITH_LIBTORCH = True, False
legacy_contiguous_format = contiguous_format


class AcceleratorError(RuntimeError):
    """What a device reports as its own failure."""


class FatalError(Exception):
    """A failure after which a process cannot go on."""


class qscheme(_Named):
    """How quantized elements are scaled. The names are there; quantized tensors are not."""

    __slots__ = ()


def _made(name: str) -> Any:
    found = object.__new__(qscheme)
    found._name = name
    return found


per_tensor_affine, per_channel_affine, per_tensor_symmetric, per_channel_symmetric, per_channel_affine_float_qparams = (
    _made(name) for name in ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric",
                             "per_channel_affine_float_qparams"))


class _Tag(IntEnum):
    """What is said of operations when they are registered: kept, without an effect."""

    def __repr__(self) -> str:
        return f"<Tag.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"Tag.{self.name}"


Tag: Any = _Tag("Tag", {name: k for k, name in enumerate((  # type: ignore[call-arg,arg-type]
    "core cudagraph_unsafe data_dependent_output dynamic_output_shape flexible_layout generated inplace inplace_view "
    "maybe_aliasing_or_mutating needs_contiguous_strides needs_exact_strides needs_fixed_stride_order "
    "nondeterministic_bitwise nondeterministic_seeded out out_variant pointwise pt2_compliant_tag reduction "
    "view_copy").split())}, module="torch")


def compiled_with_cxx11_abi() -> bool:
    """True, as of all of PyTorch's builds: there is no C++ here to link with."""
    return True


def init_num_threads() -> None:
    """Nothing: threads are made when they are needed."""


def is_vulkan_available() -> bool:
    """Are there Vulkan devices? No."""
    return False


def is_distributed(input: Any) -> bool:
    """Does a tensor lie on several machines? No."""
    return False


def cudnn_is_acceptable(input: Any) -> bool:
    """Would cuDNN take this tensor? No."""
    return False


def _widened(t: Any) -> Any:
    return t.float() if t.dtype.itemsize < 4 else t  # rounded once, at the end, as in torch


def _softmax_backward_data(grad_output: Any, output: Any, dim: int, input_dtype: Any) -> Any:
    """The gradient of a softmax's input, from that of its output and the output itself."""
    grad, out = _widened(grad_output), _widened(output)
    return ((grad - (grad * out).sum(dim, keepdim=True)) * out).to(input_dtype)


def _log_softmax_backward_data(grad_output: Any, output: Any, dim: int, input_dtype: Any) -> Any:
    """The gradient of a log_softmax's input, from that of its output and the output itself."""
    grad = _widened(grad_output)
    return (grad - _widened(output).exp() * grad.sum(dim, keepdim=True)).to(input_dtype)
