"""Tensor: what the user holds. Storage: the cell that tensors which alias each other share.

A fresh result holds its node directly (`_node`), and no Storage exists. When a second tensor comes to share
its elements (a view, detach, `.data`, NumPy), `share` makes the Storage and both refer to it with strides
and an offset. Methods are attached by `ops/registry.py` and `_tensor/methods.py`; this page has only what
the recording path stands on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from facula._tensor.layout import (
    Layout,
    dense_order,
    is_row_major,
    of_order,
    partly_shared,
    preserved,
    seen_from,
    seen_in,
    shared,
)
from facula.autograd import graph
from facula.autograd.graph import GradNode, Rule, Saved, grad_node, mode, next_seq
from facula.devices import CPU, device
from facula.devices import META as META_DEVICE
from facula.dtypes import FLOAT, dtype, float32
from facula.engine import moving, recorder
from facula.engine.arranging import written
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import (
    BUFFER,
    CONST,
    META,
    VIEW,
    Node,
    contiguous_strides,
    elsewhere,
    inside,
    size_of,
)
from facula.engine.placing import constant_like, constant_node, meta_node, upload
from facula.engine.realize import leaf, realize, value_of
from facula.engine.recorder import record
from facula.engine.runtime.buffer import Buffer
from facula.engine.session import session
from facula.engine.threads import others, turn
from facula.size import Size

if TYPE_CHECKING:
    from facula._tensor.types import Declared
else:
    Declared = object


# Counts up to which what is looked at is held by nobody else. Measured at the end of this page.
_LONE_MEMORY = _LONE_OWNER = _LONE_STORAGE = liveness.UNKNOWN


# Has an entry once there has been an inference tensor (_tensor/inference.py): until then nothing asks for one.
inferred: list[None] = []
FOR_GOOD = 2  # as `Storage.shared`: there is an address of the memory about, which counts no references
# What `Storage.version` grows by when somebody outside may have written: no write that a program can count.
OUTSIDE = 1 << 40


class Storage:
    """A mutable cell: `node` is the newest value of all its elements, `version` counts the writes (modulo OUTSIDE)."""

    __slots__ = ("node", "version", "shared", "__weakref__")

    def __init__(self, node: Node, version: int, shared: int) -> None:
        self.node = node
        self.version = version
        self.shared = shared  # its memory has been handed to NumPy, or came from there

    def pinned(self) -> bool:
        """Does somebody outside hold the memory? Then it may change at any time: it is read and written at calls."""
        if not self.shared:
            return False
        if self.shared is FOR_GOOD or self.held():
            return True
        with turn():  # another thread may be writing, or taking another array at this moment
            if self.shared is FOR_GOOD or self.shared and self.held():
                return True
            if self.shared:
                self.shared = False  # the array is gone: an ordinary storage again
                self.forget()
        return False

    def held(self) -> bool:
        """Of a storage whose memory was handed out, or came from outside: does somebody hold it?"""
        buffer = self.node.buffer
        if buffer is None:
            return False
        if getrefcount(buffer) > _LONE_MEMORY:
            return True
        owner = buffer.owner
        return not buffer.size_class and owner is not None and (
            owner.base is not None or getrefcount(owner) > _LONE_OWNER)

    def forget(self) -> None:
        """Nothing that has been remembered of the memory counts any more: neither values seen through it, by any of
        the tensors that share it, nor what the node knows of its elements (`Node.range`)."""
        old = self.node
        node = Node(BUFFER, (), None, None, old.shape, old.dtype)
        node.buffer = old.buffer
        self.node = node
        self.version += OUTSIDE

    def memory(self) -> np.ndarray:
        """All elements, as a 1-D array over the memory itself."""
        node = self.node
        realize(node)
        return value_of(node).reshape(-1)


class Tensor(Declared):
    """An n-dimensional array of one dtype. See `facula.tensor` to make one."""

    __slots__ = ("_node", "shape", "dtype", "_rg", "_grad_fn", "_storage", "_strides", "_offset", "_seen",
                 "_cached", "_base", "_grad_version", "__weakref__", "__dict__")

    # Rare state: class-level defaults, overridden in an instance's __dict__
    _grad: Any = None
    _output_nr = 0
    _hooks: Any = None
    _retains = False
    _inference = False

    __hash__ = object.__hash__


def device_of(t: Tensor) -> device:
    """Where the elements of `t` are."""
    return (t._node or t._storage.node).device  # type: ignore[no-any-return]


def is_meta(t: Tensor) -> bool:
    """Is `t` on the meta device: a shape and a dtype, no elements?"""
    return (t._node or t._storage.node).op is META


blank = object.__new__
_size = tuple.__new__


def new(node: Node) -> Tensor:
    """A fresh tensor that holds `node`."""
    t = blank(Tensor)
    t._node = node
    shape = node.shape
    t.shape = shape if type(shape) is Size else _size(Size, shape)
    t.dtype = node.dtype
    t._rg = False
    t._grad_fn = t._storage = t._base = None
    t._seen = 0
    return t


def laid(node: Node, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """A fresh tensor of another layout than row-major: `node` has its elements in the order of their memory."""
    t = blank(Tensor)
    t._node = None
    t._storage = Storage(node, 0, False)
    t.shape = shape if type(shape) is Size else _size(Size, shape)
    t.dtype = node.dtype
    t._rg = False
    t._grad_fn = t._base = t._cached = None
    t._strides = strides
    t._offset = 0
    t._seen = -1
    return t


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


def share(t: Tensor, alone: bool = False) -> Storage:
    """The Storage of `t`, made now if there was none. `alone`: as for `read_view`."""
    storage = t._storage
    if storage is None:
        if others and not alone:
            with session.lock:
                return share(t, True)
        storage = Storage(t._node, t._seen, False)
        t._strides = contiguous_strides(t.shape)
        t._offset = 0
        t._cached = t._node
        t._seen = storage.version
        t._storage = storage  # now: another thread may look
        t._node = None
    return storage  # type: ignore[no-any-return]


def strides_of(t: Tensor) -> tuple[int, ...]:
    return t._strides if t._storage is not None else contiguous_strides(t.shape)


def alias(t: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int,
          of: dtype | None = None) -> Tensor:
    """A new tensor over the same elements, without history. (offset is within the storage.)"""
    out = blank(Tensor)
    out._storage = share(t)
    out._node = None
    out.shape = shape if type(shape) is Size else _size(Size, shape)
    out.dtype = of or t.dtype
    out._rg = False
    out._grad_fn = out._base = None
    out._strides = strides
    out._offset = offset
    out._seen = -1
    if inferred and t._inference:
        out._inference = True
    return out


# ---- in-place -----------------------------------------------------------------------------------------


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
    elif t._offset == 0 and (order := _covers(t, base)) is not None:
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


def _covers(t: Tensor, base: Node) -> tuple[int, ...] | None:
    """The order in which `t`, which begins where its memory `base` does, lies there; None if it is not all of it."""
    return dense_order(t.shape, t._strides) if size_of(t.shape) == size_of(base.shape) else None


def memory_of(t: Tensor) -> Node | None:
    """The node of the elements of `t` in the order of their memory, if that holds no others."""
    storage = t._storage
    if storage is None:
        return t._node  # type: ignore[no-any-return]
    node = storage.node
    if storage.shared or t._offset or t.dtype is not node.dtype or _covers(t, node) is None:
        return None
    return node  # type: ignore[no-any-return]


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


# ---- autograd -----------------------------------------------------------------------------------------


class _Rules:
    """Gradient rules of views and of writes through them. They are made of operations, which stand above:
    ops/view/regions.py and ops/view/views.py put them here."""

    as_strided: Rule
    write: Rule
    retyped_view: Rule  # of a complex base through its real numbers, or the other way round: ops/view/dtype_views.py
    retyped_write: Rule
    alias: Rule


rules = _Rules()


def edge_of(t: Tensor) -> Any:
    """Where a gradient with respect to `t` goes: None if it needs none."""
    if not t._rg and t._base is None:
        return None
    if t._base is not None:
        refresh(t)
        if not t._rg:
            return None
    grad_fn = t._grad_fn
    if grad_fn is None:
        return t
    return grad_fn if not t._output_nr else (grad_fn, t._output_nr)


def refresh(t: Tensor) -> None:
    """A view whose base has been written since: its history is now a view of the base's new history."""
    base = t._base
    if base is None or t._storage is None or t._grad_version == t._storage.version:
        return
    if t._grad_fn is not None and not (t._storage.version - t._grad_version) % OUTSIDE:
        return  # an array is gone: its history is what it was, and has its hooks
    if t._grad_version < -1:
        _refuse_stale(t, base)
        return
    if base._rg and base._grad_fn is not None:
        place_of(t, grad_node(
            rules.as_strided if t.dtype is base.dtype else rules.retyped_view, (edge_of(base),),
            (base.shape, strides_of(base), base._offset, t.shape, t._strides, t._offset), (base.shape,),
            (base.dtype,)))
        t._rg = True
    t._grad_version = t._storage.version


