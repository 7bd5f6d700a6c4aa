"""From the pending graph to values: key, plan (cached), run.

Everything pending that is still alive is computed at once, so nothing is computed twice; what died in the
meantime costs nothing. `sys.getrefcount` tells what is alive: a node that is referred to by more than the
other pending nodes is held by a tensor, by the tape, or by somebody's local variable.
"""

from __future__ import annotations

import time
import warnings
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from facula import config
from facula.engine.graph.node import BUFFER, CONST, Node, Number, size_of
from facula.engine.recorder import lock, pending
from facula.engine.runtime.buffer import Buffer, adopt, allocate

if TYPE_CHECKING:
    from facula.engine.runtime.cpu.plan import Plan

_plans: dict[tuple[object, ...], Plan | None] = {}
PLAN_LIMIT = 4096  # plans kept; the oldest goes first
_log: dict[int, dict[str, Any]] | None = None
_NOTHING: tuple[Node, ...] = ()


def flush() -> None:
    """Compute every live pending node."""
    if not pending:
        return
    with lock:
        nodes = pending[:]
        pending.clear()
        if nodes:
            _run(nodes)


def realize(node: Node) -> Buffer:
    """The memory of `node`, computing what is pending if need be."""
    buffer = node.buffer
    if buffer is not None:
        return buffer
    if node.op is CONST:
        return _materialise(node)
    flush()
    if node.buffer is None:  # it was recorded before somebody else's flush and is not pending any more
        with lock:
            _compute_alone(node)
    assert node.buffer is not None
    return node.buffer


def value_of(node: Node) -> np.ndarray:  # type: ignore[type-arg]
    """The elements as a NumPy array over the node's own memory: read it, do not keep or write it."""
    return realize(node).array(node.shape, node.dtype)


def _materialise(node: Node) -> Buffer:
    from facula.engine.runtime import interpreter
    with lock:
        buffer = allocate(size_of(node.shape) * node.dtype.itemsize)
        buffer.array(node.shape, node.dtype)[...] = interpreter.compute(node, [])
        _computed(node, buffer)
    return buffer


def _compute_alone(node: Node) -> None:
    """Walk back from a node that no flush has reached (its recording thread died half-way, say)."""
    order: list[Node] = []
    seen: set[int] = set()
    stack = [(node, False)]
    while stack:
        n, ready = stack.pop()
        if ready:
            order.append(n)
        elif n.buffer is None and n.op is not CONST and id(n) not in seen:
            seen.add(id(n))
            stack.append((n, True))
            stack.extend((i, False) for i in n.inputs)
    _run(order)


def _computed(node: Node, buffer: Buffer) -> None:
    node.buffer = buffer
    node.op = BUFFER
    node.inputs = _NOTHING
    node.attrs = node.scalars = None


def _run(nodes: list[Node]) -> None:
    uses = [0] * len(nodes)
    for i, node in enumerate(nodes):
        node.slot = i
        for source in node.inputs:
            if source.slot is not None:
                uses[source.slot] += 1
    # From the end: which are held from outside, and which does one of those need? (`source` must not linger:
    # it would count as a holder of the very next node.)
    needed = bytearray(len(nodes))
    held = bytearray(len(nodes))
    node = nodes[0]
    i = len(nodes)
    while i:
        i -= 1
        node = nodes[i]
        if getrefcount(node) - uses[i] > 3:  # the list, the local name, getrefcount's argument
            held[i] = needed[i] = 1
        if needed[i]:
            for source in node.inputs:
                if source.slot is not None:
                    needed[source.slot] = 1
            source = node
    parts: list[object] = []
    leaves: list[Node] = []
    numbers: list[Number] = []
    numbers_at: dict[Node, int] = {}
    order: list[Node] = []
    outputs: list[Node] = []
    constants: list[Node] = []
    written: list[Node] = []
    for i, node in enumerate(nodes):
        if not needed[i]:
            node.slot = None
            continue
        node.slot = len(order)
        order.append(node)
        parts += (node.op, node.attrs, node.shape, node.dtype, held[i])
        for source in node.inputs:
            slot = source.slot
            if slot is None:
                if source.op is CONST:
                    source.slot = slot = -1 - 2 * len(constants)
                    constants.append(source)
                    assert source.scalars is not None
                    numbers_at[source] = len(numbers)
                    numbers += source.scalars
                else:
                    source.slot = slot = -2 - 2 * len(leaves)
                    leaves.append(source)
                parts += (source.shape, source.dtype)
            parts.append(slot)
        if node.scalars:
            numbers_at[node] = len(numbers)
            numbers += node.scalars
        if held[i]:
            outputs.append(node)
        if node.op.kind in ("write", "scatter") and node.inputs[0].op is BUFFER:
            written.append(node.inputs[0])
    for node in order:
        node.slot = None
    for node in leaves:
        node.slot = None
    for node in constants:
        node.slot = None
    if not outputs:
        return
    del node, nodes
    donated = _donated(order, leaves, written) if written else frozenset()
    if donated:
        parts.append(tuple(leaves.index(d) for d in donated))
    _execute(tuple(parts), order, leaves, outputs, numbers, numbers_at, donated)


