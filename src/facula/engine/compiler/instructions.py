"""What a target's instructions can do: the table that the printer (`emit/`) asks. Data, and one entry a target.

The printer writes one LLVM IR for all targets. What differs stands here: how wide the vectors are, what an instruction
set lacks (the printer then writes it out, with the same bits) and what it has that LLVM has no common name for. A new
target is a new `Instructions`; engine/targets/processors.py has those of processors.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facula.engine.compiler.emit.module import Code


class Masks(enum.Enum):
    """Loads and stores of some lanes only."""

    FREE = "free"  # as quick as of all lanes: loops need no other form for what is left over
    SLOW = "slow"  # by LLVM, which has a branch a lane where there are no instructions
    NONE = "none"  # not by LLVM either: the printer writes lane by lane


@dataclass(frozen=True)
class Lookup:
    """Picks from 16 floats, `at_once` lanes at a time.

    `pick(code, table, places)` appends it and names the result: a vector of `at_once` floats, by a vector of i32.
    Only the low four bits of a place count.
    """

    at_once: int
    pick: Callable[[Code, Sequence[float], str], str]


@dataclass(frozen=True)
class Instructions:
    """
    name          for people
    vector_bytes  of the widest vector registers worth using
    registers     of these
    vectors       False: there are lanes one by one only. What a loop program does for some lanes at a time is a loop
    masks         see there
    gathers       loads of lanes from anywhere; False: lane by lane
    scatters      stores likewise
    fma           x * y + z with one rounding. False: products round twice, functions call the C library's
    halves        float16 to float32 and back, rounding to even. False: by integer arithmetic
    rounds        floor, ceil, trunc, and to the nearest integer, halves to even. False: by additions
    lookup        None: tables lie in memory
    times_power   (code, type, lanes, x, n) -> x * 2**n rounded once, for whole numbers n as reals, `power_bytes`
                  of lanes at a time. None: by integer arithmetic
    """

    name: str
    vector_bytes: int = 64
    registers: int = 32
    vectors: bool = True
    masks: Masks = Masks.SLOW
    gathers: bool = True
    scatters: bool = True
    fma: bool = True
    halves: bool = True
    rounds: bool = True
    lookup: Lookup | None = None
    times_power: Callable[[Code, str, int, str, str], str] | None = None
    power_bytes: int = 0


COMMON = Instructions("common")  # whatever LLVM has for every target, by its own ways