def off_tape(version: int) -> int:
    """`_grad_version` of a view that is made while nothing is recorded: it never follows its base's history."""
    return -2 - 2 * version - mode.inference


def _of_two_modes(t: Tensor, what: str) -> RuntimeError:
    """A view was made off the tape, and `what` happens on it."""
    made, block, now = ("inference mode", "inference_mode", "in normal mode") if t._grad_version & 1 else (
        "no_grad mode", "no_grad", "with grad mode enabled")
    return RuntimeError(f"A view was created in {made} and {what} modified inplace {now}. Given that this use case is "
                        "ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view "
                        f"and the inplace either both inside the {block} block (if you don't want the inplace to be "
                        "tracked) or both outside (if you want the inplace to be tracked).")


def _refuse_stale(t: Tensor, base: Tensor) -> None:
    """A view from outside the tape, whose base has gone on since, has two histories."""
    if mode.grad and base._rg and base._grad_fn is not None \
            and (t._storage.version - (-2 - t._grad_version >> 1)) % OUTSIDE:
        raise _of_two_modes(t, "its base or another view of its base has been")


def place_of(t: Tensor, step: GradNode, number: int = 0) -> None:
    """The history of `t` is now `step`: what `retain_grad` is to store goes along."""
    if t._retains:
        old = t._grad_fn
        kept = (old._cold or {}).get("retain") if old is not None else None
        reference = kept.pop((t._output_nr, id(t)), None) if kept else None
        if reference is not None:
            if step._cold is None:
                step._cold = {}
            step._cold.setdefault("retain", {})[number, id(t)] = reference
    t._grad_fn = step
    if t._output_nr != number:
        t._output_nr = number


