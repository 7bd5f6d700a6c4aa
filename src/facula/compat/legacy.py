"""Spellings of old PyTorch releases (`facula run --compat 0.3`).

Each works as it did then and warns once, with today's spelling. What PyTorch still accepts by itself
(`size_average=`, `reduce=`, `torch.autograd.Variable`) is the business of nn and autograd; here is only what
would be an error now, and the advice. Everything that is changed on Facula's classes is listed in `accept`.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import facula
from facula.autograd import Function
from facula.compat.instance_function import OldStyleFunction
from facula.errors import warn

RELEASES = ("0.3",)


class OldSpellingWarning(FutureWarning):
    """A program uses a spelling that PyTorch has dropped or replaced since; the message has today's."""


_warned: set[str] = set()
_undo: list[Callable[[], None]] = []


def warn_once(old: str, new: str) -> None:
    """Tell the line of the program that is running: once for each `old` in a process."""
    if old in _warned:
        return
    _warned.add(old)
    # Level 3: warn_once's caller stands in for a method that the program called.
    message = f"{old} is a spelling of old PyTorch releases; write {new}"
    warn(message, OldSpellingWarning)


def check(release: str) -> None:
    """Refuse a release whose spellings nobody has written down here."""
    if release not in RELEASES:
        raise ValueError(f"compat: unknown release {release!r}; known: {', '.join(RELEASES)}")


def accept(release: str) -> None:
    """Accept the spellings of `release` from here on. A second call changes nothing."""
    check(release)
    if _undo:
        return
    # An OldSpellingWarning is shown at most once anyway; "default" would hide none, "ignore" by -W still can.
    warnings.filterwarnings("default", category=OldSpellingWarning, append=True)
    _replace(facula.Tensor, "__getitem__", _getitem)
    _replace(facula.Tensor, "type", _type)
    _replace(facula.autograd, "Variable", _variable)
    _replace(Function, "__new__", _new_function)
    _replace(Function, "__init__", lambda original: _init_function)


def reject() -> None:
    """Undo `accept`."""
    while _undo:
        _undo.pop()()
    _warned.clear()


def _replace(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    had, original = name in vars(owner), getattr(owner, name)
    before = vars(owner).get(name)
    setattr(owner, name, wrap(original))
    _undo.append(lambda: setattr(owner, name, before) if had else delattr(owner, name))


def _getitem(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __getitem__(self: Any, index: Any) -> Any:
        # A loss was a tensor of one element then, and indexing a tensor (not a Variable) gave a number.
        if type(index) is int and index in (0, -1) and self.dim() == 0:
            if self.requires_grad:
                warn_once("loss[0] on a tensor of one element", "loss itself: it has no dimensions")
                return self
            warn_once("loss.data[0]", "loss.item()")
            return self.item()
        return original(self, index)
    return __getitem__


def _type(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def type(self: Any, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
        if dtype is not None and not isinstance(dtype, (str, facula.dtype)):
            name = getattr(dtype, "__name__", str(dtype))
            modern = str(getattr(dtype, "dtype", "torch.float32"))
            warn_once(f".type(torch.{name})", f".to({modern})")
        return original(self, dtype, non_blocking, **kwargs)
    return type


def _variable(original: Any) -> Any:
    """Variable(data, requires_grad, volatile): a tensor that shares `data`'s memory, as a leaf of its own."""
    class VariableMeta(type):
        def __call__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Any:
            warn_once("torch.autograd.Variable", "the tensor itself (or x.requires_grad_())")
            if volatile:
                warn_once("volatile=True", "with torch.no_grad(): around the computation")
                requires_grad = False
            return data.detach().requires_grad_(requires_grad)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, facula.Tensor)

    return VariableMeta("Variable", (), {"__module__": "torch.autograd", "__doc__": _variable.__doc__})


def _new_function(original: Callable[..., Any]) -> Callable[..., Any]:
    """`relu = MyReLU()`: an object to call, if `forward` is an ordinary method as it was then."""
    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if not inspect.isfunction(inspect.getattr_static(cls, "forward", None)):
            return original(cls)
        warn_once(f"{cls.__name__}() with forward(self, ...) and self.save_for_backward",
                  "forward and backward as @staticmethod with `ctx` for `self`, "
                  f"ctx.save_for_backward, and {cls.__name__}.apply(...)")
        return original(OldStyleFunction.with_methods_of(cls))
    return __new__


def _init_function(self: Any, *args: Any, **kwargs: Any) -> None:
    """Old-style functions had no arguments of their own; today's `Function.__init__` warns."""
