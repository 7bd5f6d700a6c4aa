"""What a program puts together of elements that are at hand: rows written into zeros, masks, sequences padded, packed.

Such writes are recorded like everything else, and where the same come again they are part of one plan. But where data
decides which elements are written (the lengths of sequences, say), every batch makes another graph, and so does all
that is computed from it. Once several graphs that nobody has seen began with such writes, they are done at the call,
as NumPy would do them: what comes after begins with memory, and is known again. So are the rows of packed sequences,
always. Writes move bits: values stay the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.config import threshold
from facula.dtypes import bfloat16
from facula.engine.graph.node import BUFFER, CONST, VIEW, WRITE, Node, size_of
from facula.engine.realize import leaf
from facula.engine.recorder import READY, record
from facula.engine.runtime import interpreter
from facula.engine.session import session
from facula.engine.trace.arranged import arranged

MOST = threshold("arranged_bytes")


def written(base: Node, value: Node, strides: tuple[int, ...], offset: int) -> Node:
    """A WRITE of `value` at a region of `base`, or its result."""
    if arranged.at_once and session.plain and value.op in _AT_HAND and base.op in READY \
            and value.dtype is base.dtype:
        found = _result(base, value, strides, offset)
        if found is not None:
            return found
    return record(WRITE, (base, value), (strides,), (offset,), base.shape, base.dtype)


def picked(base: Node, index: Node, v: int, d: int) -> Node | None:
    """Rows `index` (int64) of `base` seen as (v, d), as memory, (*index.shape, d); None if they are not at hand. For
    rows that data decides on, of a batch that is packed, say: others are better off as part of what is computed."""
    if not session.plain or base.op not in _AT_HAND or index.op not in _AT_HAND:
        return None
    shape = (*index.shape, d)
    if max(size_of(shape), v * d) * base.dtype.itemsize > MOST:
        return None
    table, places = _elements(base), _elements(index)
    # a place that is not there is for those who compute to tell
    if table is None or places is None or not places.size or places.min() < 0 or places.max() >= v:
        return None
    # (what NumPy picks lies in no order that one could count on)
    return leaf(np.ascontiguousarray(table.reshape(v, d)[places]), shape, base.dtype)


_AT_HAND = frozenset((BUFFER, CONST, VIEW))


def _result(base: Node, value: Node, strides: tuple[int, ...], offset: int) -> Node | None:
    size = base.dtype.itemsize
    if size_of(base.shape) * size > MOST:
        return None
    source, memory = _elements(value), _elements(base)
    if source is None or memory is None:
        return None
    whole = np.array(memory).reshape(-1)
    np.ndarray(value.shape, whole.dtype, whole, offset * size, [s * size for s in strides])[...] = source
    return leaf(whole.reshape(base.shape), base.shape, base.dtype)


def _elements(node: Node) -> Any:
    """Those of memory that is there, a view of such, or a constant; not to be kept or written. None: not at hand."""
    buffer, op, inputs, attrs, scalars = node.buffer, node.op, node.inputs, node.attrs, node.scalars
    if buffer is not None:
        return buffer.array(node.shape, node.dtype)
    if op is CONST:
        if node.dtype is bfloat16:
            return interpreter.compute(node, [])
        return np.full(node.shape, scalars[0], node.dtype.numpy)  # type: ignore[index]
    if op is not VIEW or not inputs or not attrs or not scalars:  # or just computed
        return None
    if inputs[0].buffer is None or inputs[0].dtype is not node.dtype:
        return None
    flat = inputs[0].buffer.array((size_of(inputs[0].shape),), node.dtype)
    start: Any = scalars[0]
    steps: Any = attrs[0]
    size = node.dtype.itemsize
    return np.ndarray(node.shape, flat.dtype, flat, start * size, [s * size for s in steps])
