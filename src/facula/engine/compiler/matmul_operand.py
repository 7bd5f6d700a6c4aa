"""What a matrix product is told about its matrices and about the work fused behind it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from facula.engine.compiler.emit.gemm import EmitEpilogue


@dataclass(frozen=True)
class Map:
    """Where a mapped operand's elements are (operands.py has the reasons).

    axes     of batch, row and column: (size, stride, step of each bounded coordinate) of each dimension, the
             innermost first
    memory   how many elements it is a map of
    bounds   of each bounded coordinate: (start, size)
    fill_at  the run-time number that is read outside the bounds, or -1
    """

    axes: tuple[tuple[tuple[int, ...], ...], ...]
    memory: int
    bounds: tuple[tuple[int, int], ...] = ()
    fill_at: int = -1

    def words(self, at: int) -> list[int]:
        """As kernels read it from args[at:]."""
        head = [self.fill_at, 0, 0, 0, *(x for bound in self.bounds for x in bound)]
        for k, axis in enumerate(self.axes):
            head[1 + k] = at + len(head)
            head += [len(axis), *(x for dim in axis for x in dim)]
        return head


@dataclass(frozen=True)
class Operand:
    """A matrix (or a batch of them) in the plan's buffer table; offset and strides count elements.

    The start is `offset`, plus the run-time number nums[offset_at] if that is given.
    """

    slot: int
    offset: int
    strides: tuple[int, int, int]  # batch, row, column
    offset_at: int | None = None
    map: Map | None = None  # instead of strides

    def words(self) -> list[int]:
        """As kernels read it from args."""
        return [self.slot, self.offset, -1 if self.offset_at is None else self.offset_at, *self.strides]

    def with_strides(self, batch: int, row: int, column: int) -> Operand:
        return replace(self, strides=(batch, row, column))


@dataclass(frozen=True)
class Epilogue:
    """Pointwise work on the product before it is stored.

    `key` names the text that `emit` produces: kernels are shared by key. `args` follow the kernel's own, and
    `emit` is told where they start. `flat` promises that the batch and row indices are only used as
    batch * m + row, so that a batch over one B may be multiplied as one tall matrix (batch is then 0).
    """

    key: str
    emit: EmitEpilogue
    args: list[int] = field(default_factory=list)
    flat: bool = False


def gflops(itemsize: int, vector_bytes: int) -> float:
    """Roughly what a core does per nanosecond: only for Step.cost."""
    return 100.0 * (vector_bytes / 64) * (4 / itemsize)


def split(total: int, most: int, multiple: int = 1) -> tuple[int, int]:
    """Equal parts of at most about `most`, rounded up to `multiple`: (size, count)."""
    count = max(1, -(-total // most))
    size = max(multiple, -(-total // (count * multiple)) * multiple)
    return size, max(1, -(-total // size))
