"""From the pending graph to values: everything pending that is still alive is computed at once, so nothing is
computed twice; what died in the meantime costs nothing. trace/ knows what has been seen before."""

from __future__ import annotations

import atexit
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from facula.devices import CPU, device
from facula.devices import META as META_DEVICE
from facula.dtypes import bool_
from facula.engine import checks, plan_log, recorder
from facula.engine.checks import waiting
from facula.engine.graph.node import (
    ALL,
    BUFFER,
    CONST,
    MAX,
    META,
    VIEW,
    Node,
    Number,
    contiguous_strides,
    elsewhere,
    size_of,
)
from facula.engine.pieces import held_below, held_views, is_deferred, novelty, pieces_of, with_sources
from facula.engine.placing import running, upload
from facula.engine.preparing import new_step, of_its_kind, ready_for
from facula.engine.recorder import READY, SMALL, lock, pending
from facula.engine.runtime import interpreter
from facula.engine.runtime.buffer import Buffer, adopt
from facula.engine.session import session
from facula.engine.targets import PROCESSOR, target_of
from facula.engine.trace.arranged import arranged
from facula.engine.trace.kept import Key
from facula.engine.trace.signature import described, signature
from facula.engine.trace.step import Step, allocate_results, computed
from facula.engine.trace.work import held_of
from facula.size import Size

if TYPE_CHECKING:
    from facula.engine.targets.protocol import Program, Target

_NOTHING: tuple[Node, ...] = ()
_op = attrgetter("op")


def flush() -> None:
    """Compute every live pending node, and raise what the checks among them have found (checks.py)."""
    if pending:
        with lock:
            nodes = pending[:]  # `_compute`, written out: whoever asks for a value comes this way
            try:
                del pending[:len(nodes)]
                if session.late:
                    recorder.on_time()
                if elsewhere:
                    _run_elsewhere(nodes)
                if nodes:
                    run(nodes)
            except BaseException as error:
                recorder.put_back(nodes, error)
                raise
            del nodes  # or what was computed lived until the checks have been looked at
    if waiting:
        with lock:
            left = checks.left_behind(pending)
            if left:
                run_all(_closure(left))
        checks.settle()


def _compute() -> None:
    with lock:
        nodes = pending[:]
        try:
            recorder.taken(nodes)
            run_all(nodes)
        except BaseException as error:
            recorder.put_back(nodes, error)
            raise


def run_all(nodes: list[Node]) -> None:
    """Compute what is alive of `nodes`, wherever it is."""
    if elsewhere:
        _run_elsewhere(nodes)
    if nodes:
        run(nodes)


recorder.above.flush = _compute


@atexit.register
def _at_exit() -> None:
    if waiting:  # nobody has read what these are about; Python prints what they raise
        flush()


def expect(node: Node, judge: checks.Judge, *facts: Any) -> None:
    """Raise what `judge(element, *facts)` finds wrong with the one element of `node`, once that is computed."""
    looking()  # a backward pass that records this is walked each time: a replay would know nothing of it
    if session.traced is not None:  # within vmap it speaks for as many elements as there are values
        node = recorder.above.everything(node)
        if node.shape:
            worst = ALL if node.dtype is bool_ else MAX
            node = recorder.record(worst, (node,), (tuple(range(len(node.shape))),), None, Size(), node.dtype)
    checks.add(node, judge, facts)


def realize(node: Node) -> Buffer:
    """The memory of `node`, computing what is pending if need be."""
    session.looks += 1
    buffer = node.buffer
    if buffer is not None:
        if waiting:
            checks.look()
        return buffer
    if node.op is CONST:
        return _materialise(node)
    flush()
    if node.buffer is None:  # it was recorded before somebody else's flush and is not pending any more
        with lock:
            if node.buffer is None:  # nor has it been computed while we waited
                _compute_alone(node)
    assert node.buffer is not None
    return node.buffer


