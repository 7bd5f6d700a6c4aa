"""The points that nodes are computed at: spaces, and which of their dimensions are reduced.

A space is cut finely enough for whoever reads in it; `flags` say of each of its dimensions whether
it is reduced.
"""

from __future__ import annotations

from facula.config import threshold
from facula.engine.compiler.affine import Affine, joined
from facula.engine.compiler.symbols import row_major
from facula.engine.graph.node import Node, size_of

Dims = tuple[int, ...]
Flags = tuple[bool, ...]
SPLIT_ABOVE = threshold("split_elements")  # a longer sum to few results is cut into chunks, whose results are combined


def space_of(node: Node) -> tuple[Dims, set[int]]:
    """The points a node is computed at, and which dimensions of them it reduces."""
    if node.op.kind != "reduce":
        return node.shape, set()
    shape = node.inputs[0].shape
    assert node.attrs is not None
    dims: Dims = node.attrs[0]  # type: ignore[assignment]
    return shape, {d for d in dims if shape[d] > 1}


def is_reduction(node: Node) -> bool:
    """Does it reduce more than dimensions of size 1?"""
    return bool(space_of(node)[1])


def row_map(dims: Dims, reduced: Flags) -> Affine:
    """The row number of every point."""
    kept = row_major(tuple(n for n, r in zip(dims, reduced, strict=True) if not r))
    steps = iter(kept)
    return Affine(dims, tuple(0 if r else next(steps) for r in reduced))


def is_split(rows: int, size: int) -> bool:
    return rows > 0 and size // rows >= SPLIT_ABOVE


def splits(dims: Dims, flags: Flags) -> bool:
    """Is a reduction of these dimensions so long that it runs in chunks?"""
    rows = size_of(tuple(n for n, r in zip(dims, flags, strict=True) if not r))
    return is_split(rows, size_of(dims))


def without_ones(shape: Dims) -> Dims:
    return tuple(n for n in shape if n != 1)


def cut_of(map: Affine, shape: Dims) -> Dims | None:
    """A space for reading by `map` and writing to a region of `shape`; None if they cut the elements in ways that have
    no common refinement."""
    return joined([without_ones(map.dims), without_ones(shape)])


def reduced_flags(dims: Dims, space: Dims, reduced: set[int]) -> Flags:
    """Which of the finer `dims` are reduced, when `reduced` of `space` are."""
    coarse = [(n, d in reduced) for d, n in enumerate(space) if n != 1]
    return recut(tuple(n for n, _ in coarse), tuple(r for _, r in coarse), dims)


def recut(dims: Dims, flags: Flags, finer: Dims) -> Flags:
    """The flags of a finer cut of the space."""
    out: list[bool] = []
    at = 0
    for n, flag in zip(dims, flags, strict=True):
        done = 1
        while done < n:
            done *= finer[at]
            out.append(flag)
            at += 1
    return tuple(out)


def with_rows(dims: Dims, flags: Flags, rows: Dims) -> tuple[Dims, Flags]:
    """The space with its kept dimensions cut as `rows`."""
    out: list[int] = []
    marks: list[bool] = []
    at = 0
    for n, flag in zip(dims, flags, strict=True):
        done = 1
        while done < n:
            part = n if flag else rows[at]
            at += not flag
            done *= part
            out.append(part)
            marks.append(flag)
    return tuple(out), tuple(marks)
