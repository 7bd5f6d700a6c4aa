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
import enum
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from facula import absent, random
from facula._tensor.handle import Tensor, edge_of, new, read, restored
from facula.autograd import walk
from facula.autograd.backward import backward
from facula.autograd.function import Function
from facula.autograd.graph import GradNode, grad_node, next_seq
from facula.autograd.modes import enable_grad, is_grad_enabled, no_grad
from facula.autograd.walk import Targets, edge_key, node_of
from facula.devices import CPU
from facula.errors import warn
from facula.undisturbed import PutBack
from facula.utils._pytree import tree_flatten, tree_leaves

__all__ = ["CheckpointError", "CheckpointFunction", "CheckpointPolicy", "DefaultDeviceType", "GraphExecGroup",
           "SAC_IGNORED_OPS", "SelectiveCheckpointContext", "check_backward_validity", "checkpoint",
           "checkpoint_sequential", "create_selective_checkpoint_contexts", "detach_variable", "get_device_states",
           "noop_context_fn", "set_checkpoint_debug_enabled", "set_checkpoint_early_stop", "set_device_states"]

Contexts = Callable[[], tuple[Any, Any]]


class CheckpointError(RuntimeError):
    """The second run of a function did not do what the first one did."""


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing: the default of `context_fn`."""
    return contextlib.nullcontext(), contextlib.nullcontext()


class DefaultDeviceType:
    """The type of accelerator whose generators are kept where no argument tells: 'cuda', or what was set."""

    _type = "cuda"

    @classmethod
    def set_device_type(cls, device: str = "cuda") -> None:
        """Set it."""
        cls._type = device

    @classmethod
    def get_device_type(cls) -> str:
        """The type that is set."""
        return cls._type


class _Generators:
    """The states of all default generators that a function may draw from, to begin again with."""

    def __init__(self, leaves: Iterable[Any], keep: bool) -> None:
        places = {x.device for x in leaves if isinstance(x, Tensor) and x.device.type not in ("cpu", "meta")}
        self.states = [(random.generator_of(place), random.generator_of(place).get_state())
                       for place in [CPU, *places]] if keep else []

    def again(self) -> _Again:
        """Within, the generators draw what they drew then; afterwards they are as before."""
        return _Again(self.states)


class _Again(PutBack):
    def __init__(self, states: list[tuple[Any, Any]]) -> None:
        self.states = states
        self.now = [(generator, generator.get_state()) for generator, _ in states]

    def change(self) -> None:
        for generator, state in self.states:
            generator.set_state(state)

    def put_back(self) -> None:
        for generator, state in self.now:
            generator.set_state(state)


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
               context_fn: Contexts = noop_context_fn, determinism_check: str = "default", debug: bool = False,
               early_stop: bool = True, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`, whose intermediate values are computed again in the backward pass.

    Args:
        use_reentrant: True for the old form (tensors among `args` get gradients, and at least one of them must require
            one; no keywords); False for the one by all that `function` reads. PyTorch asks to say which.
        context_fn: gives two context managers, for the first run and for the second (not of the old form).
        determinism_check: "default" compares how many results there are, their shapes and dtypes; "none" does not.
        preserve_rng_state: draw the same random numbers both times (True).
        debug, early_stop: accepted; the whole function is run again.

    Raises:
        CheckpointError: the second run gave other results.
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
    return _Run(function, args, kwargs, keep, context_fn, determinism_check).first()


# ---- the old form: differentiated by its arguments ------------------------------------------------------------------


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
        ctx.function, ctx.generators = run_function, _Generators(args, preserve_rng_state)
        ctx.others = [None if isinstance(x, Tensor) else x for x in args]
        ctx.places = [i for i, x in enumerate(args) if isinstance(x, Tensor)]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Run again with a tape, and a backward pass over it, which also reaches the parameters that were read."""
        args = list(ctx.others)
        for i, x in zip(ctx.places, ctx.saved_tensors, strict=True):
            args[i] = x
        inside = detach_variable(tuple(args))
        with ctx.generators.again(), enable_grad():
            outs = ctx.function(*inside)
        outs = outs if isinstance(outs, tuple) else (outs,)
        pairs = [(out, g) for out, g in zip(outs, grads, strict=True)
                 if isinstance(out, Tensor) and out.requires_grad and g is not None]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([out for out, _ in pairs], [g for _, g in pairs])
        return (None, None, *[x.grad if isinstance(x, Tensor) else None for x in inside])


# ---- the other form: differentiated by all that it reads ------------------------------------------------------------


class _Inside(Targets):
    """The steps of a tape that were made from a certain one on, and the edges that lead out of them."""

    def __init__(self, roots: list[Any], since: int, edges: Iterable[Any] | None = None) -> None:
        self.since = since
        self.out: dict[Any, Any] = {}  # key -> edge, in the order in which they are met
        super().__init__(roots, [])
        self.wanted = set(self.out if edges is None else map(edge_key, edges))
        self.captured = self.ends = {k[0] for k in self.wanted if type(k) is tuple}
        self.useful |= self.captured

    def _leading(self, roots: Any) -> set[GradNode]:
        inside: set[GradNode] = set()
        stack = list(roots)
        while stack:
            edge = stack.pop()
            node = node_of(edge)
            if node is None or node.seq < self.since:
                if edge is not None:
                    self.out.setdefault(edge_key(edge), edge)
            elif node not in inside:
                inside.add(node)
                stack.extend(reversed(node.edges))
        return inside


