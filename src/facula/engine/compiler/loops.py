"""Third pass, first half: a fused group as a loop nest, with every value given its place.

    for each row (kept dimensions but the last one, linear)
        [columns: for each vector along the last kept dimension]
        for each phase: for the reduced dimensions (the last one in vectors, when there are no columns)
            elements: loads, arithmetic, stores, accumulation
        results of the reductions, row-level values, row-level stores

`columns` is the mode in which lanes run along a kept dimension (pointwise kernels, column sums); in the other
mode lanes run along the innermost reduced dimension. Values have a level: KERNEL (the same everywhere), ROW,
COLUMN, ELEMENT.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from facula.config import threshold
from facula.dtypes import dtype
from facula.engine.compiler.affine import Affine, refine
from facula.engine.compiler.groups import Group
from facula.engine.compiler.kernel import VECTOR_BYTES, Machine
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.spaces import recut, row_map
from facula.engine.compiler.symbols import row_major
from facula.engine.compiler.values import Builder, Refine, Val
from facula.engine.graph.node import Node, size_of

KERNEL, ROW, COLUMN, ELEMENT = range(4)
NOWHERE = -1  # in Nest.last: a dimension of size 1 that the maps do not have
SHORT = 16  # of a run of reduced dimensions: shorter than vectors, which then lie across the rows
KEEP_ABOVE = 8.0  # cost of an element value from which on it is kept for the next phase, not computed again
KEEP_BYTES = threshold("scratch_bytes")  # of kept values, and no more than half of the second-level cache
COST = {
    "exp": 12.0,
    "exp2": 12.0,
    "expm1": 16.0,
    "log": 14.0,
    "log2": 14.0,
    "log10": 14.0,
    "log1p": 16.0,
    "sin": 16.0,
    "cos": 16.0,
    "tan": 24.0,
    "tanh": 18.0,
    "erf": 16.0,
    "erfc": 24.0,
    "pow": 40.0,
    "div": 6.0,
    "sqrt": 6.0,
    "rsqrt": 10.0,
    "random_bits": 60.0,
    "load": 1.0,
    "gather": 8.0,
    "lit": 0.0,
    "num": 0.0,
    "coord": 1.0,
}


@dataclass(eq=False)
class Store:
    """`value` goes to `node`'s memory (a temporary of its own if `node` is a marker), at `map`."""

    node: object
    value: Val
    map: Affine
    dtype: dtype


@dataclass
class Nest:
    """A loop nest ready to be emitted. Dimensions are collapsed; `strides` translates maps."""

    sizes: tuple[int, ...]
    reduced: tuple[bool, ...]
    last: tuple[int, ...]  # for each collapsed dimension, its innermost original one
    columns: bool
    stores: list[Store]
    phases: list[list[Val]]  # element-level reductions of each phase
    element_stores: list[list[Store]]
    outer_stores: list[Store]
    kept: list[Val] = field(default_factory=list)  # element values passed between phases in scratch memory
    kept_from: dict[Val, int] = field(default_factory=dict)
    order: list[Val] = field(default_factory=list)  # all values, arguments before their users
    # Reduced dimensions with no kept one between: one dimension each, for the sums. What else is read cuts them
    # further; the order of a sum does not know of that.
    runs: list[tuple[int, ...]] = field(default_factory=list)
    lanes: int = 16
    chunk: int = 0  # of the first run of reduced dimensions, when the reduction is split

    def strides(self, map: Affine) -> tuple[int, ...]:
        return tuple(1 if k == NOWHERE else map.strides[k] for k in self.last)

    @property
    def rows(self) -> int:
        return size_of(tuple(n for n, r in zip(self.sizes, self.reduced, strict=True) if not r))

    @property
    def vector_dim(self) -> int:
        return len(self.sizes) - 1

    @property
    def outer(self) -> list[int]:
        """Kept dimensions other than the vector's, outermost first."""
        return [
            d
            for d in range(len(self.sizes))
            if not self.reduced[d] and not (self.columns and d == self.vector_dim)
        ]

    @property
    def inner(self) -> list[int]:
        """Reduced dimensions, outermost first."""
        return [d for d in range(len(self.sizes)) if self.reduced[d]]

    def extent(self, run: tuple[int, ...]) -> int:
        return size_of(tuple(self.sizes[d] for d in run))

    def phase_roots(self, phase: int) -> list[Val]:
        """What the elements of a phase are computed for."""
        return [r.args[0] for r in self.phases[phase]] + [s.value for s in self.element_stores[phase]]


