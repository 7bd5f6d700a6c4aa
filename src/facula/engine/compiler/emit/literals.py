"""Numbers as LLVM IR writes them."""

from __future__ import annotations

import struct


def hex_real(x: float) -> str:
    """`x` as an exact IR constant: the bits of the double (also for `float`, whose values are doubles).

    >>> hex_real(1.5)
    '0x3FF8000000000000'
    """
    return f"0x{struct.unpack('<Q', struct.pack('<d', x))[0]:016X}"


def to_single(x: float) -> float:
    """`x` rounded to float32 (overflow to inf), as a Python float."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        rounded = float("inf") if x > 0 else float("-inf")
    return rounded
