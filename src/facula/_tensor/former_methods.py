"""Methods of Tensor from former days, which PyTorch still has: removed ones that say what to write, renamed ones, and
those of devices that are not there."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

from facula import errors, removed
from facula._tensor import handle
from facula._tensor.handle import Tensor
from facula.dtypes import DTYPE_NAMES
from facula.ops.registry import method

for _f in (removed.eig, removed.lstsq, removed.solve, removed.symeig):
    method(_f)


def _reshaped(self: Tensor, sizes: Any) -> Tensor:
    sizes = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if math.prod(sizes) != self.numel() or any(n < 0 for n in sizes):
        wanted, own = ("x".join(map(str, shape)) for shape in (sizes, self.shape))
        raise RuntimeError(f"requested resize to {wanted} ({math.prod(sizes)} elements in total), but the given tensor "
                           f"has a size of {own} ({self.numel()} elements). autograd's resize can only change the "
                           "shape of a given tensor, while preserving the number of elements.")
    return self.reshape(sizes)


@method
def resize(self: Tensor, *sizes: Any) -> Tensor:
    """`reshape` by the name it had (deprecated), for as many elements only."""
    errors.warn("non-inplace resize is deprecated")
    return _reshaped(self, sizes)


@method
def resize_as(self: Tensor, tensor: Tensor) -> Tensor:
    """`reshape_as` by the name it had (deprecated)."""
    errors.warn("non-inplace resize_as is deprecated")
    return _reshaped(self, tuple(tensor.shape))


@method
def reinforce(self: Tensor, reward: Any) -> NoReturn:
    """RuntimeError: `torch.distributions` samples, and its `log_prob` has the gradient."""
    raise RuntimeError("reinforce() was removed.\nUse torch.distributions instead.\nSee "
                       "https://pytorch.org/docs/main/distributions.html\n\n"
                       "m = torch.distributions.Categorical(probs)\n"
                       "action = m.sample()\nnext_state, reward = env.step(action)\n"
                       "loss = -m.log_prob(action) * reward\nloss.backward()\n")


@method
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable[..., Any]) -> Tensor:
    """Overwrite every element a with `callable(a, b, c)`, b and c from two other tensors.

    Raises:
        RuntimeError: the tensor requires a gradient.
    """
    from facula._tensor.writing import _mapped
    if any(t.requires_grad for t in (self, x, y)):
        raise RuntimeError("Can't call map2_() on Variable that requires grad. Use var.detach().map2_() instead.")
    others = [t.expand(self.shape).reshape(-1).tolist() for t in (x, y)]
    return _mapped(self, [callable(*values) for values in zip(self.reshape(-1).tolist(), *others, strict=True)])


@method
def module_load(self: Tensor, other: Tensor, assign: bool = False) -> Any:
    """What a module that loads a state puts in place of this tensor, if swapping is on: `other` as it is
    (`assign`) or this one with its elements; without a gradient.

    Raises:
        RuntimeError: this one requires a gradient and is to be written, outside of `no_grad`.
    """
    return other.detach() if assign else self.copy_(other).detach()


@method
def storage_type(self: Tensor) -> Any:
    """The class of typed storages of this dtype."""
    return getattr(import_module("facula._tensor.legacy_storages"), f"{DTYPE_NAMES[self.dtype.name]}Storage")


@method
def record_stream(self: Tensor, stream: Any) -> None:
    """Nothing on the CPU: memory is not given away while something pending reads it.

    Raises:
        RuntimeError: what is given is no stream.
    """
    from facula._streams import Stream
    if not isinstance(stream, Stream):
        raise RuntimeError("unknown parameter type")


@method
def ipu(self: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
    """RuntimeError: there are no such devices."""
    raise RuntimeError("PyTorch is not linked with support for ipu devices")


@method
def mtia(self: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
    """AssertionError: there are no such devices."""
    raise AssertionError("Torch not compiled with MTIA enabled.")


def _volatile(self: Tensor) -> bool:
    """False, always: `no_grad` took its place."""
    errors.warn("volatile was removed (Variable.volatile is always False)")
    return False


def _set_volatile(self: Tensor, value: Any) -> None:
    errors.warn("volatile was removed and now has no effect. Use `with torch.no_grad():` instead.")


def _grad_dtype(self: Tensor) -> Any:
    """The dtype that the gradient has: the tensor's own."""
    return self.dtype


handle.Tensor.volatile = property(_volatile, _set_volatile)  # type: ignore[attr-defined]
handle.Tensor.grad_dtype = property(_grad_dtype)  # type: ignore[attr-defined]
