"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import facula

__all__ = ["pad_sequence", "unpad_sequence"]


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