def attach(out: Tensor, rule: Rule, inputs: tuple[Any, ...], saved: tuple[Any, ...] = ()) -> Tensor:
    """Put `out` on the tape, if grad mode is on and an input requires grad. Returns `out`.

    `inputs` are the tensors (or None) the rule gives gradients for, in order; `saved` anything: tensors in it
    are kept by value; `out` itself may be among them.
    """
    if session.traced is not None:
        graph.give_tangents((out,), rule, inputs, saved)
    if not mode.grad:
        return out
    edges: list[Any] = []
    shapes: list[Any] = []
    dtypes: list[Any] = []
    live = False
    for i in inputs:
        if i is None:
            edges.append(None)
            shapes.append(None)
            dtypes.append(None)
            continue
        e = None
        if i._rg or i._base is not None:
            e = i._grad_fn if i._storage is None else None
            if type(e) is not GradNode or e.outputs != 1:
                e = edge_of(i)
            if e is not None:
                live = True
        edges.append(e)
        shapes.append(i.shape)
        dtypes.append(i.dtype)
    if not live or out.dtype.category < FLOAT:
        return out
    values: Any = saved
    if inferred:
        refuse_saving(saved)
    for s in saved:
        if isinstance(s, Tensor):
            values = [_saved(s, out, inputs, edges) if isinstance(s, Tensor) else s for s in saved]
            break
    fn = blank(GradNode)
    fn.rule = rule
    fn.edges = tuple(edges)
    fn._saved = tuple(values)
    fn.shapes = tuple(shapes)
    fn.dtypes = tuple(dtypes)
    fn.seq = next_seq()
    fn.outputs = 1
    fn._cold = None
    out._grad_fn = fn
    out._rg = True
    return out


