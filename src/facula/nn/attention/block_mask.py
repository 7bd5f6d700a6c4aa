"""Masks of attention by blocks: which blocks of (queries, keys) have anything in them, and which are full.

A matrix of blocks is kept as "ordered": for each row how many blocks it has, and the columns with those in front.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import facula
from facula import absent

MaskMod = Callable[[Any, Any, Any, Any], Any]
_BLOCK = 128  # of queries and of keys, where nothing is said
_CELLS = "  ", "░░", "██"  # nothing, some, everything of what a printed cell stands for


def noop_mask(batch: Any, head: Any, token_q: Any, token_kv: Any) -> Any:
    """The mask of everything."""
    return batch.new_ones(size=(), dtype=facula.bool)


def _sliced_mask_mod_error(batch: Any, head: Any, token_q: Any, token_kv: Any) -> Any:
    """RuntimeError: the `mask_mod` of a part of a BlockMask, whose positions are others."""
    raise RuntimeError("Cannot use mask_mod from a sliced BlockMask. When you slice a BlockMask using [], the mask_mod "
                       "attribute is reset. You must set it: sliced.mask_mod = a function of the part's own positions")


class BlockMask:
    """A mask (*, q_len, kv_len) by blocks of BLOCK_SIZE; `create_block_mask` and `from_kv_blocks` make it.

    `kv_num_blocks` (*, Q blocks) and `kv_indices` (*, Q blocks, KV blocks), int32, say for each row of blocks how
    many have something and which; `full_kv_...` the same of those that have everything, where `mask_mod` is not asked;
    `q_...` and `full_q_...` are their transposes. `dq_...` is what kernels of PyTorch on GPUs want to know of their
    order; here it is only kept.

    Raises:
        RuntimeError: `kv_indices` has less than 2 dimensions.
        AssertionError: one of a pair is missing.
    """

    _TENSOR_ATTRS = ["kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks",
                     "q_indices", "full_q_num_blocks", "full_q_indices", "dq_write_order", "dq_write_order_full",
                     "dq_kv_order"]

    def __init__(self, seq_lengths: tuple[int, int], kv_num_blocks: Any, kv_indices: Any, full_kv_num_blocks: Any,
                 full_kv_indices: Any, q_num_blocks: Any, q_indices: Any, full_q_num_blocks: Any, full_q_indices: Any,
                 BLOCK_SIZE: tuple[int, int] = (_BLOCK, _BLOCK), mask_mod: MaskMod = noop_mask, *,
                 dq_write_order: Any = None, dq_write_order_full: Any = None, dq_kv_order: Any = None,
                 dq_kv_order_spt: bool | None = None) -> None:
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        for first, second, names in ((kv_num_blocks, kv_indices, "kv"),
                                     (full_kv_num_blocks, full_kv_indices, "full_kv"),
                                     (q_num_blocks, q_indices, "q"), (full_q_num_blocks, full_q_indices, "full_q")):
            if (first is None) != (second is None):
                raise AssertionError(f"{names}_num_blocks and {names}_indices must be both provided or omitted")
        if dq_write_order_full is not None and dq_write_order is None:
            raise ValueError("dq_write_order_full requires dq_write_order")
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices
        self.q_num_blocks, self.q_indices = q_num_blocks, q_indices
        self.full_q_num_blocks, self.full_q_indices = full_q_num_blocks, full_q_indices
        self.dq_write_order, self.dq_write_order_full = dq_write_order, dq_write_order_full
        self.dq_kv_order, self.dq_kv_order_spt = dq_kv_order, dq_kv_order_spt

    @classmethod
    def from_kv_blocks(cls, kv_num_blocks: Any, kv_indices: Any, full_kv_num_blocks: Any = None,
                       full_kv_indices: Any = None, BLOCK_SIZE: int | tuple[int, int] = _BLOCK,
                       mask_mod: MaskMod | None = None, seq_lengths: tuple[int, int] | None = None,
                       compute_q_blocks: bool = True, *, dq_write_order: Any = None, dq_write_order_full: Any = None,
                       dq_kv_order: Any = None) -> BlockMask:
        """The mask of these blocks; those by queries are made of them, if `compute_q_blocks`.

        Example:
            >>> import facula
            >>> from facula.nn.attention.flex_attention import BlockMask
            >>> count, columns = facula.tensor([[1, 2]]), facula.tensor([[[0, 1], [0, 1]]])
            >>> BlockMask.from_kv_blocks(count, columns, BLOCK_SIZE=4).to_dense()
            tensor([[[1, 0],
                     [1, 1]]], dtype=torch.int32)
        """
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
        q = full_q = (None, None)
        if compute_q_blocks:
            q = transposed(kv_num_blocks, kv_indices)
            if full_kv_num_blocks is not None:
                full_q = transposed(full_kv_num_blocks, full_kv_indices)
        if seq_lengths is None:
            seq_lengths = kv_indices.shape[-2] * size[0], kv_indices.shape[-1] * size[1]
        spt = dq_kv_order if isinstance(dq_kv_order, bool) else None
        return cls(seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, *q, *full_q, size,
                   noop_mask if mask_mod is None else mask_mod, dq_write_order=dq_write_order,
                   dq_write_order_full=dq_write_order_full, dq_kv_order=dq_kv_order if spt is None else None,
                   dq_kv_order_spt=spt)

    def as_tuple(self, flatten: bool = True) -> tuple[Any, ...]:
        """All attributes; the pairs of numbers as two each, if `flatten`."""
        tensors = [getattr(self, name) for name in self._TENSOR_ATTRS]
        lengths, size = (self.seq_lengths, self.BLOCK_SIZE) if flatten else ((self.seq_lengths,), (self.BLOCK_SIZE,))
        return (*lengths, *tensors, self.dq_kv_order_spt, *size, self.mask_mod)

    @property
    def shape(self) -> tuple[int, ...]:
        """(*, q_len, kv_len)"""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self) -> int:
        """How many pairs of positions there are, masked or not."""
        return math.prod(self.shape)

    def sparsity(self) -> float:
        """How many percent of all pairs are in no block. (Less than 0 where blocks reach beyond the lengths.)"""
        blocks = self.kv_num_blocks.sum().item()
        if self.full_kv_num_blocks is not None:
            blocks += self.full_kv_num_blocks.sum().item()
        return 100 * (1 - int(blocks) * math.prod(self.BLOCK_SIZE) / self.numel())

    def to_dense(self) -> Any:
        """1 for each block that has anything: (*, Q blocks, KV blocks), int32."""
        found = dense(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is not None:
            found = found | dense(self.full_kv_num_blocks, self.full_kv_indices)
        return found

    def to(self, device: Any) -> BlockMask:
        """The mask on another device."""
        return self._with(lambda t: t.to(device), self.mask_mod, self.seq_lengths)

    def _with(self, change: Callable[[Any], Any], mask_mod: MaskMod, lengths: tuple[int, int]) -> BlockMask:
        tensors = {name: None if (t := getattr(self, name)) is None else change(t) for name in self._TENSOR_ATTRS}
        return type(self)(lengths, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=mask_mod, dq_kv_order_spt=self.dq_kv_order_spt,
                          **tensors)

    def __getitem__(self, index: Any) -> BlockMask:
        """The mask of some batches, heads and rows of blocks; its `mask_mod` has to be set anew before it is used.

        A number takes one and keeps the dimension.
        """
        places = tuple(slice(i % n, i % n + 1) if isinstance(i, int) and -n <= i < n else
                       slice(i, i + 1) if isinstance(i, int) else i
                       for i, n in zip(index if isinstance(index, tuple) else (index,), self.kv_num_blocks.shape,
                                       strict=False))
        if any(i is ... for i in places):
            raise IndexError("a BlockMask is indexed by batches, heads and rows of blocks, not by an ellipsis")
        return self._part(lambda t: t[places], lambda t: t[places], _sliced_mask_mod_error, self.seq_lengths)

    def _part(self, of_rows: Callable[[Any], Any], of_blocks: Callable[[Any], Any], mask_mod: MaskMod,
              lengths: tuple[int, int]) -> BlockMask:
        full = self.full_kv_num_blocks is not None
        part = type(self).from_kv_blocks(
            of_rows(self.kv_num_blocks), of_blocks(self.kv_indices),
            of_rows(self.full_kv_num_blocks) if full else None, of_blocks(self.full_kv_indices) if full else None,
            self.BLOCK_SIZE, mask_mod, lengths, self.q_num_blocks is not None)
        if self.dq_write_order is not None:
            if self.dq_kv_order_spt is None:
                raise absent.refusal("a part of a BlockMask with a dq_kv_order of its own")
            part._write_order(self.dq_kv_order_spt)
        return part

    def _adjust(self, new_q_len: int, new_kv_len: int) -> BlockMask:
        """The upper left part of the mask, for sequences of these lengths."""
        rows, columns = -(-new_q_len // self.BLOCK_SIZE[0]), -(-new_kv_len // self.BLOCK_SIZE[1])
        return self._part(lambda t: t[..., :rows].clamp(max=columns), lambda t: t[..., :rows, :columns], self.mask_mod,
                          (new_q_len, new_kv_len))

    def _write_order(self, descending: bool) -> None:
        """For each block by queries: how many blocks of its row come before it, in that order of the keys."""
        there = self.to_dense()
        before = there.cumsum(-1) - there
        if descending:
            before = there.sum(-1, keepdim=True) - 1 - before
        before = before.transpose(-1, -2)
        self.dq_kv_order_spt = descending
        self.dq_write_order = before.gather(-1, self.q_indices.long()).int()
        if self.full_q_indices is not None:
            self.dq_write_order_full = before.gather(-1, self.full_q_indices.long()).int()

    def to_string(self, grid_size: int | tuple[int, int] = (20, 20), limit: int = 4) -> str:
        """A picture of the blocks, in a grid of that many rows and columns at most (-1: all of them), of the first
        `limit` batches and heads."""
        rows, columns = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
        blocks = self.to_dense()
        pictures = []
        for count, place in enumerate(itertools.product(*map(range, blocks.shape[:-2]))):
            if count == limit:
                pictures.append("...\nTo print out more, set BlockMask.to_string(limit=N)\nYou can also index "
                                "(BlockMask[batch, head]) to choose a specific batch or head")
                break
            pictures.append(f"{place}\n{_drawn(blocks[place].tolist(), rows, columns)}\n")
        return "\n".join(pictures)

    def __str__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string().strip()}\n)"

    def __repr__(self) -> str:
        lines = [f"    {name}={None if (t := getattr(self, name)) is None else t.shape},\n"
                 for name in self._TENSOR_ATTRS[:8]]
        return (f"BlockMask(\n{''.join(lines)}    BLOCK_SIZE={self.BLOCK_SIZE},\n    shape={self.shape},\n"
                f"    sparsity={self.sparsity():.2f}%,\n"
                f"    mask_mod={getattr(self.mask_mod, '__name__', self.mask_mod)}\n)")


def _drawn(blocks: list[list[int]], rows: int, columns: int) -> str:
    """Rows of cells; each stands for as many blocks as the grid makes necessary."""
    high = 1 if rows < 1 else max(1, -(-len(blocks) // rows))
    wide = 1 if columns < 1 or not blocks else max(1, -(-len(blocks[0]) // columns))
    lines = []
    for top in range(0, len(blocks), high):
        band = blocks[top:top + high]
        cells = [[b for row in band for b in row[left:left + wide]] for left in range(0, len(band[0]), wide)]
        lines.append("".join(_CELLS[2 if all(cell) else 1 if any(cell) else 0] for cell in cells))
    return "\n".join(lines)


def ordered(blocks: Any) -> tuple[Any, Any]:
    """How many blocks each row of (*, R, C) has, and its columns, those of the blocks in front: int32."""
    whole = blocks.int().clone(memory_format=facula.contiguous_format)
    return whole.sum(-1).int(), whole.argsort(dim=-1, descending=True, stable=True).int()


def dense(number: Any, indices: Any) -> Any:
    """The blocks (*, R, C) that `ordered` made these of, int32. Columns that do not exist are left out."""
    columns = indices.shape[-1]
    there = (facula.arange(columns, device=indices.device) < number.unsqueeze(-1)) & (indices < columns)
    places = facula.where(there, indices.long(), columns)
    return facula.zeros(*indices.shape[:-1], columns + 1, dtype=facula.int32, device=indices.device).scatter(
        -1, places, 1)[..., :columns]


def transposed(number: Any, indices: Any) -> tuple[Any, Any]:
    """`ordered` blocks with rows and columns exchanged."""
    return ordered(dense(number, indices).transpose(-1, -2))


def block_mask_of(mask: Any, size: tuple[int, int], mask_mod: MaskMod, separate_full_blocks: bool) -> BlockMask:
    """The blocks of a bool mask (B, H, Q_LEN, KV_LEN). AssertionError for another dtype."""
    if mask.dtype is not facula.bool:
        raise AssertionError(f"mask.dtype must be torch.bool, got {mask.dtype}")
    lengths = q_len, kv_len = mask.shape[-2:]
    rows, columns = -(-q_len // size[0]), -(-kv_len // size[1])
    padded = facula.nn.functional.pad(mask, (0, columns * size[1] - kv_len, 0, rows * size[0] - q_len))
    count = padded.reshape(*mask.shape[:2], rows, size[0], columns, size[1]).sum((-3, -1))
    if not separate_full_blocks:
        return BlockMask.from_kv_blocks(*ordered(count > 0), None, None, size, mask_mod, tuple(lengths))
    full = count == math.prod(size)
    return BlockMask.from_kv_blocks(*ordered((count > 0) & ~full), *ordered(full), size, mask_mod, tuple(lengths))
