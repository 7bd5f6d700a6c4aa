"""How a tensor lies on a mesh of devices: in pieces, whole on each, or as sums that are still to be added."""

from __future__ import annotations

from dataclasses import dataclass

from facula import absent

__all__ = ["Partial", "Placement", "Replicate", "Shard"]


class Placement:
    """How a tensor lies along one dimension of a mesh."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Is it in pieces (along that dimension)?"""
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        """Is it whole on each device?"""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Has each device a summand of it (to be reduced by that operation)?"""
        return isinstance(self, Partial) and reduce_op in (None, self.reduce_op)


@dataclass(frozen=True)
class Shard(Placement):
    """In pieces along dimension `dim`.

    Example:
        >>> from facula.distributed.tensor import Shard
        >>> Shard(1), Shard(1).is_shard(0)
        (Shard(dim=1), False)
    """

    dim: int

    def __repr__(self) -> str:
        return f"Shard(dim={self.dim})"

    def __str__(self) -> str:
        return f"S({self.dim})"


@dataclass(frozen=True)
class Replicate(Placement):
    """Whole on each device."""

    def __repr__(self) -> str:
        return "Replicate()"

    def __str__(self) -> str:
        return "R"


@dataclass(frozen=True)
class Partial(Placement):
    """As summands, which `reduce_op` makes one."""

    reduce_op: str = "sum"

    def __repr__(self) -> str:
        return f"Partial({self.reduce_op})"

    def __str__(self) -> str:
        return f"P({self.reduce_op})"


_StridedShard = absent.kind("torch.distributed.tensor.placement_types._StridedShard")
