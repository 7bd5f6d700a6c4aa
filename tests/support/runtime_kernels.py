"""Hand-written kernels for the tests of the runtime. They follow engine/compiler/kernel.py."""

from facula.engine.compiler.kernel import Kernel, Step

# args: slot of an int32 table, nanosecond-ish delay per tile. Adds 1 to table[tile] for each of its tiles.
COUNT = """
define void @count(ptr %args, ptr %bufs, ptr %nums, i64 %lo, i64 %hi, ptr %scratch) {
entry:
  %slot = load i64, ptr %args
  %at = getelementptr ptr, ptr %bufs, i64 %slot
  %table = load ptr, ptr %at
  %delay.at = getelementptr i64, ptr %args, i64 1
  %delay = load i64, ptr %delay.at
  br label %look
look:
  %tile = phi i64 [ %lo, %entry ], [ %next, %done ]
  %more = icmp slt i64 %tile, %hi
  br i1 %more, label %wait, label %end
wait:
  %i = phi i64 [ 0, %look ], [ %j, %wait ]
  store volatile i64 %i, ptr %scratch
  %j = add i64 %i, 1
  %again = icmp slt i64 %j, %delay
  br i1 %again, label %wait, label %done
done:
  %place = getelementptr i32, ptr %table, i64 %tile
  %old = atomicrmw add ptr %place, i32 1 monotonic
  %next = add i64 %tile, 1
  br label %look
end:
  ret void
}
"""

# args: source slot, sink slot, number position, elements a tile. sink = source * number + ADDEND, in double
SCALE = """
define void @scale(ptr %args, ptr %bufs, ptr %nums, i64 %lo, i64 %hi, ptr %scratch) {{
entry:
  %a1 = getelementptr i64, ptr %args, i64 1
  %a2 = getelementptr i64, ptr %args, i64 2
  %a3 = getelementptr i64, ptr %args, i64 3
  %s0 = load i64, ptr %args
  %s1 = load i64, ptr %a1
  %s2 = load i64, ptr %a2
  %size = load i64, ptr %a3
  %p0 = getelementptr ptr, ptr %bufs, i64 %s0
  %p1 = getelementptr ptr, ptr %bufs, i64 %s1
  %p2 = getelementptr double, ptr %nums, i64 %s2
  %x = load ptr, ptr %p0
  %y = load ptr, ptr %p1
  %k = load double, ptr %p2
  %begin = mul i64 %lo, %size
  %end = mul i64 %hi, %size
  br label %look
look:
  %i = phi i64 [ %begin, %entry ], [ %j, %do ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %do, label %out
do:
  %xp = getelementptr double, ptr %x, i64 %i
  %yp = getelementptr double, ptr %y, i64 %i
  %v = load double, ptr %xp
  %m = fmul double %v, %k
  %r = fadd double %m, {addend:.1f}
  store double %r, ptr %yp
  %j = add i64 %i, 1
  br label %look
out:
  ret void
}}
"""


def count(slot, tiles, delay=1, cost=1e6):
    """A step that counts, in the int32 table in `slot`, how often each tile was run."""
    return Step(Kernel("count", COUNT), [slot, delay], tiles, cost)


def scale_kernel(addend=0.0):
    """A kernel of its own for each addend."""
    return Kernel("scale", SCALE.format(addend=addend))


def scale(source, sink, number, size, tiles, addend=0.0, cost=1e6):
    """A step: sink = source * numbers[number] + addend, over tiles of `size` doubles."""
    return Step(scale_kernel(addend), [source, sink, number, size], tiles, cost)
