"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

import facula

__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
           "pad_sequence", "unpack_sequence", "unpad_sequence"]


class _Packed(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes this one."""
    return None if permutation is None else permutation.argsort()


class PackedSequence(_Packed):
    """The elements of several sequences, the longest sequence first, step by step and without padding.

    `data` has them all, `batch_sizes` says how many sequences reach each step; `sorted_indices` brought the
    sequences in this order and `unsorted_indices` brings them back.
    """

    def __new__(cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None,
                unsorted_indices: Any = None) -> Any:
        if batch_sizes is None:
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with its data on another device or of another dtype."""
        return type(self)(self.data.to(*args, **kwargs), *self[1:])  # type: ignore[no-any-return]

    def cpu(self) -> PackedSequence:
        """The same in main memory."""
        return self.to("cpu")

    def double(self) -> PackedSequence:
        """The same in double precision."""
        return self.to(facula.float64)

    def float(self) -> PackedSequence:
        """The same in single precision."""
        return self.to(facula.float32)

    def half(self) -> PackedSequence:
        """The same in half precision."""
        return self.to(facula.float16)

    def long(self) -> PackedSequence:
        """The same as 64-bit integers."""
        return self.to(facula.int64)

    def int(self) -> PackedSequence:
        """The same as 32-bit integers."""
        return self.to(facula.int32)

    def short(self) -> PackedSequence:
        """The same as 16-bit integers."""
        return self.to(facula.int16)

    def char(self) -> PackedSequence:
        """The same as 8-bit integers."""
        return self.to(facula.int8)

    def byte(self) -> PackedSequence:
        """The same as bytes."""
        return self.to(facula.uint8)

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same on a GPU."""
        return type(self)(self.data.cuda(*args, **kwargs), *self[1:])  # type: ignore[no-any-return]

    def pin_memory(self) -> PackedSequence:
        """The same in memory that an accelerator can read; see `Tensor.pin_memory`."""
        return type(self)(*(None if t is None else t.pin_memory() for t in self))  # type: ignore[no-any-return]

    def is_pinned(self) -> bool:
        """Is the data in such memory?"""
        return bool(self.data.is_pinned())

    @property
    def is_cuda(self) -> bool:
        """Is the data on a GPU?"""
        return bool(self.data.is_cuda)


def _packing(counts: list[int], steps: int, batch: int, batch_first: bool) -> tuple[list[int], Any]:
    """How many of the sequences, whose lengths are `counts` (decreasing), reach each step; and where the elements of
    the packed sequence are among the `steps` times `batch` of the padded one."""
    lengths = np.array(counts)
    sizes = (lengths[None, :] > np.arange(counts[0])[:, None]).sum(1)
    step = np.repeat(np.arange(counts[0]), sizes)
    which = np.arange(len(step)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return sizes.tolist(), facula.from_numpy(which * steps + step if batch_first else step * batch + which)


def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Pack (L, B, *), or (B, L, *), of which only `lengths` (B) elements of each sequence count.

    Raises:
        RuntimeError: a length is not positive, or the lengths do not decrease and `enforce_sorted` is set.

    Example:
        >>> import facula
        >>> x = facula.tensor([[1.0, 2.0], [3.0, 0.0]])
        >>> facula.nn.utils.rnn.pack_padded_sequence(x, [2, 1], batch_first=True).data
        tensor([1., 3., 2.])
    """
    lengths = facula.as_tensor(lengths, dtype=facula.int64, device="cpu")
    order = None
    if not enforce_sorted:
        lengths, order = facula.sort(lengths, descending=True, stable=True)
        input = input.index_select(0 if batch_first else 1, order)
    counts = lengths.tolist()
    batch, steps = input.shape[:2] if batch_first else input.shape[1::-1]
    if len(counts) != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} (batch_size="
                           f"{batch})")
    if not counts or min(counts) <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' that "
                           "is <= 0")
    if any(a < b for a, b in zip(counts, counts[1:], strict=False)):
        raise RuntimeError("`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You "
                           "can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep "
                           "this requirement if you do not need ONNX exportability.")
    if counts[0] > steps:
        raise RuntimeError(f"Expected every length to be at most the {steps} steps of the input, got {counts[0]}")
    sizes, places = _packing(counts, steps, batch, batch_first)
    data = facula._packed_rows(input, places.to(input.device))
    return PackedSequence(data, facula.tensor(sizes, device="cpu"), order)  # type: ignore[no-any-return]


def pad_packed_sequence(sequence: Any, batch_first: bool = False, padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Any, Any]:
    """The padded sequences, and how long each is: undoes `pack_padded_sequence`."""
    sizes = sequence.batch_sizes.tolist()
    longest = len(sizes)
    if total_length is not None:
        if total_length < longest:
            raise ValueError("Expected total_length to be at least the length of the longest sequence in input, but "
                             f"got total_length={total_length} and max sequence length being {longest}")
        longest = total_length
    counts = [sum(size > k for size in sizes) for k in range(sizes[0])]
    _, places = _packing(counts, longest, sizes[0], batch_first)
    data = sequence.data
    shape = (sizes[0], longest) if batch_first else (longest, sizes[0])
    flat = data.new_full((longest * sizes[0], *data.shape[1:]), padding_value)
    padded = flat.index_copy(0, places.to(data.device), data).reshape(*shape, *data.shape[1:])
    lengths = facula.tensor(counts, device="cpu")
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices
        return padded.index_select(0 if batch_first else 1, back), lengths[back]
    return padded, lengths


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (L_i, *)."""
    lengths = [sequence.size(0) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: Any) -> list[Any]:
    """The sequences that `pack_sequence` packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Any:
    """Stack sequences (L_i, *) into (max L, B, *), or (B, max L, *) with `batch_first`.

    Args:
        padding_side: "right" or "left".

    Raises:
        RuntimeError: `sequences` is no iterable, or the side is not known.

    Example:
        >>> import facula
        >>> facula.nn.utils.rnn.pad_sequence([facula.ones(1), facula.ones(2)], batch_first=True)
        tensor([[1., 0.],
                [1., 1.]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError("pad_sequence: Expected iterable for input sequences, but got arg of type: "
                           f"{type(sequences)}")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"padding_side should be one of 'left' or 'right', got: {padding_side}")
    sequences = sequences.unbind(0) if isinstance(sequences, facula.Tensor) else tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(sequence.size(0) for sequence in sequences)
    padded = []
    for sequence in sequences:
        missing = longest - sequence.size(0)
        if missing:
            filler = sequence.new_full((missing, *sequence.shape[1:]), padding_value)
            parts = [sequence, filler] if padding_side == "right" else [filler, sequence]
            sequence = facula.cat(parts)
        padded.append(sequence)
    return facula.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences that `pad_sequence` stacked, given their lengths (B)."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [sequence[:int(length)] for sequence,
            length in zip(padded_sequences, lengths.tolist(), strict=False)]
