"""The value of a tensor: as a node, in another order of its dimensions, as a NumPy array; and its layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.cells import FOR_GOOD, Storage
from facula._tensor.handle import Tensor, laid, new, share, strides_of
from facula._tensor.layout import Layout, dense_order, is_row_major, of_order, preserved, seen_from, seen_in
from facula.autograd import graph
from facula.devices import CPU
from facula.dtypes import dtype, float32
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, CONST, META, VIEW, Node, contiguous_strides, inside, size_of
from facula.engine.placing import constant_like, meta_node, upload
from facula.engine.realize import leaf, value_of
from facula.engine.recorder import record
from facula.engine.session import session
from facula.engine.threads import others

# The count up to which a storage is held by one tensor alone. Measured at the end of this page.
_LONE_STORAGE = liveness.UNKNOWN


def restored(node: Node, edge: Any, requires_grad: bool) -> Tensor:
    """A saved value as a tensor again, with its place on the tape."""
    if isinstance(edge, Tensor) and edge._storage is None and edge._node is node:
        return edge
    t = new(node)
    t._rg = requires_grad
    if type(edge) is tuple:
        t._grad_fn, t._output_nr = edge
    else:
        t._grad_fn = edge
    return t


def restored_in(node: Node, order: tuple[int, ...], shape: tuple[int, ...], edge: Any, requires_grad: bool) -> Tensor:
    """As `restored`, of a value that was read by `read_in`."""
    t = laid(node, shape, seen_from(node.shape, order, len(shape)))
    t._rg = requires_grad
    if type(edge) is tuple:
        t._grad_fn, t._output_nr = edge
    else:
        t._grad_fn = edge
    return t


graph.restored, graph.restored_in = restored, restored_in


def read(t: Tensor) -> Node:
    """The current value of `t`: contiguous, of its shape and dtype."""
    node = t._node
    return node if node is not None else read_view(t)


def read_view(t: Tensor, alone: bool = False) -> Node:
    """The value of a tensor that shares its elements with others. `alone`: under the lock, or the only thread."""
    if others and not alone:
        with session.lock:  # what is remembered, and of which version, are two things
            return read_view(t, True)
    storage = t._storage
    if not storage.shared:
        node = storage.node
        if t.shape == node.shape and t.dtype is node.dtype and t._strides == contiguous_strides(t.shape):
            if getrefcount(storage) <= _LONE_STORAGE and not others:  # all aliases are gone, and none is being made
                t._node = node
                t._seen = storage.version
                t._storage = t._cached = None
            return node  # type: ignore[no-any-return]
    if storage.shared and storage.pinned():
        # The other side may write at any time: take the elements now.
        node = storage.node
        whole = t.shape == node.shape and t.dtype is node.dtype and t._strides == contiguous_strides(t.shape)
        array = np.array(value_of(node) if whole else strided(t), copy=True, order="C")
        t._seen = -1
        return leaf(array, t.shape, t.dtype)
    if t._seen == storage.version:
        return t._cached  # type: ignore[no-any-return]
    node = view_node(storage.node, t.shape, t._strides, t._offset, t.dtype)
    t._cached = node
    t._seen = storage.version
    return node


def read_in(t: Tensor, order: tuple[int, ...]) -> Node:
    """The current value of `t` with its dimensions in `order`; where that is the order of its memory, nothing moves.
    Of fewer dimensions than `order` has, the first are of length 1."""
    storage = t._storage
    if storage is None:
        node, strides, offset = t._node, contiguous_strides(t.shape), 0
    elif storage.shared and storage.pinned():
        node, strides, offset = read_view(t), contiguous_strides(t.shape), 0
    else:
        node, strides, offset = storage.node, t._strides, t._offset
    return view_node(node, *seen_in(t.shape, strides, order), offset, t.dtype)


def kept(t: Tensor) -> tuple[Node, tuple[int, ...] | None]:
    """What to keep of the current value of `t`: a node, and the order of the dimensions in it (None: row-major)."""
    storage = t._storage
    if storage is not None and not storage.shared and t._strides != contiguous_strides(t.shape) \
            and memory_of(t) is not None:
        order = dense_order(t.shape, t._strides)
        if order is not None and not is_row_major(t.shape, t._strides):
            return read_in(t, order), order
    return read(t), None


def copied(t: Tensor, layout: Layout | None) -> Tensor:
    """The current value of `t` as a fresh tensor of that layout, without history."""
    if layout is None:
        return new(read(t))
    return laid(read_in(t, layout[0]), t.shape, layout[1])


def lay(t: Tensor, layout: Layout | None) -> Tensor:
    """Have the elements of `t`, a result that nobody else holds yet, lie in that layout. Returns `t`."""
    if (layout[1] if layout else contiguous_strides(t.shape)) == strides_of(t):
        return t
    if layout is None:
        t._node = read_view(t)
        t._storage = t._cached = None
        t._seen = 0
    else:
        t._storage = Storage(read_in(t, layout[0]), 0, False)
        t._node = t._cached = None
        t._strides = layout[1]
        t._offset = 0
        t._seen = -1
    t._base = None
    return t


def lay_in(t: Tensor, order: tuple[int, ...]) -> Tensor:
    """`lay`, with the dimensions in that order."""
    return lay(t, of_order(t.shape, order))


def share_nothing(t: Tensor, x: Tensor) -> None:
    """Let `t` have the strides and offset of `x`, in a memory of its own that has the same elements."""
    t._storage = Storage(x._storage.node, 0, False)
    t._node = t._cached = None
    t._strides, t._offset = x._strides, x._offset
    t._seen = -1


def layout_of(t: Tensor) -> Layout | None:
    """The layout of a copy of `t` that preserves its own."""
    return None if t._storage is None else preserved(t.shape, t._strides)


def retyped(flat: np.ndarray, of: dtype) -> np.ndarray:
    """The bytes of a flat array as elements of another type. Bytes at the end that make no whole one are left out."""
    bytes_ = flat.view(np.uint8)
    return bytes_[:bytes_.size // of.itemsize * of.itemsize].view(of.numpy)


def leaf_beside(node: Node, array: np.ndarray, shape: tuple[int, ...], of: dtype) -> Node:
    """The elements of an array, on the device of `node`."""
    return leaf(array, shape, of) if node.device is CPU else upload(node.device, array, shape, of)


def view_node(base: Node, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0,
              of: dtype | None = None, fixed: bool = False) -> Node:
    """`base` seen through (shape, strides, offset); `of` another dtype than its own reads the memory as that.
    `fixed`: the offset is part of the node's structure (engine/graph/node.py)."""
    if of is not None and of is not base.dtype:  # view(dtype) and view_as_real
        if base.op is META:
            return meta_node(shape, of)
        base = _flat(base, of) if session.traced is None else recorder.above.retyped(base, of, _flat)
    if offset == 0 and shape == base.shape and (not strides or strides[-1] == 1) \
            and strides == contiguous_strides(shape):  # the last stride first: of square matrices turned round it tells
        return base
    if base.op is CONST:
        return constant_like(base, shape)
    if fixed:
        return record(VIEW, (base,), (strides, offset), None, shape, base.dtype)
    return record(VIEW, (base,), (strides,), (offset,), shape, base.dtype)


