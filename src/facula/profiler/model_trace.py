"""One call of a model, module by module and operation by operation: for `facula.summary`, the monitor's graph and
`SummaryWriter.add_graph`.

Example:
    >>> import facula
    >>> from facula.profiler.model_trace import traced
    >>> model = facula.nn.Sequential(facula.nn.Linear(4, 8), facula.nn.ReLU())
    >>> trace = traced(model, facula.ones(2, 4))
    >>> [(part.path, part.kind, part.output, part.flops) for part in trace.root.parts]
    [('0', 'Linear', (2, 8), 128), ('1', 'ReLU', (2, 8), 0)]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from facula._tensor.handle import Tensor
from facula.engine import plan_log
from facula.engine.realize import flush
from facula.nn.modules.module import Module
from facula.nn.modules.rnn import RNNBase
from facula.ops.listening import quiet
from facula.overrides import TorchFunctionMode
from facula.utils._pytree import tree_leaves
from facula.utils.flop_counter import flops_of, unheard_flops
from facula.utils.module_tracker import ModuleTracker


class Part:
    """One call of a module. Shapes are tuples; of several tensors, tuples of them.

    Attributes:
        path, kind: where the module is, and its class.
        input, output: shapes.
        parameters, trainable: how many it has with all its parts; bytes: what its results take.
        flops: of products, with all its parts.
        seconds: of the call with all its parts, or None.
        parts: calls of modules within.
    """

    __slots__ = ("path", "kind", "module", "input", "output", "parameters", "trainable", "bytes", "flops", "seconds",
                 "parts", "again")

    def __init__(self, path: str, module: Module, given: Any, again: bool) -> None:
        self.path, self.kind, self.module, self.again = path, type(module).__name__, module, again
        self.input, self.output = _shapes(given), None
        own = {id(p): p for p in module.parameters()}.values()
        self.parameters = sum(p.numel() for p in own)
        self.trainable = sum(p.numel() for p in own if p.requires_grad)
        self.bytes = self.flops = 0
        self.seconds: float | None = None
        self.parts: list[Part] = []

    def as_dict(self) -> dict[str, Any]:
        """What JSON can say of it."""
        return {"path": self.path, "kind": self.kind, "input": self.input, "output": self.output, "bytes": self.bytes,
                "parameters": self.parameters, "flops": self.flops, "seconds": self.seconds,
                "parts": [part.as_dict() for part in self.parts]}

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Part]]:
        """It and all its parts, with how deep each is."""
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)


class OperationNode(NamedTuple):
    """A node of the graph of operations: its name has the modules it is in ("0/linear")."""

    name: str
    kind: str
    inputs: list[str]
    shapes: list[tuple[int, ...]]


class Trace:
    """What `traced` has met: `root`, the call of the model; `nodes()`, its operations; `result`."""

    def __init__(self) -> None:
        self.root: Part
        self.result: Any = None
        self._nodes: list[OperationNode] = []

    def nodes(self) -> list[OperationNode]:
        """Inputs, parameters and operations, in the order they were met, then the output."""
        return self._nodes


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _shapes(value: Any) -> Any:
    found = [tuple(t.shape) for t in _tensors(value)]
    return found[0] if len(found) == 1 else tuple(found)


class _Tracker(ModuleTracker):
    def __init__(self, model: Module, trace: Trace, timed: bool) -> None:
        super().__init__()
        self.paths = {module: path for path, module in model.named_modules()}
        self.trace, self.timed = trace, timed
        self.open: list[tuple[Part, float]] = []
        self.seen: set[Module] = set()

    def _enter(self, module: Module, args: Any) -> None:
        with quiet():
            part = Part(self.paths.get(module, type(module).__name__), module, args, module in self.seen)
            self.seen.add(module)
            if self.open:
                self.open[-1][0].parts.append(part)
            elif not hasattr(self.trace, "root"):
                self.trace.root = part
            if self.timed:
                flush()
        self.open.append((part, time.perf_counter()))
        super()._enter(module, args)

    def _leave(self, module: Module, args: Any, output: Any) -> None:
        super()._leave(module, args, output)
        part, began = self.open.pop()
        with quiet():
            if self.timed:
                flush()
                part.seconds = time.perf_counter() - began
            part.output = _shapes(output)
            part.bytes = sum(t.numel() * t.element_size() for t in _tensors(output))
            if isinstance(module, RNNBase):
                part.flops += unheard_flops(module, output, part.flops)
            if self.open:
                self.open[-1][0].flops += part.flops


class _Operations(TorchFunctionMode):
    """Names tensors by what has made them."""

    def __init__(self, model: Module, trace: Trace, tracker: _Tracker, given: Any) -> None:
        super().__init__()
        self.trace, self.tracker = trace, tracker
        self.made: dict[int, str] = {}
        self.held: list[Any] = []  # what has been named stays alive, so that no other takes its id
        self.counts: dict[str, int] = {}
        for k, tensor in enumerate(_tensors(given)):
            self.add(f"input_{k}" if k else "input", "Placeholder", [], [tensor])
        for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
            self.made[id(parameter)] = name.replace(".", "/")
        self.parameters = {name: (id(p), tuple(p.shape)) for name, p in [*model.named_parameters(),
                                                                         *model.named_buffers()]}

    def add(self, name: str, kind: str, inputs: list[str], results: list[Tensor]) -> None:
        """One more node."""
        count = self.counts[name] = self.counts.get(name, 0) + 1
        name = name if count == 1 else f"{name}_{count - 1}"
        self.trace._nodes.append(OperationNode(name, kind, inputs, [tuple(t.shape) for t in results]))
        for k, tensor in enumerate(results):
            self.made[id(tensor)] = f"{name}:{k}" if k else name
        self.held.extend(results)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        with quiet():
            results = _tensors(result)
            if results and getattr(func, "__name__", "") != "__get__":
                if self.tracker.open:
                    part = self.tracker.open[-1][0]
                    part.flops += flops_of(func, args, kwargs, result)
                    place = part.path.replace(".", "/") + "/" if part.path else ""
                else:
                    place = ""
                inputs = []
                for tensor in _tensors((args, kwargs or {})):
                    name = self.made.get(id(tensor))
                    if name is not None:
                        inputs.append(name)
                        dotted = name.replace("/", ".")
                        if dotted in self.parameters and self.parameters[dotted][0] == id(tensor):
                            shape = self.parameters.pop(dotted)[1]
                            self.trace._nodes.append(OperationNode(name, "Parameter", [], [shape]))
                kind = getattr(func, "__name__", type(func).__name__)
                self.add(place + kind.strip("_"), kind, inputs, results)
        return result


def traced(model: Module, inputs: Any = (), kwargs: dict[str, Any] | None = None, timed: bool = False) -> Trace:
    """Call `model` once, as it is (train or eval), without gradients, and tell of it.

    Args:
        inputs: a tensor, or a tuple or list of arguments.
        kwargs: by name.
        timed: have every module's work done before it returns, and measured; the model is called five times then, once
            to have all compiled, and the fastest is told of. So a module's time is its own, but nothing is fused across
            modules.
    """
    args = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    from facula.autograd.modes import no_grad
    with no_grad():
        if timed:
            with _Tracker(model, Trace(), True):
                model(*args, **(kwargs or {}))
        if timed:
            # operations are heard in a call of their own: hearing takes time
            counted = traced(model, inputs, kwargs)
            tries = []
            for _ in range(3):
                trace = Trace()
                with _Tracker(model, trace, True):
                    trace.result = model(*args, **(kwargs or {}))
                tries.append(trace)
            trace = min(tries, key=lambda t: t.root.seconds or 0.0)
            trace._nodes = counted._nodes
            for (_, mine), (_, heard) in zip(trace.root.walk(), counted.root.walk(), strict=False):
                mine.flops = heard.flops
            return trace
        trace = Trace()
        tracker = _Tracker(model, trace, False)
        operations = _Operations(model, trace, tracker, (args, kwargs or {}))
        with tracker, operations:
            trace.result = model(*args, **(kwargs or {}))
        outputs = [operations.made[id(t)] for t in _tensors(trace.result) if id(t) in operations.made]
        trace._nodes.append(OperationNode("output", "Output", outputs, []))
    return trace


def kernels_of(call: Callable[[], Any]) -> list[dict[str, Any]]:
    """What `call` and the computing of its result run, kernel by kernel, the costliest first: title, seconds, bytes,
    flops. Run twice: the first time compiles."""
    records: list[dict[str, Any]] = []
    for _ in range(2):
        before = plan_log.exchange({})
        try:
            result = call()
            flush()
            del result
            records = plan_log.told()
        finally:
            plan_log.exchange(before)
    found = [{"title": kernel["title"], "seconds": kernel["ns"] * 1e-9, "bytes": kernel["bytes"],
              "flops": kernel["flops"]} for record in records for kernel in record["kernels"]]
    return sorted(found, key=lambda kernel: -float(kernel["seconds"]))


class Summary(str):
    """A model's table, printed as it stands. `trace.root` has the figures."""

    trace: Trace

    def __repr__(self) -> str:
        return str(self)


