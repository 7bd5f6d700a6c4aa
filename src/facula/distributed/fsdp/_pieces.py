"""The parameters of one sharded module: each rank keeps a piece of each, and they are whole while the module computes.

Whole parameters are results on the tape, whose gradient step adds the ranks' gradients and keeps this rank's piece.
What the tape would keep of them (`saved_tensors_hooks`) is left out and gathered anew in the backward pass, so that a
rank has all parameters of one module at a time, and pieces of the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import facula
from facula._tensor.handle import Tensor, strides_of
from facula.autograd import Function
from facula.autograd.graph import saved_tensors_hooks
from facula.distributed import reductions
from facula.distributed.device_mesh import DeviceMesh
from facula.distributed.fsdp._policies import MixedPrecisionPolicy
from facula.distributed.reductions import ReduceOp
from facula.distributed.tensor import DTensor
from facula.distributed.tensor._layout import bounds
from facula.distributed.tensors import array_of, tensor_of
from facula.dtypes import dtype


class Sharded:
    """A parameter: where it stands (in several places, if it is shared), its pieces, along which dimension."""

    def __init__(self, places: list[tuple[Any, str]], parameter: Any, dim: int) -> None:
        self.places, self.parameter, self.dim = places, parameter, dim

    def put(self, tensor: Any) -> None:
        """Have its modules find this one."""
        for module, name in self.places:
            module._parameters[name] = tensor

    def cut(self, whole: np.ndarray, parts: int) -> list[np.ndarray]:
        """The ranks' pieces of an array of the whole's shape."""
        edges = [bounds(whole.shape[self.dim], parts, k) for k in range(parts)]
        return [whole[(slice(None),) * self.dim + (slice(a, b),)] for a, b in edges]


class Pieces:
    """The parameters that one call of `fully_shard` has taken."""

    def __init__(self, name: str, members: list[Sharded], mesh: DeviceMesh, policy: MixedPrecisionPolicy) -> None:
        self.name, self.members, self.policy = name, members, policy
        self.group = mesh.get_group(mesh.ndim - 1)
        self.replicas = mesh.get_group(0) if mesh.ndim == 2 else None
        self.divisor = mesh.size()
        self.sync = True  # are gradients added in backward passes?
        self.frees = True  # are whole parameters let go of after the forward pass?
        self.whole: list[Tensor] | None = None  # while the module computes
        self.again: list[Tensor] | None = None  # in a backward pass
        self.kept: list[Any] = []  # gradients of the whole that have not been added yet
        self.running = 0

    # ---- together ------------------------------------------------------------------------------------------

    def _dtype(self, member: Sharded) -> dtype:
        of: dtype = member.parameter.dtype
        wanted = self.policy.param_dtype
        return wanted if wanted is not None and of.is_floating_point else of

    def gathered(self) -> list[Tensor]:
        """The whole parameters, without history."""
        ranks, me = self.group.size(), self.group.rank()
        if not self.members:
            return []
        with facula.no_grad():
            mine = [array_of(m.parameter.to_local().detach().to(self._dtype(m))) for m in self.members]
        wholes = [np.empty(tuple(m.parameter.shape), self._dtype(m).numpy) for m in self.members]
        places = [m.cut(whole, ranks) for m, whole in zip(self.members, wholes, strict=True)]
        rooms = [np.empty(sum(p[r].nbytes for p in places), np.uint8) for r in range(ranks)]
        rooms[me] = np.concatenate([np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in mine])
        self.group._call(f"fully_shard({self.name}): gather", lambda call: self.group._backend.exchange(
            call, [None if r == me else rooms[me] for r in range(ranks)],
            [None if r == me else room for r, room in enumerate(rooms)]))
        for r, room in enumerate(rooms):
            at = 0
            for place in places:
                piece = place[r]
                piece[...] = room[at:at + piece.nbytes].view(piece.dtype).reshape(piece.shape)
                at += piece.nbytes
        return [tensor_of(whole, self._dtype(m)) for whole, m in zip(wholes, self.members, strict=True)]

    def reduced(self, gradients: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor | None]:
        """This rank's pieces of the mean of all ranks' gradients."""
        ranks, found = self.group.size(), [None] * len(gradients)
        result: list[Tensor | None] = list(found)
        kinds: dict[dtype, list[int]] = {}
        for k, g in enumerate(gradients):
            if wanted[k]:
                kinds.setdefault(self.policy.reduce_dtype or g.dtype, []).append(k)
        for of, members in kinds.items():
            arrays = [array_of(gradients[k].to(of)) for k in members]
            cuts = [self.members[k].cut(a, ranks) for k, a in zip(members, arrays, strict=True)]
            shares = [np.concatenate([cut[r].reshape(-1) for cut in cuts]) for r in range(ranks)]
            for share in shares:
                reductions.finish(ReduceOp.AVG, share, self.divisor, of)  # its last step: the division
            flat = self._added(shares, of)
            at = 0
            for k, cut in zip(members, cuts, strict=True):
                piece = cut[self.group.rank()]
                part = np.array(flat[at:at + piece.size].reshape(piece.shape))
                at += piece.size
                result[k] = tensor_of(part, of).to(self.members[k].parameter.dtype)
        return result

    def _added(self, shares: list[np.ndarray], of: dtype) -> np.ndarray:
        box: list[np.ndarray] = []
        self.group._call(f"fully_shard({self.name}): reduce, {of.name}",
                         lambda call: self.group._backend.reduce_scatter(call, shares, ReduceOp.SUM, of), box.append)
        if self.replicas is not None:
            group, flat = self.replicas, box.pop()
            group._call(f"fully_shard({self.name}): all_reduce, {of.name}",
                        lambda call: group._backend.all_reduce(call, flat, ReduceOp.SUM, of), box.append)
        return box[0]

    # ---- in the module -------------------------------------------------------------------------------------

    def unshard(self) -> None:
        """Have the module find whole parameters, which are on the tape."""
        if self.whole is None:
            found = _Whole.apply(self, *[m.parameter.to_local() for m in self.members])
            self.whole = [] if not self.members else list(found) if isinstance(found, tuple) else [found]
            for member, tensor in zip(self.members, self.whole, strict=True):
                member.put(tensor)

    def reshard(self) -> None:
        """Have the module find DTensors, and let go of whole parameters."""
        if self.whole is not None:
            self.whole = None
            for member in self.members:
                member.put(member.parameter)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """The module computes: its parameters are whole."""
        asked = self.whole is not None  # by `unshard`, which somebody undoes
        self.unshard()
        try:
            if self.frees and facula.is_grad_enabled() and self.members:
                with saved_tensors_hooks(self._pack, self._unpack):
                    yield
            else:
                yield
        finally:
            if not asked:
                self.reshard()

    def _pack(self, t: Tensor) -> Any:
        for k, whole in enumerate(self.whole or ()):
            if t is whole:
                return self, k, None
            if t._storage is not None and t._storage is whole._storage and t.dtype is whole.dtype:
                return self, k, (tuple(t.shape), strides_of(t), t._offset)
        return t

    @staticmethod
    def _unpack(given: Any) -> Tensor:
        if not isinstance(given, tuple):
            found: Tensor = given
            return found
        pieces, k, geometry = given
        if pieces.again is None:
            pieces.again = pieces.gathered()
        whole: Tensor = pieces.again[k]
        return whole if geometry is None else whole.as_strided(*geometry)  # type: ignore[attr-defined,no-any-return]


class _Whole(Function):
    """Pieces of parameters -> the parameters."""

    @staticmethod
    def forward(ctx: Any, pieces: Pieces, *locals_: Tensor) -> Any:
        ctx.pieces = pieces
        found = pieces.gathered()
        ctx.mark_non_differentiable(*[
            t for t, needed in zip(found, ctx.needs_input_grad[1:], strict=True) if not needed])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pieces: Pieces = ctx.pieces
        pieces.again = None  # all that needed them is done
        wanted = ctx.needs_input_grad[1:]
        given: list[Any] = list(gradients)
        if pieces.kept:
            given = [g + k if needed else g for g, k, needed in zip(given, pieces.kept, wanted, strict=True)]
        if not pieces.sync:
            pieces.kept = given
            return (None,) * (1 + len(given))
        pieces.kept = []
        return None, *pieces.reduced(given, wanted)


def is_piece(parameter: Any) -> bool:
    """Is it a DTensor already?"""
    return isinstance(parameter, DTensor)
