"""The Mersenne Twister MT19937 as PyTorch keeps it: seed, 624 words, position, cached normals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facula.undisturbed import reentrant_lock

if TYPE_CHECKING:
    from numpy.random import MT19937

WORDS = 624  # of state
DEFAULT_SEED = 67280421310721  # what PyTorch calls default_rng_seed_val

# The 5056 bytes of torch.get_rng_state(). The words are stored as 64-bit numbers for historical reasons;
# normal_x and normal_rho have been dead for as long.
STATE = np.dtype([
    ("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("words", "<u8", (WORDS,)),
    ("normal_x", "<f8"), ("normal", "<f8"), ("normal_rho", "<f8"), ("has_normal", "<i4"), ("pad0", "<i4"),
    ("float_normal", "<f4"), ("has_float_normal", "?"), ("pad1", "u1", (3,)),
])


class Twister:
    """A stream of 32-bit words, with PyTorch's seeding and its layout of the state.

    `spare` and `spare_float` hold the second number of a Box-Muller pair until it is asked for.

    Example:
        >>> from facula.rng.twister import Twister
        >>> Twister(0).words(2)
        array([2357136044, 2546248239], dtype=uint32)
    """

    def __init__(self, seed: int = DEFAULT_SEED) -> None:
        self.lock = reentrant_lock()
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start over from `seed`: 64 bits are remembered, the low 32 bits decide the stream."""
        with self.lock:
            self.initial_seed = seed & 0xFFFFFFFFFFFFFFFF
            self.spare: float | None = None
            self.spare_float: float | None = None
            self._place(_seed_words(seed & 0xFFFFFFFF), WORDS)
            self._untouched = True

    def _place(self, words: np.ndarray, position: int) -> None:
        self._start = (words, position)  # handed to NumPy's generator when the first word is drawn
        self._bits: MT19937 | None = None

    def _generator(self) -> MT19937:
        if self._bits is None:
            from numpy.random import MT19937  # 10 ms, which a program without random numbers need not pay
            words, position = self._start
            self._bits = MT19937(0)
            self._bits.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": position}}
        return self._bits

    def words(self, count: int) -> np.ndarray:
        """The next `count` 32-bit words, (count,) uint32."""
        if count == 0:
            return np.empty(0, np.uint32)
        self._untouched = False
        return self._generator().random_raw(count).astype(np.uint32)

    def words64(self, count: int) -> np.ndarray:
        """The next `count` 64-bit words, (count,) uint64: each takes two 32-bit words, high half first."""
        if count == 0:
            return np.empty(0, np.uint64)
        self._untouched = False
        raw = self._generator().random_raw(2 * count)
        return (raw[0::2] << np.uint64(32)) | raw[1::2]

    def random(self) -> int:
        """One 32-bit word."""
        with self.lock:
            self._untouched = False
            return int(self._generator().random_raw())

    def random64(self) -> int:
        """One 64-bit word."""
        with self.lock:
            high = self.random()
            return high << 32 | self.random()

    def get_state(self) -> np.ndarray:
        """The whole state as (5056,) uint8, in the layout of `torch.get_rng_state()`.

        Example:
            >>> from facula.rng.twister import Twister
            >>> Twister(0).get_state().shape
            (5056,)
        """
        with self.lock:
            if self._bits is None:
                words, position = self._start
            else:
                inner = self._bits.state["state"]
                words, position = inner["key"], inner["pos"]
            state = np.zeros((), STATE)
            state["seed"], state["seeded"], state["words"] = self.initial_seed, 1, words
            # PyTorch counts down the words left, plus one; before the first word that is 1, at position 0
            state["left"] = WORDS + 1 - position
            state["next"] = 0 if self._untouched else position
            if self.spare is not None:
                state["normal"], state["has_normal"] = self.spare, 1
            if self.spare_float is not None:
                state["float_normal"], state["has_float_normal"] = self.spare_float, True
            return np.frombuffer(state.tobytes(), np.uint8).copy()

    def set_state(self, state: np.ndarray) -> None:
        """Continue from a state that `get_state` or PyTorch gave. TypeError or RuntimeError if it is none."""
        if state.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.size != STATE.itemsize:
            raise RuntimeError(f"Expected a CPUGeneratorImplState of size {STATE.itemsize} "
                               f"but found the input RNG state size to be {state.size}")
        new = np.frombuffer(np.ascontiguousarray(state).tobytes(), STATE)[0]
        left, following = int(new["left"]), int(new["next"])
        if not new["seeded"] or not 0 < left <= WORDS or following > WORDS:
            raise RuntimeError("Invalid mt19937 state")
        with self.lock:
            self.initial_seed = int(new["seed"])
            self.spare = float(new["normal"]) if new["has_normal"] else None
            self.spare_float = float(new["float_normal"]) if new["has_float_normal"] else None
            self._place(new["words"].astype(np.uint32), WORDS + 1 - left)
            self._untouched = following == 0


def _seed_words(seed: int) -> np.ndarray:
    """Knuth's recurrence, as in the authors' init_genrand (Matsumoto and Nishimura, 2002)."""
    words = [seed]
    for i in range(1, WORDS):
        seed = (1812433253 * (seed ^ seed >> 30) + i) & 0xFFFFFFFF
        words.append(seed)
    return np.array(words, np.uint32)
