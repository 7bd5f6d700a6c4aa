"""`DTensor`: a tensor of which each rank of a mesh has a part.

What this rank has is `_local`, a tensor like any other: it is on the tape, gradients arrive there, operations compute
with it. The DTensor itself has the whole's shape and no elements: whatever reaches for these in another way than
`__torch_function__` is told so (`_Nowhere`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, ClassVar, NoReturn, cast

import facula
from facula._tensor.handle import Tensor
from facula.distributed.device_mesh import DeviceMesh
from facula.distributed.tensor._arguments import exchanged, tensors_in
from facula.distributed.tensor._layout import Placements, checked, coordinate, local_part, whole_shape
from facula.distributed.tensor._moving import agreed, moved, of_gradient, regarded
from facula.distributed.tensor.placement_types import Partial, Placement, Replicate
from facula.engine.graph.node import contiguous_strides
from facula.size import Size

__all__ = ["DTensor"]


class _Nowhere:
    """In the place of the storage that a DTensor has not."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImplementedError("this does not know DTensors: use to_local() or full_tensor()")


_nowhere = _Nowhere()


class DTensor(Tensor):
    """A tensor that lies on a mesh of ranks: along each of the mesh's dimensions in pieces (`Shard`), whole on each
    rank (`Replicate`), or as summands (`Partial`). `distribute_tensor` and `DTensor.from_local` make them.

    Operations give DTensors, and have the ranks hand each other what they need: all ranks of the mesh call the same
    operations in the same order. Elementwise ones, matrix products, reductions, views, normalizations and losses work
    on pieces; others put the tensor together first, and warn of it once.

    Example:
        >>> import facula, facula.distributed as dist
        >>> from facula.distributed.tensor import Shard, distribute_tensor
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> mesh = dist.init_device_mesh("cpu", (1,))
        >>> x = distribute_tensor(facula.ones(4, 2), mesh, [Shard(0)])
        >>> y = (x @ x.T).sum()
        >>> y.placements, y.full_tensor()
        ((Partial(sum),), tensor(32.))
        >>> dist.destroy_process_group()
    """

    _local: Any
    _mesh: DeviceMesh
    _placements: Placements
    _answer: ClassVar[Any]  # what answers calls: _dispatch.py

    def __new__(cls, *args: Any, **kwargs: Any) -> DTensor:
        raise RuntimeError("DTensor: use distribute_tensor or DTensor.from_local to make one")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return cls._answer(func, args, kwargs or {})

    @staticmethod
    def from_local(local_tensor: Tensor, device_mesh: DeviceMesh | None = None,
                   placements: Sequence[Placement] | None = None, *, run_check: bool = False,
                   shape: Any = None, stride: Any = None, grad_placements: Any = None) -> DTensor:
        """The DTensor of which each rank has `local_tensor`. Gradients go back to it.

        Args:
            device_mesh: whose ranks have it.
            placements: one for each of the mesh's dimensions; whole on each rank if left out.
            run_check: have ranks where it should be whole take the first one's elements.
            shape: of the whole; needed where pieces have different sizes.
            grad_placements: how gradients lie when they are handed to `local_tensor`; as `placements` unless told.

        Raises:
            ValueError, TypeError: placements do not fit.
            RuntimeError: the piece has not the size that follows from `shape`.
        """
        if isinstance(local_tensor, DTensor):
            raise RuntimeError("the local_tensor argument only accepts torch.Tensor but got <class 'DTensor'> value")
        mesh = _mesh_or_default(device_mesh)
        found = checked(placements, mesh, local_tensor.dim(), "DTensor.from_local")
        if shape is None:
            whole = whole_shape(local_tensor.shape, mesh, found)
        else:
            whole = Size(shape)
            wanted = local_part(whole, mesh, found, coordinate(mesh))[0]
            if tuple(local_tensor.shape) != wanted:
                raise RuntimeError(f"DTensor.from_local: this rank's piece of {tuple(whole)} by {found} has size "
                                   f"{wanted}, got {tuple(local_tensor.shape)}")
        if run_check:
            local_tensor = agreed(local_tensor, mesh, found)
        if grad_placements is not None:
            local_tensor = regarded(local_tensor, mesh, whole, found, checked(
                grad_placements, mesh, local_tensor.dim(), "DTensor.from_local"), True)
        if local_tensor.requires_grad and facula.is_grad_enabled():
            local_tensor = local_tensor.view_as(local_tensor)  # no leaf: gradients go on to what was given
        return made(local_tensor, mesh, found, whole)

    def to_local(self, *, grad_placements: Sequence[Placement] | None = None) -> Tensor:
        """What this rank has. `grad_placements`: how its gradient lies where that is not as the tensor lies (of
        summands: whole on each rank)."""
        local: Tensor = self._local
        if grad_placements is not None:
            local = regarded(local, self._mesh, self.shape, self._placements, checked(
                grad_placements, self._mesh, self.dim(), "DTensor.to_local"), False)
        return local.view_as(local) if local.requires_grad and facula.is_grad_enabled() else local

    def redistribute(self, device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None, *,
                     async_op: bool = False, forward_dtype: Any = None, backward_dtype: Any = None) -> DTensor:
        """The same tensor in another layout, on the same mesh.

        Raises:
            RuntimeError: there are no placements, or one is `Partial` where the tensor is none.
            NotImplementedError: to another mesh.
        """
        if device_mesh is not None and device_mesh != self._mesh:
            raise NotImplementedError("Cross device mesh comm not supported yet!")
        if forward_dtype is not None or backward_dtype is not None:
            raise NotImplementedError("DTensor.redistribute: other dtypes on the way are not in Facula")
        if placements is None:
            raise RuntimeError("placements is needed for redistribute!")
        found = checked(placements, self._mesh, self.dim(), "DTensor.redistribute")
        for before, after in zip(self._placements, found, strict=True):
            if isinstance(after, Partial) and before != after:
                raise RuntimeError("Can not redistribute to Partial, redistributing to Partial is for internal use "
                                   "only!")
        return laid(self, found)

    def full_tensor(self, *, grad_placements: Any = None) -> Tensor:
        """The whole tensor, on each rank."""
        return self.redistribute(placements=[Replicate()] * self._mesh.ndim).to_local(grad_placements=grad_placements)

    @property
    def device_mesh(self) -> DeviceMesh:
        """The ranks that have it."""
        return self._mesh

    @property
    def placements(self) -> Placements:
        """How it lies along each of the mesh's dimensions."""
        return self._placements

    @property
    def _local_tensor(self) -> Any:
        return self._local

    # ---- as a tensor -----------------------------------------------------------------------------------------

    @property  # type: ignore[override]
    def grad(self) -> Any:
        """The gradient, which lies as the tensor does."""
        found = self._local.grad
        return None if found is None else made(found, self._mesh, of_gradient(self._placements), self.shape)

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is None:
            self._local.grad = None
            return
        if not isinstance(value, DTensor):
            raise RuntimeError("the gradient of a DTensor is a DTensor")
        self._local.grad = laid(value, of_gradient(self._placements))._local

    @property  # type: ignore[override]
    def requires_grad(self) -> bool:
        """Are gradients collected for it?"""
        return bool(self._local.requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._local.requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Have gradients collected for it, or not."""
        self._local.requires_grad_(requires_grad)
        return self

    @property  # type: ignore[override]
    def data(self) -> Any:
        """The same elements without history."""
        return made(self._local.data, self._mesh, self._placements, self.shape)

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, DTensor) or value.shape != self.shape or value._mesh != self._mesh:
            raise RuntimeError("the data of a DTensor is a DTensor of the same shape on the same mesh")
        self._local.data = laid(value, self._placements)._local.detach()
        self.dtype = value.dtype

    @property  # type: ignore[override]
    def is_meta(self) -> bool:
        """Are there no elements?"""
        return bool(self._local.is_meta)

    def stride(self, dim: int | None = None) -> Any:
        """The strides that the whole would have."""
        strides = contiguous_strides(self.shape)
        return strides if dim is None else strides[dim]

    def is_contiguous(self, *, memory_format: Any = None) -> bool:
        """Is what this rank has in the order of its elements?"""
        return bool(self._local.is_contiguous())

    def storage_offset(self) -> int:
        """0: there is no storage of the whole."""
        return 0

    def register_hook(self, hook: Any) -> Any:
        """`hook(gradient)`, a DTensor, when it is complete; may return another."""
        def call(gradient: Tensor) -> Any:
            lying = of_gradient(self._placements)
            found = hook(made(gradient, self._mesh, lying, self.shape))
            return None if found is None else laid(found, lying)._local
        return self._local.register_hook(call)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Any:
        """`hook(self)` when `.grad` is complete."""
        return self._local.register_post_accumulate_grad_hook(lambda _: hook(self))

    def backward(self, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False,
                 inputs: Any = None) -> None:
        """As of any tensor; all ranks call it. `gradient`: a DTensor."""
        if gradient is not None:
            gradient = laid(gradient, of_gradient(self._placements))._local
        facula.autograd.backward(self._local, gradient, retain_graph, create_graph, inputs=local_of(inputs))

    def __deepcopy__(self, memo: Any) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        copied = made(deepcopy(self._local, memo), self._mesh, self._placements, self.shape)
        for name, value in self.__dict__.items():
            if name not in ("_local", "_mesh", "_placements"):
                copied.__dict__[name] = value
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise NotImplementedError("DTensor: a pickle of one is not in Facula; torch.distributed.checkpoint saves "
                                  "pieces, full_tensor() is the whole")

    def _memory(self) -> NoReturn:
        self.__reduce_ex__(2)
        raise AssertionError

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"DTensor(local_tensor={self._local!r}, device_mesh={self._mesh!r}, placements={self._placements!r})"

    def __str__(self) -> str:
        return repr(self)

    def _piece(self) -> tuple[tuple[int, ...], Tensor] | None:
        """(offsets, elements) of what this rank has, for checkpoints. None if that is nothing."""
        if any(isinstance(p, Partial) for p in self._placements):
            raise NotImplementedError("distributed.checkpoint: a DTensor of summands cannot be saved; redistribute it "
                                      "to Replicate() or Shard() first")
        offsets = local_part(self.shape, self._mesh, self._placements, coordinate(self._mesh))[1]
        return None if self._local.numel() == 0 and self.numel() else (offsets, self._local)


def made(local: Tensor, mesh: DeviceMesh, placements: Placements, shape: Any) -> DTensor:
    """A DTensor of which this rank has `local`."""
    found: Any = object.__new__(cast(Any, DTensor))
    found._node, found._storage = None, _nowhere
    found.shape, found.dtype = Size(shape), local.dtype
    found._rg, found._grad_fn, found._base, found._seen = False, None, None, -1
    found._local, found._mesh, found._placements = local, mesh, placements
    whole: DTensor = found
    return whole


def laid(tensor: DTensor, placements: Placements) -> DTensor:
    """The same tensor in another layout."""
    if placements == tensor._placements:
        return tensor
    return made(moved(tensor._local, tensor._mesh, tensor.shape, tensor._placements, placements), tensor._mesh,
                placements, tensor.shape)


def local_of(value: Any) -> Any:
    """What this rank has of the DTensors in arguments."""
    return exchanged(value, [t._local if isinstance(t, DTensor) else t for t in reversed(tensors_in(value))])


def _mesh_or_default(mesh: DeviceMesh | None) -> DeviceMesh:
    if mesh is None:
        raise NotImplementedError("DTensor: a mesh that is entered by `with` and not given is not in Facula; hand "
                                  "device_mesh on")
    return mesh


