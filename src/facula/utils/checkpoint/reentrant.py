"""The old form of `checkpoint`: a Function, differentiated by its arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from facula._tensor.handle import Tensor
from facula.autograd import graph
from facula.autograd.backward import backward
from facula.autograd.function import Function
from facula.autograd.modes import enable_grad, no_grad
from facula.engine.realize import flush
from facula.engine.recorder import pending
from facula.engine.session import session
from facula.errors import warn
from facula.ops import autocasting
from facula.utils.checkpoint.states import Generators


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs, tensors as leaves that require gradients where they did."""
    if not isinstance(inputs, tuple):
        raise RuntimeError("Only tuple of tensors is supported. Got Unsupported input type: " + type(inputs).__name__)
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warn if no tensor among the inputs requires a gradient."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warn("None of the inputs have requires_grad=True. Gradients will be None")


class CheckpointFunction(Function):
    """`apply(function, preserve_rng_state, *args)`: the old form of `checkpoint`."""

    @staticmethod
    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        """Run without a tape."""
        check_backward_validity(args)
        ctx.function, ctx.generators = run_function, Generators(args, preserve_rng_state)
        ctx.autocast = autocasting.thread.now
        ctx.others = [None if isinstance(x, Tensor) else x for x in args]
        ctx.places = [i for i, x in enumerate(args) if isinstance(x, Tensor)]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Run again with a tape, and a backward pass over it, which also reaches the parameters that were read."""
        task = graph.mode.task
        if task is not None and task.targets is not None:
            raise RuntimeError("When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or "
                               "passing an `inputs` parameter to .backward(). To resolve this error, you can either "
                               "set use_reentrant=False, or call .backward() without passing the `inputs` argument.")
        if session.traced is None and pending:
            flush()  # as in recomputing.py
        args = list(ctx.others)
        for i, x in zip(ctx.places, ctx.saved_tensors, strict=True):
            args[i] = x
        inside = detach_variable(tuple(args))
        with ctx.generators.again(), enable_grad(), autocasting.region(ctx.autocast):
            outs = ctx.function(*inside)
        outs = outs if isinstance(outs, tuple) else (outs,)
        pairs = [(out, g) for out, g in zip(outs, grads, strict=True)
                 if isinstance(out, Tensor) and out.requires_grad and g is not None]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([out for out, _ in pairs], [g for _, g in pairs])
        return (None, None, *[x.grad if isinstance(x, Tensor) else None for x in inside])
