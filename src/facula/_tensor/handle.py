"""Tensor: what the user holds.

A fresh result holds its node directly (`_node`), and no Storage exists. When a second tensor comes to share
its elements (a view, detach, `.data`, NumPy), `share` makes the Storage (cells.py) and both refer to it with strides
and an offset. Methods are attached by `ops/registry.py` and `_tensor/methods.py`. What the recording path stands on
is in the pages beside this one: the value of a tensor (reading.py), its place on the tape (tape.py), writing it
(assigning.py) and what may not be written (refusing.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facula._tensor.cells import Storage
from facula.devices import device
from facula.dtypes import dtype
from facula.engine.graph.node import META, Node, contiguous_strides
from facula.engine.session import session
from facula.engine.threads import others
from facula.size import Size

if TYPE_CHECKING:
    from facula._tensor.types import Declared
else:
    Declared = object

# Has an entry once there has been an inference tensor (None: _tensor/inference.py), and one for each context of hooks
# around what is saved that some thread is in (autograd/saving.py): while it is empty nothing asks for either.
inferred: list[Any] = []


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


def strides_offset(t: Tensor) -> int:
    return t._offset if t._storage is not None else 0
