"""What fusing gives: groups of nodes that share a kernel."""

from __future__ import annotations

from dataclasses import dataclass, field

from facula.engine.compiler.spaces import is_split
from facula.engine.graph.node import Node, size_of


@dataclass(eq=False)
class Group:
    """Nodes computed by one kernel (`single`: by one step that is not a loop kernel).

    dims      the space, cut finely enough for every member's reads
    reduced   for each of dims, once there is a reduction: is it reduced?
    rows      members at row level (reductions among them)
    """

    index: int
    single: bool
    dims: tuple[int, ...]
    reduced: tuple[bool, ...] | None = None
    members: dict[Node, None] = field(default_factory=dict)
    rows: set[Node] = field(default_factory=set)
    needs: int = 0  # bit mask of the groups this one depends on, directly or not
    inlined: set[Node] = field(default_factory=set)

    @property
    def size(self) -> int:
        return size_of(self.dims)

    @property
    def row_dims(self) -> tuple[int, ...]:
        assert self.reduced is not None
        return tuple(n for n, r in zip(self.dims, self.reduced, strict=True) if not r)

    @property
    def is_split(self) -> bool:
        """Is the reduction so long that it runs in chunks?"""
        return self.reduced is not None and is_split(size_of(self.row_dims), self.size)