def summary(model: Module, input: Any = (), depth: int = 100, timed: bool = False, **kwargs: Any) -> Summary:
    """A table of a model's modules, as one call goes through them: shapes, parameters, operations, memory.

    Args:
        input: what it is called with: a tensor, or a tuple or list of arguments.
        depth: how deep into modules.
        timed: measure, too: see `traced`.
        kwargs: arguments by name.

    Example:
        >>> import facula
        >>> print(facula.summary(facula.nn.Sequential(facula.nn.Linear(4, 8)), facula.ones(2, 4)))
        Layer         Output shape  Parameters  Flops  Memory
        ------------  ------------  ----------  -----  ------
        (Sequential)        [2, 8]          40    128    64 B
          0 (Linear)        [2, 8]          40    128    64 B
        ------------  ------------  ----------  -----  ------
        parameters: 40 (40 trainable, 160 B), flops: 128, results: 64 B
    """
    trace = traced(model, input, kwargs, timed)
    root = trace.root
    rows = [["Layer", "Output shape", "Parameters", "Flops", "Memory", *(["Time"] if timed else [])]]
    for level, part in root.walk():
        if level <= depth:
            name = "  " * level + f"{part.path.rpartition('.')[2]} ({part.kind})".strip()
            rows.append([name + (" again" if part.again else ""), _shape_text(part.output),
                         f"{part.parameters:,}" if part.parameters else "-", _count(part.flops), _size(part.bytes),
                         *([f"{1e3 * (part.seconds or 0):.3f} ms"] if timed else [])])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    rule = "  ".join("-" * width for width in widths)
    lines = ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
             for row in rows]
    lines = [line.rstrip() for line in lines]
    size = sum(p.numel() * p.element_size() for p in {id(p): p for p in model.parameters()}.values())
    leaves = sum(part.bytes for _, part in root.walk() if not part.parts)
    found = Summary("\n".join([
        lines[0], rule, *lines[1:], rule,
        f"parameters: {root.parameters:,} ({root.trainable:,} trainable, {_size(size)}), flops: {_count(root.flops)}, "
        f"results: {_size(leaves)}"]))
    found.trace = trace
    return found


def _shape_text(shape: Any) -> str:
    if shape and isinstance(shape[0], tuple):
        return ", ".join(map(_shape_text, shape))
    return str(list(shape or ()))


def _count(number: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number:,}" if number else "-"


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"