def refuse_saving(saved: Iterable[Any]) -> None:
    """Raise what PyTorch raises if there is an inference tensor among what is kept for a backward pass."""
    for s in saved:
        if isinstance(s, Tensor) and s._inference:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode "
                "in computation tracked by autograd. To work around this, you can make a clone to get a normal tensor "
                "and use it in autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`.")


def refuse_write(t: Tensor) -> None:
    """Raise what PyTorch raises if `t`, which is to be written, is an inference tensor, outside of inference mode."""
    if t._inference and not mode.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a "
            "normal tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details.")


def _saved(t: Tensor, out: Tensor, inputs: tuple[Any, ...], edges: list[Any]) -> Saved:
    """The value of `t`, which is an input or the result in most cases."""
    saved = blank(Saved)
    if t._node is not None:
        saved.node, saved.order = t._node, None
    else:
        saved.node, saved.order = kept(t)
    saved.rg = t._rg
    saved.own = saved.edge = None
    if t is out:
        saved.own = 0
        saved.rg = True
        return saved
    for i, edge in zip(inputs, edges, strict=True):
        if i is t:
            saved.edge = edge
            return saved
    saved.edge = edge_of(t)
    return saved


def attach_many(outs: tuple[Tensor, ...], rule: Rule, inputs: tuple[Any, ...],
                saved: tuple[Any, ...] = ()) -> tuple[Tensor, ...]:
    """As `attach` for an operation of several results: the rule gets one gradient (or None) for each.

    Results among `saved` are named by their position: pass `("out", k)`.
    """
    if session.traced is not None:
        graph.give_tangents(outs, rule, inputs, saved)
    if not mode.grad:
        return outs
    edges = tuple([None if i is None else edge_of(i) for i in inputs])
    if all(e is None for e in edges):
        return outs
    values: list[Any] = []
    if inferred:
        refuse_saving(saved)
    for s in saved:
        if type(s) is tuple and len(s) == 2 and s[0] == "out":
            held, order = kept(outs[s[1]])
            values.append(Saved(held, None, s[1], True, order))
        elif isinstance(s, Tensor):
            held, order = kept(s)
            values.append(Saved(held, edge_of(s), None, s._rg, order))
        else:
            values.append(s)
    node = grad_node(rule, edges, tuple(values), tuple([None if i is None else i.shape for i in inputs]),
                     tuple([None if i is None else i.dtype for i in inputs]))
    node.outputs = len(outs)
    node.__dict__["_out_meta"] = [(o.shape, o.dtype) for o in outs]
    for k, out in enumerate(outs):
        if out.dtype.is_floating_point or out.dtype.is_complex:
            out._grad_fn = node
            out._rg = True
            if k:
                out._output_nr = k
    return outs


def onto_itself(t: Tensor, src: Tensor) -> bool:
    """Is `src`, off the tape, the same elements at the same places as `t`? Copying it there does nothing, and is not
    refused where `t` is expanded."""
    return src._storage is t._storage is not None and not t._rg and not src._rg and src.dtype is t.dtype \
        and (src.shape, src._strides, src._offset) == (t.shape, t._strides, t._offset)


def refuse_leaf(t: Tensor) -> None:
    """RuntimeError if `t`, or what it is a view of, is a leaf that requires a gradient: for writes on the tape."""
    base = t._base
    if base is None:
        if t._rg and t._grad_fn is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        return
    if t._grad_version < -1:
        raise _of_two_modes(t, "is being")
    if base._grad_fn is None and (t._rg or base._rg):
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")


_SHARED = ("unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
           "memory location. Please clone() the tensor before performing the operation.")


