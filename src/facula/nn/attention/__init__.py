"""`torch.nn.attention`: which kernels `scaled_dot_product_attention` may take, and attention by functions of positions.

    bias.py             causal masks as objects
    block_mask.py       masks by blocks
    flex_attention.py   attention whose scores and masks are functions

Facula has one way to compute attention, by one formula. A choice of kernels is kept while the context lasts; without
any that PyTorch has on the CPU, attention raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from facula import absent
from facula.nn.attention import bias, flex_attention
from facula.nn.functional import kernel_choice

__all__ = ["SDPBackend", "WARN_FOR_UNFUSED_KERNELS", "activate_flash_attention_impl", "bias",
           "current_flash_attention_impl", "flex_attention", "list_flash_attention_impls",
           "register_flash_attention_impl", "restore_flash_attention_impl", "sdpa_kernel"]

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(Enum):
    """PyTorch's kernels of attention.

    Example:
        >>> from facula.nn.attention import SDPBackend
        >>> SDPBackend.MATH
        <SDPBackend.MATH: 0>
    """

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __hash__(self) -> int:
        return hash(self.value)


_NAMES = {SDPBackend.CUDNN_ATTENTION: "cudnn", SDPBackend.FLASH_ATTENTION: "flash",
          SDPBackend.EFFICIENT_ATTENTION: "mem_efficient", SDPBackend.MATH: "math",
          SDPBackend.OVERRIDEABLE: "overrideable"}


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    """The kernels that are allowed now, those to be preferred first if `with_priority`."""
    found = [backend for backend, name in _NAMES.items() if kernel_choice.allowed[name]]
    return sorted(found, key=lambda b: kernel_choice.priority.index(_NAMES[b])) if with_priority else found


@contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[dict[Any, Any]]:
    """A context (or decorator) in which attention may take these kernels only.

    Args:
        backends: an SDPBackend or a list of them.
        set_priority: their order is that in which to prefer them. Without an effect on how attention is computed.

    Raises:
        AssertionError: no SDPBackend, and no list of them.

    Example:
        >>> import facula
        >>> from facula.nn.attention import SDPBackend, sdpa_kernel
        >>> q = facula.ones(1, 2, 4)
        >>> with sdpa_kernel(SDPBackend.MATH):
        ...     facula.nn.functional.scaled_dot_product_attention(q, q, q).shape
        torch.Size([1, 2, 4])
    """
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
                             f"{type(backends).__name__}")
    wanted = [backends] if isinstance(backends, SDPBackend) else backends
    names = [_NAMES[b] for b in wanted if b in _NAMES]
    before, order = dict(kernel_choice.allowed), kernel_choice.priority[:]
    try:
        kernel_choice.allowed.update({name: name in names for name in before})
        if set_priority:
            kernel_choice.priority[:] = names + [name for name in order if name not in names]
        yield {}
    finally:
        kernel_choice.allowed.update(before)
        kernel_choice.priority[:] = order


_implementations: dict[str, Callable[..., Any]] = {}
_active: list[str] = []  # one at most


def register_flash_attention_impl(impl: str, *, register_fn: Callable[..., Any]) -> None:
    """A name for flash attention's kernels of a program's own. `activate_flash_attention_impl` calls `register_fn`,
    which returns what undoes it, or None if there is nothing to undo."""
    _implementations[impl] = register_fn


def activate_flash_attention_impl(impl: str) -> None:
    """Have the kernels of that name registered.

    Raises:
        ValueError: nothing was registered by that name.
    """
    if impl not in _implementations:
        raise ValueError(f"Unknown flash attention impl '{impl}'. Available implementations: "
                         f"{list_flash_attention_impls()}")
    if _implementations[impl]() is not None:
        _active[:] = [impl]


def list_flash_attention_impls() -> list[str]:
    """The names that were registered. (PyTorch's own, FA3 and FA4, are packages for GPUs.)"""
    return sorted(_implementations)


def current_flash_attention_impl() -> str | None:
    """The name that was activated last, None if there is none."""
    return _active[0] if _active else None


def restore_flash_attention_impl() -> None:
    """Forget what was activated."""
    _active.clear()


def __getattr__(name: str) -> Any:
    raise absent.missing("nn.attention", name)
