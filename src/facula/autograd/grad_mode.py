"""`torch.autograd.grad_mode`: the modes under the name of their page in PyTorch."""

from __future__ import annotations

from facula.autograd.modes import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled", "set_multithreading_enabled"]


class set_multithreading_enabled:
    """Accepted, as a function and as a context: a backward pass is walked by the thread that asks for it.

    Example:
        >>> import facula
        >>> with facula.autograd.set_multithreading_enabled(False):
        ...     pass
    """

    def __init__(self, mode: bool) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *what: object) -> None:
        pass
