"""The steps of `cephes.py` and the shuffle as machine code, for large arrays: the same bits, far faster.

Optional: without llvmlite, or on a processor without fused multiply-add, the functions here give None and
NumPy or Python does the work.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import numpy as np

WORTHWHILE = 1 << 17  # elements, of all that has been drawn: below, loading the code costs more than it saves


class Drawn:
    """How much has been asked for so far of what machine code would do quicker. `call`: elements that a call costs as
    much as, the other way."""

    def __init__(self, call: int = 0) -> None:
        self.elements = 0
        self.call = call

    def is_worthwhile(self, count: int) -> bool:
        """Are there by now, with `count` more, so many that the code is worth its loading?"""
        if self.elements < WORTHWHILE:
            self.elements += count + self.call
        return self.elements >= WORTHWHILE


normals, shuffled = Drawn(1 << 13), Drawn()  # NumPy's forty calls for normals; Python's loop costs by the element


@functools.cache
def normal_transform() -> Callable[[np.ndarray, float, float], None] | None:
    """f(words, mean, std): uint32 words, in blocks of 16, become float32 normals in the same memory."""
    address = _address("random_normals", needs_fma=True)
    if address is None:
        return None
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_float)(address)

    def apply(words: np.ndarray, mean: float, std: float) -> None:
        run(words.ctypes.data, words.size // 16, mean, std)

    return apply


@functools.cache
def shuffle() -> Callable[[np.ndarray, np.ndarray], None] | None:
    """f(order, targets): for each i in turn, swap order[i] and order[targets[i]]; both int64."""
    address = _address("random_shuffle", needs_fma=False)
    if address is None:
        return None
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)

    def apply(order: np.ndarray, targets: np.ndarray) -> None:
        run(order.ctypes.data, targets.ctypes.data, targets.size)

    return apply


def _address(name: str, needs_fma: bool) -> int | None:
    from facula.engine.targets import host  # loads the engine: where large arrays are drawn it is there
    from facula.rng.native_code import TEXTS  # loads the compiler's writer, which `import facula` need not
    found = host.functions(TEXTS[name], (name,), needs_fma)
    return None if found is None else found[name]
