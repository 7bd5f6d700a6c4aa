"""Old-style autograd functions: an instance is called, and is itself the context.

    class MyReLU(torch.autograd.Function):
        def forward(self, input):
            self.save_for_backward(input)
            return input.clamp(min=0)

    relu = MyReLU()
    y = relu(x)

Each call becomes one application of a present-day Function, whose `ctx` the instance passes on to.
"""

from __future__ import annotations

import functools
from typing import Any

from facula.autograd import Function


class Application(Function):
    """Runs an old-style function's methods with `ctx` behind them."""

    @staticmethod
    def forward(ctx: Any, function: Any, *inputs: Any) -> Any:
        object.__setattr__(function, "_context", ctx)
        ctx.function = function
        return function.forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        # The same instance may have been called again since: what it saved is found through this call's ctx.
        object.__setattr__(ctx.function, "_context", ctx)
        result = ctx.function.backward(*gradients)
        return (None, *result) if isinstance(result, tuple) else (None, result)


class OldStyleFunction:
    """What the old base class gave an instance: being called, and the context's methods on itself."""

    _context: Any = None

    @staticmethod
    @functools.cache
    def with_methods_of(cls: type) -> type:
        """`cls` with these methods before its own; cached, so that instances of one class share a class."""
        return type(cls.__name__, (OldStyleFunction, cls), {"__module__": cls.__module__})

    def __call__(self, *inputs: Any) -> Any:
        return Application.apply(self, *inputs)

    def save_for_backward(self, *tensors: Any) -> None:
        self._context.save_for_backward(*tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        saved: tuple[Any, ...] = self._context.saved_tensors
        return saved

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        return self.saved_tensors

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        needs: tuple[bool, ...] = self._context.needs_input_grad[1:]  # the first is the function itself
        return needs

    def mark_dirty(self, *tensors: Any) -> None:
        self._context.mark_dirty(*tensors)

    def mark_non_differentiable(self, *tensors: Any) -> None:
        self._context.mark_non_differentiable(*tensors)