class _Run:
    """A function and all that it takes to run it twice."""

    def __init__(self, function: Any, args: Any, kwargs: Any, keep: bool, contexts: Contexts, check: str) -> None:
        leaves, self.spec = tree_flatten((args, kwargs))
        # Values as they are now: what is written in place later does not change the second run.
        self.leaves = [restored(read(x), edge_of(x), x.requires_grad) if type(x) is Tensor and x.grad_fn is not None
                       else x for x in leaves]
        self.function, self.check = function, check
        self.generators = _Generators(leaves, keep)
        self.first_context, self.second_context = contexts()

    def first(self) -> Any:
        """Run, put a single step on the tape in place of the steps that the function has left there."""
        with self.first_context:
            if not is_grad_enabled():
                return self._call()
            since = next_seq()
            outs, spec = tree_flatten(self._call())
        self.about = [(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else None for x in outs]
        self.live = [i for i, x in enumerate(outs)
                     if isinstance(x, Tensor) and x.grad_fn is not None and node_of(edge_of(x)).seq >= since]
        if self.live:
            self.edges = list(_Inside([edge_of(outs[i]) for i in self.live], since).out.values())
            unknown = (None,) * len(self.edges)
            step = grad_node(_RULE, tuple(self.edges), (self,), unknown, unknown)
            step.outputs = len(self.live)
            for number, i in enumerate(self.live):
                # Nobody else holds the tape that the function has left, and what is saved there.
                outs[i] = new(read(outs[i]))
                outs[i]._grad_fn, outs[i]._rg, outs[i]._output_nr = step, True, number
        return spec.unflatten(outs)

    def _call(self) -> Any:
        args, kwargs = self.spec.unflatten(self.leaves)
        return self.function(*args, **kwargs)

    def again(self, grads: tuple[Any, ...]) -> list[Any]:
        """The gradients along the edges that lead out, of a second run."""
        differentiable = is_grad_enabled()
        since = next_seq()
        with self.generators.again(), enable_grad(), self.second_context:
            outs = tree_leaves(self._call())
        about = [(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else None for x in outs]
        if self.check == "default" and about != self.about:
            raise CheckpointError("torch.utils.checkpoint: Recomputed values have different metadata than during the "
                                  f"forward pass.\nfirst: {self.about}\nagain: {about}")
        roots = [(edge_of(outs[i]), g) for i, g in zip(self.live, grads, strict=True) if g is not None]
        targets = _Inside([edge for edge, _ in roots], since, self.edges)
        below = walk.Walk(differentiable, targets)
        with enable_grad() if differentiable else no_grad():
            below.run([edge for edge, _ in roots], [g for _, g in roots])
        found = {**targets.found, **below.leaves}
        return [found.get(edge_key(edge)) for edge in self.edges]


class _AgainRule:
    """The rule of the one step of the tape that stands for a whole function: always walked, never replayed."""

    name = "CheckpointBackward"

    def backward(self, step: GradNode, *grads: Any) -> tuple[Any, ...]:
        return tuple(step.saved[0].again(grads))


_RULE = _AgainRule()
walk.users += (_AgainRule,)


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
        warn("torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly.")
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


# ---- states of devices, switches, and what is missing ---------------------------------------------------------------


def get_device_states(*args: Any) -> tuple[list[int], list[Any]]:
    """(indices, states of the generators) of the accelerators that the tensors among the arguments lie on."""
    places = {x.device for x in tree_leaves(args) if isinstance(x, Tensor) and x.device.type not in ("cpu", "meta")}
    ordered = sorted(places, key=str)
    return [place.index or 0 for place in ordered], [random.generator_of(place).get_state() for place in ordered]


def set_device_states(devices: list[int], states: list[Any], *, device_type: str | None = None) -> None:
    """Set the states of the generators of these accelerators."""
    from facula.devices import device
    kind = DefaultDeviceType.get_device_type() if device_type is None else device_type
    for index, state in zip(devices, states, strict=True):
        random.generator_of(device(kind, index)).set_state(state)


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Accepted: the second run always goes to the end."""
    yield


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Accepted: an error of the second run has both runs' results in it anyway."""
    yield


class CheckpointPolicy(enum.Enum):
    """What selective checkpointing is to do with an operation's result."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4


_WHY = "checkpoint the parts that are to be computed again"
SAC_IGNORED_OPS: set[Any] = set()
SelectiveCheckpointContext = absent.kind("torch.utils.checkpoint.SelectiveCheckpointContext", _WHY)
GraphExecGroup = absent.kind("torch.utils.checkpoint.GraphExecGroup", _WHY)
create_selective_checkpoint_contexts = absent.function("torch.utils.checkpoint.create_selective_checkpoint_contexts",
                                                       _WHY)
