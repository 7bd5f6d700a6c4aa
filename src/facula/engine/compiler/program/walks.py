"""How the loops of a phase go through the reduced dimensions that the lanes run along.

To a sum, these are one axis (Nest.runs). That they are several in the nest is due to something that is read in it.
"""

from __future__ import annotations

import enum

from facula.dtypes import FLOAT
from facula.engine.compiler.loops import ELEMENT, Nest, affine_of
from facula.engine.compiler.values import Val


class Walk(enum.Enum):
    FLAT = "flat"  # as one axis: all that this phase reads and writes lies so
    BY_PARTS = "by parts"  # one inside of the other, where no order matters
    STAGED = "staged"  # by parts into scratch memory, and from there as one axis


def walk_of(nest: Nest, phase: int) -> Walk:
    """Where the lanes run along reduced dimensions."""
    run = nest.runs[-1]
    if len(run) == 1 or _lies_flat(nest, phase, run):
        return Walk.FLAT
    ordered = any(r.args[0].dtype.category == FLOAT and r.payload not in ("argmax", "argmin")
                  for r in nest.phases[phase])  # max and min too: they take one zero or the other
    return Walk.STAGED if ordered else Walk.BY_PARTS


def _lies_flat(nest: Nest, phase: int, run: tuple[int, ...]) -> bool:
    maps = [s.map for s in nest.element_stores[phase]]
    stack, seen = nest.phase_roots(phase), set[Val]()
    while stack:
        value = stack.pop()
        if value.level != ELEMENT or value in seen or nest.kept_from.get(value, phase) < phase:
            continue
        seen.add(value)
        stack.extend(value.args)
        map = affine_of(value)
        if map is not None:
            maps.append(map)
    strides = [nest.strides(m) for m in maps]
    return all(s[d] == s[d + 1] * nest.sizes[d + 1] for s in strides for d in run[:-1])
