"""Recording: nodes that have been asked for and are not yet computed go on the session's list."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from operator import attrgetter
from typing import Any

from facula import config
from facula.dtypes import dtype
from facula.engine.graph.node import BUFFER, CONST, META, Node, Number, Primitive, elsewhere
from facula.engine.session import session

pending, lock = session.pending, session.lock
READY = frozenset((BUFFER, CONST))  # what is not to be computed
# Pending nodes after which `overflow` is asked. 0: every operation runs at its call.
LIMIT = 0 if config.EAGER.value else config.threshold("look_nodes")
MOST_BESIDE = config.threshold("pending_bytes")
SMALL = 4096  # bytes of an array that is not counted: what is pending has few of them
MOST = config.threshold("pending_nodes")  # pending nodes after which everything is computed, whatever it looks like


class _Above:
    """What recording needs of the files that stand on it, and that put it here."""

    flush: Callable[[], None]  # realize.py: compute what is pending
    held_of: Callable[[list[Node], int], bytes]  # trace/work.py: which nodes somebody holds
    place: Callable[..., Node | None]  # moving.py: `record`, if that is on another device
    devices_change: Callable[[], None]  # ops/listening.py: `session.devices` is another. May be said again
    check_write: Callable[[Any, Node], None]  # transforms/: may the tensor become the node, in place?
    detached: Callable[[Node], Node]  # transforms/: the same without tangents
    value_under: Callable[[Node], Node]  # transforms/: the node whose value is looked at for one that stands for it
    everything: Callable[[Node], Node]  # transforms/: the node of all the elements that one stands for, no tangents
    retyped: Callable[..., Node]  # transforms/: (node, dtype, how), what stands for others as that type
    shown: Callable[[Any], Any]  # transforms/: a tensor to be printed, and what is printed around it
    different: Callable[[], Any]  # transforms/: the level whose values each have random numbers of their own, or None


above = _Above()

_append = pending.append
_blank = object.__new__


def use_machine_code() -> None:
    """As signature.use_machine_code, which calls this."""
    from facula.engine.cpython import recording
    session.native = recording.recorder(Node, pending, overflow, session.due.buffer_info()[0], tested=True)
    _choose()


def _choose() -> None:
    """Machine code records what is on the cpu and under no transform."""
    with lock:
        session.plain = not session.devices and session.traced is None
        session.record = session.native if session.plain else None


def look_at_devices() -> None:
    """There is a value on another device: what is recorded may be, too."""
    if not session.devices:
        with lock:
            if not session.devices:
                session.devices = True
                try:
                    _choose()
                    above.devices_change()
                except BaseException:
                    session.devices = False  # the next one says it again
                    above.devices_change()
                    raise


def _elsewhere_no_more() -> None:
    with lock:
        if not elsewhere and session.devices:
            session.devices = False
            try:
                _choose()
                above.devices_change()
            except BaseException:
                session.devices = True
                above.devices_change()
                raise


def record(op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
           scalars: tuple[Number, ...] | None, shape: tuple[int, ...], of: dtype) -> Node:
    """A new pending node. Shapes and dtypes have been checked by the caller."""
    made = session.record
    if made is not None:
        return made(op, inputs, attrs, scalars, shape, of)  # type: ignore[no-any-return]
    if session.traced is not None:
        found = session.traced(op, inputs, attrs, scalars, shape, of)
        if found is not None:
            return found
    if elsewhere:
        placed = above.place(op, inputs, attrs, scalars, shape, of)
        if placed is not None:
            if placed.op is not META:
                _append(placed)
                if len(pending) > LIMIT:
                    overflow()
            return placed
    elif session.devices:
        _elsewhere_no_more()
    node = _blank(Node)
    node.op = op
    node.inputs = inputs
    node.attrs = attrs
    node.scalars = scalars
    node.shape = shape
    node.dtype = of
    node.buffer = node.slot = None
    _append(node)
    if len(pending) > LIMIT:
        overflow()
    return node


def overflow() -> None:
    """Much is pending. A loop that never asks for a value would grow a graph without end, so what is recorded is
    looked at for repetition: once there is some, a whole number of turns is computed, always the same number, so that
    the graph (and its plan) is the same each time. Looking takes time in proportion to what is pending, and is
    repeated when that has grown fourfold: a node costs the same, however many there are."""
    if len(pending) < session.look_at and LIMIT:
        return
    with lock:  # looking at nodes marks them
        if _enough():
            above.flush()


def taken(nodes: list[Node]) -> None:
    """`nodes`, a copy of what is pending, are computed by the caller and no more pending. Under the lock."""
    del pending[:len(nodes)]  # not clear(): another thread may have recorded meanwhile
    if session.late:
        on_time()


def put_back(nodes: list[Node], error: BaseException) -> None:
    """Something came in between (Ctrl-C, the exception of a signal handler): what of `nodes` has not been computed is
    pending again. An Exception may be about one of them, and would be raised for ever at the cost of the others: these
    wait for whoever asks for one of them (realize.py computes what leads to it). Under the lock."""
    if not isinstance(error, Exception):
        there = set(map(id, pending))
        pending[:0] = [node for node in nodes if node.op not in READY and id(node) not in there]
    nodes.clear()  # the traceback keeps this list, and what it holds would count as held


def on_time() -> None:
    """What was put off was so for nodes that are no more pending: to be called by who takes them, if `late`."""
    _put_off(session.start)


def _put_off(until: int) -> None:
    """Look again when so many nodes are pending."""
    session.look_at = until
    session.late = until != session.start
    session.due[0] = until - 1 if LIMIT else 0


def memory_made(nbytes: int) -> None:
    """There is so much more memory (an array, a copy on a device). What is pending may hold whatever has been made
    since it was recorded, and be small itself: a loop that keeps the `argmax` of each batch. So it is computed then."""
    try:
        oldest = id(pending[0])
    except IndexError:  # another thread has had it computed
        return
    if oldest != session.oldest:
        session.oldest, session.beside = oldest, 0
    session.beside += nbytes
    if session.beside > MOST_BESIDE and not lock._is_owned():  # type: ignore[attr-defined]  # not amid a walk or a run
        session.beside = 0
        above.flush()


def _start_at(count: int) -> None:
    """Look when so many nodes are pending, from the next on that have not been put off."""
    session.start = count
    session.late = session.look_at != count


_start_at(LIMIT + 1)
on_time()


def _enough() -> bool:
    """Shall what is pending be computed now?"""
    n = len(pending)
    if n < session.look_at and LIMIT:  # another thread has been here
        return False
    if not LIMIT or n >= MOST:
        return True
    known = session.period
    if known and 2 * known <= n and _again(pending[-2 * known:], known):
        return True
    period = session.period = repetition(pending[:], known)  # a copy: other threads go on recording
    if period:
        if period != known:
            _start_at(period * -(-(LIMIT + 1) // period))
        return True
    _start_at(LIMIT + 1)
    _put_off(min(4 * n, MOST))
    return False


_kind = attrgetter("op", "attrs", "shape")


def _again(nodes: list[Node], p: int) -> bool:
    """Are these two turns, of `p` nodes each, of a loop that leaves little behind? Held by this list and `pending`. As
    `repetition` with a known loop, without a look at all that is pending."""
    return 4 * sum(above.held_of(nodes, 2)[:p]) <= p and list(map(_kind, nodes[:p])) == list(map(_kind, nodes[p:]))


def repetition(nodes: list[Node], known: int) -> int:
    """The smallest number p such that the last 3 p nodes are three turns of a loop that leaves little behind; 0 if
    there is none. Of a loop that is `known` two turns are enough. The nodes are held by this list and `pending`.

    Layers of a network that is being trained repeat, too; but what they compute is held (by the tape), where the turns
    of a loop leave at most a quarter behind. Time in proportion to the number of nodes, whatever they are."""
    n = len(nodes)
    held = [0, *accumulate(above.held_of(nodes, 2))]
    little = [p for p in range(1, n // 3 + 1) if 4 * (held[n - p] - held[n - 2 * p]) <= p]
    if known and 2 * known <= n and 4 * (held[n - known] - held[n - 2 * known]) <= known:
        little.insert(0, known)
    if not little:
        return 0
    numbers: dict[object, int] = {}
    kinds = [numbers.setdefault((node.op, node.attrs, node.shape), len(numbers)) for node in reversed(nodes)]
    same = _agreement(kinds)
    return next((p for p in little if same[p] >= (p if p == known else 2 * p)), 0)


def _agreement(kinds: list[int]) -> list[int]:
    """For each p, how many elements agree with those p places on, from the first (the Z function: Gusfield 1997)."""
    n = len(kinds)
    same = [0] * n
    left = right = 0  # the match that reaches farthest
    for p in range(1, n):
        k = min(right - p, same[p - left]) if p < right else 0
        while p + k < n and kinds[k] == kinds[p + k]:
            k += 1
        same[p] = k
        if p + k > right:
            left, right = p, p + k
    return same
