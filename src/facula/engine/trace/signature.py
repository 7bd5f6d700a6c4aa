"""The signature of a list of pending nodes: its structure as one key, by which it is known again.

A loop records the same graph each time around. `signature` describes a list of nodes in machine code (0.05 us a node);
`described` is the same walk for Pythons that take no builtins, and what that is compared with.

`getrefcount` tells what is alive (cpython/liveness.py measures what the counts mean): a node that is referred to by
more than the other pending nodes is held by a tensor, by the tape, or by somebody's local variable. The counts are
part of the signature, so equal signatures have equal lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, count
from operator import attrgetter
from typing import Any

from facula.dtypes import float32
from facula.engine import recorder
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, CALL, CONST, VIEW, WRITE, Node, Number
from facula.engine.session import session
from facula.engine.trace.kept import Key

_op, _attrs, _shape, _dtype = map(attrgetter, ("op", "attrs", "shape", "dtype"))
_inputs, _scalars = map(attrgetter, ("inputs", "scalars"))
_face = attrgetter("op", "shape", "dtype")
_asked = False


def use_machine_code() -> None:
    """From now on the walks run as builtins, where Python takes them. Called when the first kernels have been made:
    programs on the interpreter never load the machinery."""
    global _asked
    if not _asked:
        _asked = True
        from facula.engine.cpython import fingerprint
        session.describe = fingerprint.describer(Node, _describes_as_we_do)
        recorder.use_machine_code()


def signature(nodes: list[Node], extras: list[Node]) -> tuple[Key, list[Node], list[Number]]:
    """The structure of `nodes`; the nodes they (and `extras`) refer to that are not among them, in order of first
    appearance; the run-time numbers of both. Whoever calls this must hold the nodes by the same references each
    time. A key has addresses in it: whoever keeps one must keep the primitives alive (`Step.kept`)."""
    if session.describe is not None:
        leaves: list[Node] = []
        attrs: list[object] = []
        numbers: list[Number] = []
        text = session.describe(nodes, extras, leaves, attrs, numbers)
        if text is not None:
            return (text, *attrs), leaves, numbers
    return described(nodes, extras)


def _describes_as_we_do(describe: Callable[..., Any]) -> bool:
    """Does the builtin tell apart what `described` tells apart, and find the same leaves and numbers?"""
    a, b = (Node(BUFFER, (), None, None, shape, float32) for shape in ((2, 3), (3,)))
    one = Node(CONST, (), None, (1.5,), (), float32)

    def graphs() -> Iterator[tuple[list[Node], list[Node], object]]:
        for op, inputs, attrs, scalars, shape in (
                (VIEW, (a,), ((1, 2),), (0,), (3, 2)), (VIEW, (a,), ((1, 2),), (4,), (3, 2)),
                (VIEW, (a,), ((2, 1),), (0,), (3, 2)), (VIEW, (b,), ((1, 2),), (0,), (3, 2)),
                (WRITE, (a, b), ((1,),), (0,), (2, 3)), (WRITE, (b, a), ((1,),), (0,), (2, 3)),
                (WRITE, (a, a), ((1,),), (0,), (2, 3)), (CALL, (a, one), None, None, ())):
            first = Node(op, inputs, attrs, scalars, shape, float32)
            for later in ((), (first,), (first, b)):
                nodes = [first, Node(CALL, (a, *later), None, None, (2,), float32)]
                yield nodes, [], None
                yield nodes, [b, first], None
                yield nodes, [], first  # held once more

    seen = []
    for nodes, extras, held in graphs():
        leaves: list[Node] = []
        attrs: list[object] = []
        numbers: list[Number] = []
        text = describe(nodes, extras, leaves, attrs, numbers)
        key, twin_leaves, twin_numbers = described(nodes, extras)
        if list(map(id, leaves)) != list(map(id, twin_leaves)) or numbers != twin_numbers:
            return False
        seen.append(((text, *attrs), key))
        del held
    return all((mine == other) == (key == twin) for mine, key in seen for other, twin in seen)


def described(nodes: list[Node], extras: list[Node]) -> tuple[Key, list[Node], list[Number]]:
    """`signature`, in Python: C-level passes only."""
    counts = tuple(map(getrefcount, nodes))
    inputs = list(map(_inputs, nodes))
    read = [*chain.from_iterable(inputs), *extras]
    numbering = dict(zip(dict.fromkeys(chain(nodes, read)), count(), strict=False))
    leaves = list(numbering)[len(nodes):]
    key = (tuple(map(_op, nodes)), tuple(map(_attrs, nodes)), tuple(map(_shape, nodes)), tuple(map(_dtype, nodes)),
           counts, tuple(map(len, inputs)), tuple(map(numbering.__getitem__, read)), tuple(map(_face, leaves)))
    return key, leaves, numbers_of(nodes, leaves)


def numbers_of(nodes: list[Node], leaves: list[Node]) -> list[Number]:
    """The run-time numbers of `nodes`, then of the constants among `leaves`."""
    return [*chain.from_iterable(filter(None, map(_scalars, nodes))),
            *chain.from_iterable(filter(None, map(_scalars, leaves)))]


def primitives(nodes: list[Node], leaves: list[Node]) -> object:
    """What the addresses in a signature belong to, beside dtypes, which live for ever."""
    return tuple(map(_op, nodes)), tuple(map(_op, leaves))


def number_starts(nodes: list[Node], leaves: list[Node]) -> dict[int, int]:
    """id of a node -> where its numbers start in `numbers_of(nodes, leaves)`."""
    starts: dict[int, int] = {}
    at = 0
    for node in chain(nodes, leaves):
        if node.scalars:
            starts[id(node)] = at
            at += len(node.scalars)
    return starts