def _flat(base: Node, of: dtype) -> Node:
    """The bytes of `base` as a vector of another type."""
    array = retyped(value_of(base).reshape(-1), of)
    return leaf_beside(base, np.array(array), (array.size,), of)


def strided(t: Tensor) -> np.ndarray:
    """The elements of `t` as a NumPy array over the storage's own memory."""
    storage = share(t)
    flat = storage.memory()
    if t.dtype is not storage.node.dtype:
        flat = retyped(flat, t.dtype)
    if storage.shared is FOR_GOOD and not inside(t.shape, t._strides, t._offset, flat.size):  # it has become smaller
        raise RuntimeError(f"a tensor of sizes {list(t.shape)}, strides {list(t._strides)} and storage offset "
                           f"{t._offset} is out of bounds for storage of size {flat.nbytes}")
    step = t.dtype.itemsize
    return np.lib.stride_tricks.as_strided(flat[t._offset:], t.shape, [s * step for s in t._strides])


def elements(t: Tensor) -> np.ndarray:
    """As `strided`, of a tensor that may have no storage and is given none. To be read at once."""
    node = t._node
    return value_of(node).reshape(t.shape) if node is not None else strided(t)


def covers(t: Tensor, base: Node) -> tuple[int, ...] | None:
    """The order in which `t`, which begins where its memory `base` does, lies there; None if it is not all of it."""
    return dense_order(t.shape, t._strides) if size_of(t.shape) == size_of(base.shape) else None


def memory_of(t: Tensor) -> Node | None:
    """The node of the elements of `t` in the order of their memory, if that holds no others."""
    storage = t._storage
    if storage is None:
        return t._node  # type: ignore[no-any-return]
    node = storage.node
    if storage.shared or t._offset or t.dtype is not node.dtype or covers(t, node) is None:
        return None
    return node  # type: ignore[no-any-return]


def _storage_is_free(held: bool) -> bool:
    node = Node(BUFFER, (), None, None, (), float32)
    t = new(node)
    t._node = None
    t._strides, t._offset, t._cached = (), 0, None
    t._storage = Storage(node, 0, False)
    other = t._storage if held else None
    several = others[:]  # imported by a program that has threads: with them no storage is taken back, so none tells
    others.clear()       # what counts mean here. None of them is in here: we are being imported
    try:
        read_view(t)
    finally:
        others.extend(several)
    del other
    return t._storage is None


liveness.calibrate(globals(), "_LONE_STORAGE", _storage_is_free)