def looking() -> None:
    """To be called by what looks at values that it has remembered."""
    session.looks += 1


def value_of(node: Node) -> np.ndarray:
    """The elements as a NumPy array over the node's own memory: read it, do not keep or write it."""
    return realize(node).array(node.shape, node.dtype)


def at_hand(node: Node) -> np.ndarray | None:
    """As `value_of`, of what is in memory, a view of that, or a constant; None if anything had to be computed, or
    copied from another device."""
    if node.device is not CPU:
        return None
    if node.buffer is not None or node.op is CONST:
        return value_of(node)
    inputs, attrs, scalars = node.inputs, node.attrs, node.scalars  # before asking: others compute meanwhile
    if node.op is not VIEW or inputs[0].buffer is None:
        return None
    strides: Any = attrs[0]  # type: ignore[index]
    start: Any = scalars[0]  # type: ignore[index]
    flat, step = value_of(inputs[0]).reshape(-1), node.dtype.itemsize
    if strides == contiguous_strides(node.shape):
        return flat[start:start + size_of(node.shape)].reshape(node.shape)
    return np.lib.stride_tricks.as_strided(flat[start:], node.shape, [s * step for s in strides], writeable=False)


def all_of(node: Node) -> np.ndarray:
    """As `value_of`, to check something of every element: within vmap all of them, in a shape of its own."""
    return value_of(node if session.traced is None else recorder.above.everything(node))


def _materialise(node: Node) -> Buffer:
    with lock:
        computed(node, target_of(node.device).upload(interpreter.compute(node, [])))
    assert node.buffer is not None
    return node.buffer


def _compute_alone(node: Node) -> None:
    """A node that no flush has reached (its recording thread died half-way, say)."""
    if node.op.kind == "traced":
        node.buffer = realize(recorder.above.value_under(node))
        return
    if node.op is META:
        if not node.shape:
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    run_all(_closure([node, *checks.left_behind(pending)]))


def _closure(wanted: list[Node]) -> list[Node]:
    """What has to be computed for `wanted`, arguments first. A CALL is among it whenever a PICK comes after the flush
    that ran it: its tuple of results is not kept."""
    order: list[Node] = []
    seen: set[int] = set()
    stack = [(node, False) for node in reversed(wanted)]
    while stack:
        n, ready = stack.pop()
        if ready:
            order.append(n)
        elif n.op not in READY and id(n) not in seen:
            seen.add(id(n))
            stack.append((n, True))
            stack.extend((i, False) for i in n.inputs)
    return order


def run(nodes: list[Node], target: Target = PROCESSOR) -> None:
    """Compute what is alive of `nodes`, which lie on one device and which the caller holds in this list only. Under
    the lock."""
    session.looks += 1
    leaves: list[Node] = []
    numbers: list[Number] = []
    attrs: list[object] = []
    describe = session.describe  # `signature`, written out: whoever asks for a value comes this way
    text = None if describe is None else describe(nodes, [], leaves, attrs, numbers)
    key: Key = (text, *attrs)
    if text is None:
        key, leaves, numbers = described(nodes, [])
    if target is not PROCESSOR:
        key = target, *key
    step = session.seen.get(key)
    if step is None:
        if not READY.issuperset(map(_op, leaves)):
            run(_closure(leaves) + nodes, target)
            return
        arranged.met(nodes)
        step = of_its_kind(text, attrs, nodes, leaves) if text is not None and target is PROCESSOR else None
        if step is not None:
            session.seen.keep(key, step)
            run_step(step, nodes, leaves, numbers)
            return
        if target is PROCESSOR and novelty.in_pieces(key, nodes):
            del leaves
            views = held_views(nodes, held_of(nodes))
            _run_pieces(nodes, 0)
            while views:  # last: their readers have looked through them
                _run_piece(with_sources(views.pop()), 0)
            return
        step = new_step(target, nodes, leaves, held_of(nodes), text)
        session.seen.keep(key, step)
    elif not step.used:
        step.used = True
        novelty.met_again(nodes)
    if step.results:
        run_step(step, nodes, leaves, numbers)


