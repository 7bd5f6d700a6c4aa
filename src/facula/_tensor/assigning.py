"""Overwriting a tensor's elements, which all of its aliases see, without history and with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.cells import Storage
from facula._tensor.handle import Tensor, device_of, inferred, strides_of, strides_offset
from facula._tensor.layout import dense_order, seen_in
from facula._tensor.reading import covers, leaf_beside, memory_of, read, retyped, strided, view_node
from facula._tensor.refusing import refuse_leaf, refuse_repeats, refuse_write
from facula._tensor.tape import edge_of, place_of, refresh, rules, zero_gradients
from facula.autograd.graph import Rule, grad_node, mode
from facula.devices import META as META_DEVICE
from facula.engine import moving, recorder
from facula.engine.arranging import written
from facula.engine.graph.node import Node, contiguous_strides, elsewhere, size_of
from facula.engine.realize import value_of
from facula.engine.regions import scattered
from facula.engine.session import session
from facula.engine.threads import others


def assign(t: Tensor, node: Node, alone: bool = False) -> None:
    """Overwrite the elements of `t` with `node` (same shape and dtype): every alias sees it. No autograd.

    `alone`: as for `read_view`. Who has read `t` for it has taken the lock before (engine/threads.py)."""
    if others and not alone:
        with session.lock:
            assign(t, node, True)
        return
    storage = t._storage
    if not session.plain:
        place = device_of(t)
        if node.device is not place:
            node = moving.moved(node, place)
        if place is META_DEVICE:
            _count_write(t, storage)
            return
        if session.traced is not None:
            recorder.above.check_write(t, node)
    if storage is None:
        t._node = node
        t._seen += 1
        return
    if storage.shared and storage.pinned():
        np.copyto(strided(t), value_of(node))
        storage.version += 1
        return
    base = storage.node
    shape = t.shape
    if node.op.kind == "scatter" and (whole := scattered(base, node, t._strides, t._offset)) is not None:
        storage.node = whole
        storage.version += 1
        t._cached = None  # held, the region's value would be computed beside the memory
        t._seen = -1
        return
    if t.dtype is not base.dtype:
        array = np.array(value_of(base)).reshape(-1)
        view = np.lib.stride_tricks.as_strided(
            retyped(array, t.dtype)[t._offset:], shape, [s * t.dtype.itemsize for s in t._strides])
        view[...] = value_of(node)
        storage.node = leaf_beside(base, array.reshape(base.shape), base.shape, base.dtype)
    elif t._offset == 0 and size_of(shape) == size_of(base.shape) and t._strides == contiguous_strides(shape):
        storage.node = node if shape == base.shape else view_node(
            node, base.shape, contiguous_strides(base.shape), 0, base.dtype)
    elif 0 in shape:
        pass
    elif t._offset == 0 and (order := covers(t, base)) is not None:
        storage.node = view_node(node, *seen_in(shape, contiguous_strides(shape), order), 0, base.dtype)
        storage.version += 1
        t._cached = None  # held, it would be computed beside the memory
        t._seen = -1
        return
    else:
        # the base's old node must not be held here any longer than needed: then the write is in place
        t._cached = None
        t._seen = -1
        storage.node = written(base, node, t._strides, t._offset)
    storage.version += 1
    if t.dtype is storage.node.dtype and storage.node.shape != shape:
        t._cached = node
        t._seen = storage.version


def put_memory(t: Tensor, node: Node) -> None:
    """Overwrite the elements of `t`, which `memory_of` has a node of, with one that is laid out like that."""
    storage = t._storage
    if storage is None:
        t._node = node
        t._seen += 1
    else:
        storage.node = node
        storage.version += 1
        t._cached = None
        t._seen = -1


def take_elements(t: Tensor, result: Tensor, alone: bool = False) -> None:
    """`assign` of another tensor's elements, of the same shape and dtype: memory laid out alike is taken as it is."""
    if others and not alone:
        with session.lock:
            take_elements(t, result, True)
        return
    if t._storage is not None and result._storage is not None and t._strides == result._strides and not elsewhere \
            and session.traced is None and memory_of(t) is not None and (node := memory_of(result)) is not None:
        put_memory(t, node)
    else:
        assign(t, read(result), True)


def _count_write(t: Tensor, storage: Storage | None) -> None:
    """`assign` to a meta tensor, which takes any value and stays what it is."""
    if storage is None:
        t._seen += 1
    else:
        storage.version += 1


def update(t: Tensor, result: Tensor, alone: bool = False) -> Tensor:
    """`t` becomes `result` in place (same shape; cast to t's dtype by the caller), history included. `alone`: as for
    `assign`."""
    if others and not alone:
        with session.lock:  # before `result` is read: `x[0] += 1` ends with x[0] written to itself
            return update(t, result, True)
    if inferred:
        refuse_write(t)
    if t._storage is not None and 0 in t._strides:
        refuse_repeats(t)
    base = t._base
    history = mode.grad and (result._rg or t._rg or base is not None and base._rg)
    if history:
        refuse_leaf(t)
    if history and base is not None:
        order, retyped_view = dense_order(base.shape, strides_of(base)), t.dtype is not base.dtype
        if order is None or retyped_view and strides_of(base) != contiguous_strides(base.shape):
            # write_rule's geometry is that of a dense base, retyped_write's of a row-major one
            raise NotImplementedError(
                "in-place operation on a view, under autograd: its base must be dense, and contiguous if it is of "
                f"another dtype; got strides {strides_of(base)} and {base.dtype}. Write to a clone of it instead.")
        edges = (edge_of(base), edge_of(result))
        at = strides_offset(base)
        geometry: tuple[Any, ...]
        if retyped_view:
            at = at * base.dtype.itemsize // t.dtype.itemsize
            geometry = (t.shape, t._strides, t._offset - at, base.shape)
        else:
            geometry = (t.shape, t._strides, t._offset - at, base.shape, order)
        take_elements(t, result, True)
        rule = rules.retyped_write if retyped_view else rules.write
        place_of(base, grad_node(rule, edges, geometry, (base.shape, t.shape), (base.dtype, t.dtype)))
        base._rg = True
        base._grad_version = t._storage.version
        t._grad_version = -1
        refresh(t)
        return t
    edge = edge_of(result if result._rg else t) if history else None
    take_elements(t, result, True)
    if history and result._rg:
        assert edge is not None
        if isinstance(edge, Tensor):
            place_of(t, grad_node(rules.alias, (edge,), (), (t.shape,), (t.dtype,)))
        elif isinstance(edge, tuple):
            place_of(t, *edge)
        else:
            place_of(t, edge)
        t._rg = True
    elif history:  # the old value no longer counts: its gradient is zero
        place_of(t, grad_node(_OVERWRITTEN, (edge,), (), (t.shape,), (t.dtype,)))
    return t


_OVERWRITTEN = Rule("FillBackward0", zero_gradients)