def values_of(
    group: Group, graph: Graph, formats: dict[int, str], roots: list[Node]
) -> tuple[dict[Node, Val], Builder]:
    """The Vals of `roots` at their own points; cuts the group's space finer where they ask for it."""
    while True:
        builder = Builder(
            group.dims,
            graph.reads,
            set(group.members) | group.inlined,
            graph.leaves,
            graph.numbers_at,
            formats,
        )
        flags = group.reduced or (False,) * len(group.dims)
        rows = row_map(group.dims, flags)
        whole = Affine(group.dims, row_major(group.dims))
        try:
            found = {node: builder.read(node, rows if node in group.rows else whole) for node in roots}
            return found, builder
        except Refine as finer:
            if group.reduced is not None:
                group.reduced = recut(group.dims, group.reduced, finer.dims)
            group.dims = finer.dims


def postorder(roots: list[Val]) -> list[Val]:
    order: list[Val] = []
    seen: set[Val] = set()
    stack: list[tuple[Val, bool]] = [(v, False) for v in reversed(roots)]
    while stack:
        value, ready = stack.pop()
        if ready:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            stack.extend((a, False) for a in reversed(value.args))
    return order


def build_nest(dims: tuple[int, ...], flags: tuple[bool, ...], stores: list[Store], machine: Machine) -> Nest:
    """Collapse dimensions, choose where the lanes run, and give every value its level and phase."""
    roots = [s.value for s in stores]
    order = postorder(roots)
    maps = [m for m in map(affine_of, order) if m is not None] + [s.map for s in stores]
    sizes, reduced, last = _collapse(dims, flags, [refine(m, dims) for m in maps])
    order_of, runs = _arranged(sizes, reduced)
    sizes, reduced = tuple([sizes[d] for d in order_of]), tuple([reduced[d] for d in order_of])
    last = tuple([last[d] for d in order_of])
    nest = Nest(sizes, reduced, last, not (reduced and reduced[-1]), stores, [], [], [], runs=runs)
    for value in order:
        _place(value, nest)
    count = max(
        (v.phase + (v.op != "reduce") for v in order if v.level == ELEMENT or v.op == "reduce"), default=0
    )
    count = max(
        [count, *(s.value.phase + 1 for s in stores if any(nest.strides(s.map)[d] for d in nest.inner))]
    )
    nest.phases = [[] for _ in range(count)]
    nest.element_stores = [[] for _ in range(count)]
    for value in order:
        if value.op == "reduce":
            nest.phases[value.phase - 1].append(value)
    for store in stores:
        if store.value.level == ELEMENT or any(nest.strides(store.map)[d] for d in nest.inner):
            nest.element_stores[store.value.phase].append(store)
        else:
            nest.outer_stores.append(store)
    nest.order = order
    nest.lanes = _lanes(order)
    _keep(nest, min(KEEP_BYTES, machine.caches[1] // 2))
    return nest


def affine_of(value: Val) -> Affine | None:
    if value.op in ("load", "gather"):
        return value.payload[1]  # type: ignore[index,no-any-return]
    if value.op == "coord":
        return value.payload  # type: ignore[return-value]
    return None


def _collapse(
    dims: tuple[int, ...], flags: tuple[bool, ...], maps: list[Affine]
) -> tuple[tuple[int, ...], tuple[bool, ...], tuple[int, ...]]:
    sizes: list[int] = []
    reduced: list[bool] = []
    last: list[int] = []
    for d, (n, flag) in enumerate(zip(dims, flags, strict=True)):
        if n == 1:
            continue
        if sizes and reduced[-1] == flag and all(m.strides[last[-1]] == m.strides[d] * n for m in maps):
            sizes[-1] *= n
            last[-1] = d
        else:
            sizes.append(n)
            reduced.append(flag)
            last.append(d)
    if sizes and all(reduced) and size_of(tuple(sizes)) <= SHORT:
        # One row: its sum has to be in the order of one among many, which the vectors lie across (`_arranged`).
        sizes.insert(0, 1)
        reduced.insert(0, False)
        last.insert(0, NOWHERE)
    return tuple(sizes), tuple(reduced), tuple(last)


def _arranged(sizes: tuple[int, ...], reduced: tuple[bool, ...]) -> tuple[list[int], list[tuple[int, ...]]]:
    """An order of the dimensions, the vectors' last, and the runs of reduced ones in it."""
    order, runs = list(range(len(sizes))), list[list[int]]()
    for d in order:
        if reduced[d]:
            if d and reduced[d - 1]:
                runs[-1].append(d)
            else:
                runs.append([d])
    kept = [d for d in order if not reduced[d]]
    if runs and kept and reduced[-1] and size_of(tuple([sizes[d] for d in runs[-1]])) <= SHORT:
        across = kept[-1] if sizes[kept[-1]] >= SHORT // 2 else max(kept, key=lambda d: sizes[d])
        order.append(order.pop(across))
    return order, [tuple([order.index(d) for d in run]) for run in runs]


def _place(value: Val, nest: Nest) -> None:
    level = max((a.level for a in value.args), default=KERNEL)
    value.vec = any(a.vec for a in value.args)
    value.phase = max((a.phase for a in value.args), default=0)
    value.cost = COST.get(value.op, 1.0) + sum(a.cost for a in value.args)
    map = affine_of(value)
    if map is not None:
        strides = nest.strides(map)
        for d, s in enumerate(strides):
            if s == 0:
                continue
            if nest.reduced[d]:
                level = ELEMENT
            elif nest.columns and d == nest.vector_dim:
                level = max(level, COLUMN)
            else:
                level = max(level, ROW)
            if d == nest.vector_dim:
                value.vec = True
    if value.op == "reduce":
        level = COLUMN if nest.columns else ROW
        value.vec = nest.columns
        value.phase += 1
        value.cost = 0.0
    value.level = level


def _lanes(order: list[Val]) -> int:
    """As many lanes as fill a vector of the narrowest arithmetic, at least 4-byte if there is any."""
    sizes = {v.dtype.compute.itemsize for v in order if v.op not in ("lit", "num", "coord")} or {4}
    if 4 in sizes or max(sizes) == 8 and min(sizes) < 8:
        width = 4
    else:
        width = min(sizes) if max(sizes) <= 2 else max(sizes)
    return max(2, min(VECTOR_BYTES // width, 64))


def _keep(nest: Nest, most: int) -> None:
    """Which element values one phase leaves in scratch memory, of `most` bytes, for a later one."""
    if len(nest.phases) < 2:
        return
    rows = size_of(tuple(nest.sizes[d] for d in nest.inner))
    width = nest.lanes if nest.columns else 1
    computed: set[Val] = set()
    kept: dict[Val, int] = {}
    for phase in range(len(nest.phases)):
        roots = nest.phase_roots(phase)
        stack = list(roots)
        while stack:
            value = stack.pop()
            if value.level != ELEMENT or value in kept:
                continue
            if value in computed and value.phase < phase and value.cost >= KEEP_ABOVE and value.vec:
                if (len(kept) + 1) * rows * width * 8 <= most:
                    kept[value] = value.phase
                    continue
            stack.extend(value.args)
        computed.update(v for v in postorder(roots) if v.level == ELEMENT)
    nest.kept = list(kept)
    nest.kept_from = {}
    for value in nest.kept:  # the first phase that computes it stores it
        for phase in range(len(nest.phases)):
            if value in postorder(nest.phase_roots(phase)):
                nest.kept_from[value] = phase
                break