def _run_pieces(nodes: list[Node], level: int) -> None:
    for piece in pieces_of(nodes, level):
        _run_piece(piece, level)
        piece.clear()


def _run_piece(nodes: list[Node], level: int) -> None:
    """As `run`, of a piece of a graph. What its readers look through is not computed, unless it is all there is."""
    key, leaves, numbers = signature(nodes, [])
    alone = all(map(is_deferred, nodes))
    key = alone, *key
    step = session.seen.get(key)
    if step is None:
        if not alone and novelty.goes_finer(nodes, level):
            del leaves
            _run_pieces(nodes, level + 1)
            return
        held, read_later = held_of(nodes), set[int]()
        if not alone:
            held, read_later = held_below(nodes, held)
        step = new_step(PROCESSOR, nodes, leaves, held)
        step.written = [(place, uses) for place, uses in step.written if id(leaves[place]) not in read_later]
        session.seen.keep(key, step)
    step.used = True
    if step.results:
        run_step(step, nodes, leaves, numbers)


def _run_elsewhere(nodes: list[Node]) -> None:
    """Run what lies on other devices, and leave the rest in the list."""
    groups: dict[device, list[Node]] = {}
    for k in range(len(nodes)):  # not over the nodes themselves: a reference that lasts would count as a holder
        if nodes[k].device is not CPU:
            groups.setdefault(nodes[k].device, []).append(nodes[k])
    if groups:
        nodes[:] = [node for node in nodes if node.device is CPU]
        while groups:
            place, group = groups.popitem()
            run(group, target_of(place))


def run_step(step: Step, nodes: list[Node], leaves: list[Node], numbers: list[Any]) -> None:
    """Compute what `step` says of `nodes`."""
    if step.only is not None:
        plan, recipe = step.only
        if recipe is not None and plan_log.records is None:
            results = list(map(step.allocate, step.sizes, step.classes))
            plan.execute(recipe, nodes, leaves, numbers, results)  # type: ignore[union-attr]  # None has no recipe
            return
    else:
        plan, recipe = ready_for(step, nodes, leaves)
    if plan is None:
        step.target.interpret([nodes[i] for i in step.order], [nodes[i] for i in step.results])
        return
    run_into(step, plan, recipe, nodes, leaves, numbers, allocate_results(step, plan, leaves), bool(step.written))


def run_into(step: Step, plan: Program, recipe: bytes | None, nodes: list[Node], leaves: list[Node], numbers: list[Any],
             results: list[Buffer], overwrites: bool) -> None:
    """Have `plan` (with its recipe) compute `nodes` as `step` says, into `results`. `overwrites`: that may be memory
    which it reads."""
    if recipe is not None and plan_log.records is None:
        plan.execute(recipe, nodes, leaves, numbers, results)
        return
    picked = [numbers[k] for k in step.picks]
    memory = step.memory(leaves)
    run = plan.start(memory, picked, results)
    try:
        if plan_log.records is None or not plan.timed:
            run()
        else:
            plan_log.run(plan, memory, picked, results)
        step.computed(nodes, results)
    except BaseException:
        if overwrites and plan_log.records is None:  # memory may have been: this cannot be run again, only on
            run()
            step.computed(nodes, results)
        raise


def leaf(array: np.ndarray, shape: tuple[int, ...], of: Any) -> Node:
    """A BUFFER node over the memory of a C-contiguous array; its copy on the device of the running operation, if that
    has elements and is not the cpu."""
    if elsewhere and running.device is not CPU and running.device is not META_DEVICE:
        return upload(running.device, array, shape, of)
    if pending and array.nbytes > SMALL:
        recorder.memory_made(array.nbytes)
    node = Node(BUFFER, _NOTHING, None, None, shape, of)
    node.buffer = adopt(array)
    return node
