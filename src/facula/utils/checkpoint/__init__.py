"""Activations that are computed again instead of kept (`torch.utils.checkpoint`).

`checkpoint(function, *args)` runs `function` and forgets what its gradients need; the backward pass runs it a second
time (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). Both of PyTorch's forms are here:
`use_reentrant=True` differentiates by the tensors among the arguments; `use_reentrant=False`, the better one, by all
that the function has read. Random numbers are the same both times, unless `preserve_rng_state=False`.

Example:
    >>> import facula
    >>> from facula.utils.checkpoint import checkpoint
    >>> net = facula.nn.Sequential(facula.nn.Linear(2, 8), facula.nn.Tanh(), facula.nn.Linear(8, 1))
    >>> x = facula.ones(3, 2, requires_grad=True)
    >>> checkpoint(net, x, use_reentrant=False).sum().backward()
    >>> x.grad.shape, net[0].weight.grad.shape
    (torch.Size([3, 2]), torch.Size([8, 2]))
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from facula import absent
from facula.errors import warn
from facula.utils.checkpoint import switches
from facula.utils.checkpoint.recomputing import CheckpointError, Frame
from facula.utils.checkpoint.reentrant import CheckpointFunction, check_backward_validity, detach_variable
from facula.utils.checkpoint.selective import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    SelectiveCheckpointContext,
    create_selective_checkpoint_contexts,
)
from facula.utils.checkpoint.states import DefaultDeviceType, get_device_states, set_device_states
from facula.utils.checkpoint.switches import set_checkpoint_debug_enabled, set_checkpoint_early_stop

__all__ = ["CheckpointError", "CheckpointFunction", "CheckpointPolicy", "DefaultDeviceType", "GraphExecGroup",
           "SAC_IGNORED_OPS", "SelectiveCheckpointContext", "check_backward_validity", "checkpoint",
           "checkpoint_sequential", "create_selective_checkpoint_contexts", "detach_variable", "get_device_states",
           "noop_context_fn", "set_checkpoint_debug_enabled", "set_checkpoint_early_stop", "set_device_states"]

Contexts = Callable[[], tuple[Any, Any]]


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing: the default of `context_fn`."""
    return contextlib.nullcontext(), contextlib.nullcontext()


GraphExecGroup = absent.kind("torch.utils.checkpoint.GraphExecGroup", "each backward pass is a group of its own")


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
               context_fn: Contexts = noop_context_fn, determinism_check: str = "default", debug: bool = False,
               early_stop: bool = True, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`, whose intermediate values are computed again in the backward pass.

    Args:
        use_reentrant: True for the old form (tensors among `args` get gradients, and at least one of them must require
            one; no keywords); False for the one by all that `function` reads. PyTorch asks to say which.
        context_fn: gives two context managers, for the first run and for the second (not of the old form).
        determinism_check: "default" compares shapes, dtypes and devices of what both runs save; "none" does not.
        preserve_rng_state: draw the same random numbers both times (True).
        debug: an error lists the operations of both runs.
        early_stop: the second run ends as soon as all values are there.

    Raises:
        CheckpointError: the second run saved other tensors.
        ValueError: unknown arguments; `context_fn` together with `use_reentrant=True`.
    """
    if use_reentrant is None:
        warn("torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. use_reentrant=False is "
             "recommended, but if you need to preserve the current default behavior, you can pass use_reentrant=True.")
        use_reentrant = True
    keep = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        return CheckpointFunction.apply(function, keep, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    frame = Frame(function, args, kwargs, keep, context_fn, determinism_check,
                  debug if switches.debug is None else switches.debug,
                  early_stop if switches.early_stop is None else switches.early_stop)
    return frame.first(args, kwargs)


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
                          **kwargs: Any) -> Any:
    """The functions (or a Sequential) one after the other, in `segments` parts, each but the last a `checkpoint`.

    Example:
        >>> import facula
        >>> from facula.utils.checkpoint import checkpoint_sequential
        >>> net = facula.nn.Sequential(*[facula.nn.Linear(2, 2) for _ in range(4)])
        >>> checkpoint_sequential(net, 2, facula.ones(1, 2, requires_grad=True), use_reentrant=False).shape
        torch.Size([1, 2])
    """
    if use_reentrant is None:
        warn("torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly. "
             "use_reentrant=False is recommended, but if you need to preserve the current default behavior, you can "
             "pass use_reentrant=True.")
        use_reentrant = True
    keep = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(steps) // segments

    def part(start: int, stop: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for step in steps[start:stop]:
                x = step(x)
            return x
        return run

    at = 0
    for _ in range(segments - 1):
        input = checkpoint(part(at, at + size), input, use_reentrant=use_reentrant, preserve_rng_state=keep)
        at += size
    return part(at, len(steps))(input)
