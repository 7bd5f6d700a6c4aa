"""The tables of `torch.overrides` that libraries walk through: what may be overridden, with which arguments."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import facula
from facula import overrides
from facula.ops.op import signature_of

# Functions of no tensor, which PyTorch does not ask `__torch_function__` for.
_OF_NO_TENSOR = (
    "arange as_tensor asarray autocast bartlett_window blackman_window can_cast compile empty empty_permuted "
    "empty_strided eye from_dlpack from_file from_numpy frombuffer full get_default_dtype get_num_interop_threads "
    "get_num_threads get_rng_state hamming_window hann_window initial_seed is_grad_enabled "
    "is_inference_mode_enabled is_storage is_tensor kaiser_window linspace load logspace manual_seed normal ones "
    "promote_types rand randint randn randperm range save scalar_tensor seed set_default_device set_default_dtype "
    "set_default_tensor_type set_num_interop_threads set_num_threads set_printoptions set_rng_state tensor "
    "tril_indices triu_indices typename use_deterministic_algorithms vmap zeros").split()


@functools.cache
def get_ignored_functions() -> set[Callable[..., Any]]:
    """The public functions that never ask `__torch_function__`: those of no tensor.

    Example:
        >>> import facula
        >>> facula.zeros in facula.overrides.get_ignored_functions()
        True
    """
    return {getattr(facula, name) for name in _OF_NO_TENSOR if hasattr(facula, name)}


def _stand_in(function: Any) -> Callable[..., int]:
    """What takes the arguments of `function` and gives -1."""
    def given(*args: Any, **kwargs: Any) -> int:
        return -1
    with contextlib.suppress(ValueError, TypeError):
        given.__signature__ = signature_of(function)  # type: ignore[attr-defined]
    return given


@functools.cache
def get_testing_overrides() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For each function that asks `__torch_function__` one that takes its arguments and gives -1.

    Example:
        >>> import facula
        >>> facula.overrides.get_testing_overrides()[facula.sin](facula.ones(1))
        -1
    """
    ignored = get_ignored_functions()
    return {function: _stand_in(function) for forms in overrides.get_overridable_functions().values()
            for function in forms if function not in ignored}


@contextlib.contextmanager
def enable_reentrant_dispatch() -> Iterator[None]:
    """A context for implementations that call what they implement. Nothing here: they may anyway."""
    yield
