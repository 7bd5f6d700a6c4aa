"""What the compiler hands to the runtime: kernels and steps.

Every kernel has one native signature:

    void kernel(ptr args, ptr bufs, ptr nums, i64 lo, i64 hi, ptr scratch)

args     int64 array that belongs to the step: sizes, strides, and indices into `bufs` and `nums`
bufs     pointer table of the plan run: leaves, outputs, temporaries. The kernel loads bufs[args[k]]
nums     8-byte run-time numbers of the plan run (double or int64): the kernel loads nums[args[k]]
lo, hi   the tiles to do, out of the step's `tiles`. Which tile does what depends on shapes alone, so a
         result does not depend on the number of threads
scratch  SCRATCH_BYTES of memory, 64-byte aligned, that belong to the running thread
"""

from __future__ import annotations

from dataclasses import dataclass, field

from facula.engine.compiler.instructions import COMMON, Instructions

SCRATCH_BYTES = 4 << 20
# Of the vectors in which orders of sums are told, on every machine: where registers are narrower, LLVM takes several
# for one. So which elements a partial sum adds, and in which order, is the same everywhere.
VECTOR_BYTES = 64


@dataclass(frozen=True)
class Machine:
    """What the compiler is told of the machine that it writes for. No sum's order may follow from it.

    table   its instructions
    caches  bytes of the first, second and third level
    programs  are steps to carry what they mean, as data? The evaluator and devices that run it need it, machine code
            does not
    """

    table: Instructions = COMMON
    caches: tuple[int, int, int] = (32 << 10, 1 << 20, 16 << 20)
    programs: bool = True


ANY = Machine()


@dataclass(frozen=True)
class Kernel:
    """Native code before it is native: a self-contained LLVM module defining `name`.

    `title` is for people: what the kernel computes, as `facula explain` shows it.
    """

    name: str
    ir: str
    title: str = ""


@dataclass
class Step:
    """One launch: a kernel with its arguments, `tiles` independent pieces of work.

    `cost` estimates nanoseconds on one core; the thread pool is left asleep below a threshold.
    `args` are int64: numbers, or indices into the plan's buffer table and number table.
    `program` is what the step means, as data (compiler/program/), and `slots` where each of its buffers lies: for who
    has no use for machine code.
    """

    kernel: Kernel
    args: list[int]
    tiles: int
    cost: float
    bytes: int = 0
    flops: int = 0
    notes: list[str] = field(default_factory=list)
    program: object = None
    slots: tuple[int, ...] = ()
