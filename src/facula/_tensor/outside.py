"""Memory that others see: what happens before an array, a capsule or an address of a tensor's memory is handed out.

An array (NumPy's, or what was made of it: a memoryview, a DLPack consumer) holds the memory while it lives, so a
storage is *pinned* until it is gone. An address holds nothing, and what has been given it may write for as long as the
tensor lives: the storage is pinned for good then, and its memory stays where it is.
"""

from __future__ import annotations

import numpy as np

from facula._tensor.cells import FOR_GOOD, Storage
from facula._tensor.handle import Tensor, share
from facula.devices import CPU
from facula.dtypes import dtype, float32, uint8
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, CONST, META, Node, contiguous_strides, size_of
from facula.engine.placing import meta_node, upload
from facula.engine.realize import realize, value_of
from facula.engine.runtime.buffer import allocate_apart
from facula.engine.session import session
from facula.engine.targets.protocol import Pinned
from facula.size import Size

_SHAPE = Tensor.__dict__["shape"]  # a subclass may have a property of that name
_LONE_VALUE = liveness.UNKNOWN  # references to a value that a storage alone holds


def _value_is_lone(storage: Storage) -> bool:
    """Is the storage all that holds its value?"""
    node = storage.node
    return getrefcount(node) <= _LONE_VALUE


def pin(t: Tensor) -> Storage:
    """The storage of `t`, whose memory is about to be shared with somebody outside: nothing else holds that value."""
    storage = share(t)
    if storage.shared and storage.pinned():
        return storage
    with session.lock:
        # Nodes are immutable values, and clones, the caches of aliases and the tape may hold this one.
        t._cached = None
        t._seen = -1
        if storage.node.op is not CONST:
            realize(storage.node)  # first: what is pending is held by the list of it
        if not _value_is_lone(storage) or storage.node.op is CONST:
            _put(storage, value_of(storage.node))
        storage.shared = True
    return storage


def _put(storage: Storage, values: np.ndarray, of: dtype | None = None) -> None:
    """Have the storage lie in memory of its own, with these values.

    Not in memory that another had before: `x.clone().data_ptr()` is not to be the address that `x` comes to have."""
    node = Node(BUFFER, (), None, None, tuple(values.shape), of or storage.node.dtype)
    node.buffer = allocate_apart(values.nbytes)
    np.copyto(node.buffer.array(node.shape, node.dtype), values)
    storage.node = node


def grow(t: Tensor, elements: int) -> None:
    """Have the storage of `t` hold `elements` of its dtype at least; those that come new are zero."""
    node = share(t).node
    if size_of(node.shape) * node.dtype.itemsize < elements * t.dtype.itemsize:
        resize(t, elements * t.dtype.itemsize)


def resize(t: Tensor, nbytes: int) -> None:
    """Have the storage of `t` hold so many bytes; those that come new are zero. RuntimeError if the memory is an
    array's, which has its size."""
    storage = share(t)
    node = storage.node
    have = size_of(node.shape) * node.dtype.itemsize
    if nbytes == have:
        return
    pinned = node.buffer if isinstance(node.buffer, Pinned) else None
    if pinned is None and storage.shared and storage.held():
        raise RuntimeError("Trying to resize storage that is not resizable")
    of = node.dtype if nbytes % node.dtype.itemsize == 0 else uint8
    count = nbytes // of.itemsize
    if node.op is META:
        storage.node = meta_node((count,), of)
    else:
        flat = np.zeros(count, of.numpy)
        flat.view(np.uint8)[:have] = storage.memory().view(np.uint8)[:nbytes]
        if pinned is not None:
            storage.node = Node(BUFFER, (), None, None, (count,), of)
            storage.node.buffer = pinned.target.pin(nbytes)
            np.copyto(value_of(storage.node), flat)
        elif node.device is CPU:
            _put(storage, flat, of)
        else:
            storage.node = upload(node.device, flat, (count,), of)
    storage.version += 1
    if nbytes < have:
        storage.shared = FOR_GOOD  # tensors may reach beyond it: whoever reads them has to look


def take_shape(t: Tensor, shape: tuple[int, ...]) -> None:
    """`t` has another shape from now on, row by row, from where it begins in its storage: that grows if need be."""
    share(t)
    if 0 not in shape:
        grow(t, t._offset + size_of(shape))
    _SHAPE.__set__(t, tuple.__new__(Size, shape))
    t._strides = contiguous_strides(shape)
    t._cached = None
    t._seen = -1


def address(storage: Storage, owner: Tensor) -> int:
    """Where the memory of `storage`, that of `owner`, begins: from now on it stays there, on the cpu."""
    if storage.node.device is CPU:
        pin(owner)
        storage.shared = FOR_GOOD
    return realize(storage.node).ptr


class Unseen:
    """While an operation of many steps runs nobody outside looks: what is pinned for good is recorded like all else
    until `end`, when its memory gets the values that it has come to."""

    __slots__ = ("homes",)

    def __init__(self) -> None:
        self.homes: list[tuple[Storage, Node]] = []

    def add(self, storage: Storage) -> None:
        """From now on `storage`, whose address somebody has, is read and written when it suits."""
        home = storage.node
        _put(storage, value_of(home))  # a copy: what is recorded over it must not see what `end` writes
        storage.shared = False
        self.homes.append((storage, home))

    def end(self) -> None:
        """Have it all in memory again. Where that cannot be computed the memory has what it had, and that is raised."""
        failed: BaseException | None = None
        for storage, home in self.homes:
            try:
                values = value_of(storage.node)
                np.copyto(value_of(home), values.reshape(home.shape))
            except BaseException as error:  # an interrupt, too: whatever comes, the storage is as others know it
                failed = error
            storage.node = home
            storage.shared = FOR_GOOD
            storage.forget()
        self.homes.clear()
        if failed is not None:
            raise failed


def _value_is_lone_if(held: bool) -> bool:
    storage = Storage(Node(CONST, (), None, (0.0,), (), float32), 0, True)
    other = storage.node if held else None
    seen = _value_is_lone(storage)
    del other
    return seen


liveness.calibrate(globals(), "_LONE_VALUE", _value_is_lone_if)