def _donated(order: list[Node], leaves: list[Node], written: list[Node]) -> frozenset[Node]:
    """Leaves that a WRITE may overwrite: nobody holds the node or its memory but this graph."""
    found = []
    for leaf in set(written):
        uses = sum(source is leaf for node in order for source in node.inputs)
        buffer = leaf.buffer
        # `leaves`, `written` (perhaps twice), the set, the local name, the argument
        if getrefcount(leaf) - uses - written.count(leaf) <= 4 and buffer is not None \
                and buffer.size_class and getrefcount(buffer) <= 3:
            found.append(leaf)
    return frozenset(found)


def _execute(key: tuple[object, ...], order: list[Node], leaves: list[Node], outputs: list[Node],
             numbers: list[Number], numbers_at: dict[Node, int], donated: frozenset[Node]) -> None:
    try:
        plan = _plans[key]
    except KeyError:
        plan = _build(order, leaves, outputs, numbers_at, donated)
        if len(_plans) >= PLAN_LIMIT:
            del _plans[next(iter(_plans))]
        _plans[key] = plan
    if plan is None:
        _interpret(order, outputs)
        return
    memory = [leaf.buffer for leaf in leaves]
    aliases = plan.aliases
    results: list[Buffer] = []
    for k, node in enumerate(outputs):
        if k in aliases:
            results.append(memory[aliases[k]])  # type: ignore[arg-type]
        else:
            results.append(allocate(size_of(node.shape) * node.dtype.itemsize))
    if any(type(x) is complex for x in numbers):
        numbers = list(numbers)
    if _log is None:
        plan.run(memory, numbers, results)  # type: ignore[arg-type]
    else:
        _logged(plan, memory, numbers, results)
    for node, buffer in zip(outputs, results, strict=False):
        _computed(node, buffer)


def _build(order: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int],
           donated: frozenset[Node]) -> Plan | None:
    """None: this machine, or the user, wants the interpreter."""
    if config.BACKEND.value == "interpreter":
        return None
    from facula.engine.runtime.cpu import target
    if not target.available():
        if config.BACKEND.value == "cpu":
            raise RuntimeError("FACULA_BACKEND=cpu, but llvmlite is not installed: pip install llvmlite")
        return None
    from facula.engine.compiler.pipeline import compile_plan
    from facula.engine.runtime.cpu.plan import Plan
    try:
        spec = compile_plan(order, leaves, outputs, numbers_at, donated, target.host().vector_bytes)
        return Plan(spec)
    except Exception as error:
        if config.DEBUG.value:
            raise
        warnings.warn(f"facula: the compiler failed on a graph of {len(order)} nodes ({error!r}); it runs on "
                      "the NumPy interpreter instead. Please report this; FACULA_DEBUG=1 shows where.",
                      RuntimeWarning, stacklevel=2)
        return None


def _interpret(order: list[Node], outputs: list[Node]) -> None:
    from facula.engine.runtime import interpreter
    values: dict[Node, Any] = {}

    def fetch(node: Node) -> Any:
        found = values.get(node)
        if found is None:
            found = interpreter.compute(node, []) if node.op is CONST else value_of(node)
        return found

    for node in order:
        values[node] = interpreter.compute(node, [fetch(source) for source in node.inputs])
    for node in outputs:
        array = values[node]
        if not isinstance(array, np.ndarray):
            continue  # a CALL: only its PICKs are values
        buffer = allocate(array.nbytes)
        buffer.array(node.shape, node.dtype)[...] = array
        _computed(node, buffer)


def _logged(plan: Plan, memory: list[Any], numbers: list[Number], results: list[Buffer]) -> None:
    assert _log is not None
    start = time.perf_counter()
    times = plan.run_timed(memory, numbers, results)
    record = _log.setdefault(id(plan), {"plan": plan, "runs": 0, "seconds": 0.0, "ns": [0] * len(times)})
    record["runs"] += 1
    record["seconds"] += time.perf_counter() - start
    record["ns"] = [a + b for a, b in zip(record["ns"], times, strict=False)]


def start_plan_log() -> None:
    """Measure every plan from now on, for `facula explain`."""
    global _log
    _log = {}


def plan_log() -> list[dict[str, Any]]:
    """What ran since `start_plan_log`: a record per plan, as cli/explain.py describes."""
    records = []
    for entry in (_log or {}).values():
        spec = entry["plan"].spec
        kernels = []
        for step, ns in zip(spec.steps, entry["ns"], strict=False):
            kernel = getattr(step, "kernel", None)
            kernels.append({
                "title": kernel.title or kernel.name if kernel else f"host: {step.op.name} ({step.reason})",
                "notes": list(getattr(step, "notes", ())), "tiles": getattr(step, "tiles", 1), "ns": ns,
                "bytes": getattr(step, "bytes", 0), "flops": getattr(step, "flops", 0)})
        records.append({"title": f"{len(spec.steps)} steps, {spec.leaves} leaves, {spec.outputs} outputs",
                        "runs": entry["runs"], "seconds": entry["seconds"], "refused": list(spec.notes),
                        "kernels": kernels})
    return records


def leaf(array: np.ndarray, shape: tuple[int, ...], of: Any) -> Node:  # type: ignore[type-arg]
    """A BUFFER node over the memory of a C-contiguous array."""
    node = Node(BUFFER, _NOTHING, None, None, shape, of)
    node.buffer = adopt(array)
    return node
