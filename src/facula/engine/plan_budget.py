"""How much a plan file may ask for. Its values' bytes and the work on them are counted from shapes, before anything
is allocated or computed: a file comes from anywhere, and a shape is quickly written.

The counts are those of the interpreter, which holds every value at once and every term of a formula; what machine
code needs is less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from facula.engine.graph.expr import LEAVES
from facula.engine.graph.node import CALL, Formula, Node, size_of
from facula.engine.graph.primitives import KINDS
from facula.engine.graph.primitives.kind import elements_read, moving
from facula.errors import PlanFileError

MOST_MEMORY = 4 << 30  # bytes
MOST_STEPS = 1 << 37  # of about a nanosecond: minutes
_COMPILING = 400_000  # steps to compile a node, at first
_TERM = 20_000  # and a term of its formula
_SLOW = {"lgamma": 1000, "digamma": 2000, "erf": 1000, "erfc": 1000, "erfinv": 500, "random_bits": 200}
_CUBIC = frozenset(("svd", "eigh", "qr", "inv", "det", "solve", "cholesky", "slogdet", "eig"))


def check(leaves: Iterable[Node], nodes: Iterable[Node]) -> None:
    """PlanFileError if all together ask for too much."""
    memory = steps = most = 0
    for leaf in leaves:
        memory += 2 * _bytes(leaf)
        most = max(most, 16 * size_of(leaf.shape))
        steps += 20 * size_of(leaf.shape)
    for node in nodes:
        own, work = cost(node)
        memory += 2 * _bytes(node)  # the interpreter's, and a temporary or result of the plan
        most = max(most, own)
        steps += _COMPILING + work
    if memory + most > MOST_MEMORY:
        raise PlanFileError(f"its values take {memory + most} bytes, of {MOST_MEMORY} that a plan file may ask for")
    if steps > MOST_STEPS:
        raise PlanFileError(f"it takes {steps} steps, of {MOST_STEPS} that a plan file may ask for")


def cost(node: Node) -> tuple[int, int]:
    """(bytes beside the result's own while it is computed, steps)."""
    size = size_of(node.shape)
    if isinstance(node.op, Formula):
        width = max([4, node.dtype.itemsize, *(i.dtype.itemsize for i in node.inputs)])
        terms = [e.fn for e in node.op.order if e.fn not in LEAVES]
        return size * width * (1 + len(terms)), _TERM * len(terms) + size * sum(_SLOW.get(fn, 10) for fn in terms)
    if node.op is CALL:
        return _routine(node, elements_read(node))
    kind = KINDS.get(node.op.kind)
    return kind.cost(node) if kind else moving(node)


def _routine(node: Node, read: int) -> tuple[int, int]:
    name, *arguments = node.attrs or ("",)
    shapes = [i.shape for i in node.inputs]
    if name in _CUBIC:
        if any(len(shape) < 2 for shape in shapes) or not shapes:
            raise PlanFileError(f"{node!r}: {name} of no matrix")
        batch = math.prod(np.broadcast_shapes(*(shape[:-2] for shape in shapes)))
        side = max(n for shape in shapes for n in shape[-2:])
        return 64 * batch * side ** 2, batch * (50 * side ** 3 + _TERM)
    if name == "fft" and shapes:
        length = next((n for n in arguments[1:2] if type(n) is int), 0)
        lanes = read // max(min(shapes[0], default=1), 1)
        size = max(read, lanes * max(length, 0))
        return 64 * size, 100 * size * (1 + size.bit_length())
    size = math.prod(np.broadcast_shapes(*shapes))
    return 64 * (read + size), 5000 * (read + size) + 20 * read * (1 + read.bit_length())


def check_degrees(node: Node, arrays: list[Any]) -> None:
    """A polynomial of degree n is computed in n steps: what the values of a file ask for, not its shapes."""
    if node.op is not CALL or len(arrays) < 2 or "_polynomial_" not in str((node.attrs or ("",))[-1]):
        return
    degrees = np.asarray(arrays[1], np.float64)
    most = float(np.max(degrees[np.isfinite(degrees)], initial=0.0))
    if 100 * most * (1 + max(np.size(a) for a in arrays)) > MOST_STEPS:
        raise PlanFileError(f"{node!r}: a polynomial of degree {most:g}")


def _bytes(node: Node) -> int:
    return size_of(node.shape) * node.dtype.itemsize