def refuse_overlap(t: Tensor, operands: Iterable[Any]) -> None:
    """Raise what PyTorch raises where `t`, which is to be written, and an operand share a part of their memory. (What
    is written would be right, as everything is read first; but the program would not run anywhere else.)"""
    storage = t._storage
    for x in operands:
        if isinstance(x, Tensor) and x._storage is storage and x is not t and x.dtype is t.dtype and partly_shared(
                t.shape, t._strides, t._offset, x.shape, x._strides, x._offset):
            raise RuntimeError(_SHARED)


def _refuse_repeats(t: Tensor) -> None:
    if t._storage is not None and 0 not in t.shape \
            and any(not k and n > 1 for k, n in zip(t._strides, t.shape, strict=True)):
        raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single "
                           "memory location. Please clone() the tensor before performing the operation.")


def refuse_itself(t: Tensor, operands: Iterable[Any]) -> None:
    """The same for an operand that is `t`, or all of its memory; and `t` must not repeat its own elements."""
    storage = t._storage
    _refuse_repeats(t)
    for x in operands:
        if x is t or storage is not None and isinstance(x, Tensor) and x._storage is storage and (
                x.shape, x._strides, x._offset) == (t.shape, t._strides, t._offset):
            raise RuntimeError(_SHARED)


def refuse_shared(t: Tensor, operands: Iterable[Any]) -> None:
    """`refuse_overlap` where an operand may not be the tensor that is written, either: what is written is not at the
    place of what is read."""
    storage = t._storage
    for x in operands:
        if isinstance(x, Tensor) and (x is t and 0 not in t.shape or x._storage is storage is not None
                                      and x.dtype is t.dtype and shared(
                                          t.shape, t._strides, t._offset, x.shape, x._strides, x._offset)):
            raise RuntimeError(_SHARED)


def update(t: Tensor, result: Tensor, alone: bool = False) -> Tensor:
    """`t` becomes `result` in place (same shape; cast to t's dtype by the caller), history included. `alone`: as for
    `assign`."""
    if others and not alone:
        with session.lock:  # before `result` is read: `x[0] += 1` ends with x[0] written to itself
            return update(t, result, True)
    if inferred:
        refuse_write(t)
    if t._storage is not None and 0 in t._strides:
        _refuse_repeats(t)
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


def zero_gradients(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
    """Of what an operation has read nothing of: zeros, not None. An optimizer steps on zeros."""
    place = next((device_of(g) for g in grads if g is not None), CPU) if elsewhere else CPU
    return tuple([new(constant_node(place, 0j if of.is_complex else 0.0, shape, of)) if needed else None
                  for needed, shape, of in zip(ctx.needs, ctx.shapes, ctx.dtypes, strict=True)])


_OVERWRITTEN = Rule("FillBackward0", zero_gradients)


def strides_offset(t: Tensor) -> int:
    return t._offset if t._storage is not None else 0


# ---- what the counts are, on this Python (engine/cpython/liveness.py) --------------------------------------


def _memory_is_free(held: bool) -> bool:
    node = Node(BUFFER, (), None, None, (), float32)
    node.buffer = _adopted(None)
    other = node.buffer if held else None
    seen = Storage(node, 0, True).pinned()
    del other
    return not seen


def _owner_is_free(held: bool) -> bool:
    node = Node(BUFFER, (), None, None, (), float32)
    owner = np.empty(1, np.uint8)
    node.buffer = _adopted(owner)
    other = owner if held else None
    del owner
    seen = Storage(node, 0, True).pinned()
    del other
    return not seen


def _adopted(owner: np.ndarray | None) -> Buffer:
    buffer = Buffer()
    buffer.size_class = 0
    buffer.owner = owner
    return buffer


def _storage_is_free(held: bool) -> bool:
    node = Node(BUFFER, (), None, None, (), float32)
    t = new(node)
    t._node = None
    t._strides, t._offset, t._cached = (), 0, None
    t._storage = Storage(node, 0, False)
    other = t._storage if held else None
    read_view(t)
    del other
    return t._storage is None


liveness.calibrate(globals(), "_LONE_MEMORY", _memory_is_free)
liveness.calibrate(globals(), "_LONE_OWNER", _owner_is_free)
liveness.calibrate(globals(), "_LONE_STORAGE", _storage_is_free)
