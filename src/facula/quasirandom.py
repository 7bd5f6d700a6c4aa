"""`torch.quasirandom`: numbers that fill a cube more evenly than random ones do.

Example:
    >>> import facula
    >>> facula.quasirandom.SobolEngine(2).draw(3)
    tensor([[0.0000, 0.0000],
            [0.5000, 0.5000],
            [0.7500, 0.2500]])
"""

from __future__ import annotations

from typing import Any

import numpy as np

import facula
from facula.rng.sobol_directions import BITS, DIMENSIONS, directions

__all__ = ["SobolEngine"]


class SobolEngine:
    """Sobol's sequence (1967) with the direction numbers of Joe and Kuo (2008), as PyTorch draws it.

    Args:
        dimension: from 1 to 1111.
        scramble: permuted at random (a matrix and a shift of the bits); the numbers are as evenly spread.
        seed: of the permutation; else the default generator draws it.

    Raises:
        ValueError: a dimension below 1 or above 21201. NotImplementedError: one above 1111.

    Example:
        >>> import facula
        >>> engine = facula.quasirandom.SobolEngine(3, scramble=True, seed=0)
        >>> x = engine.draw(256)
        >>> x.shape, bool((x.mean(0) - 0.5).abs().max() < 0.01)
        (torch.Size([256, 3]), True)
    """

    MAXBIT = BITS
    MAXDIM = 21201
    num_generated: int
    quasi: Any

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if dimension > self.MAXDIM or dimension < 1:
            raise ValueError(f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}]")
        if dimension > DIMENSIONS:
            raise NotImplementedError(f"SobolEngine of more than {DIMENSIONS} dimensions is not in Facula yet")
        self.seed, self.scramble, self.dimension = seed, scramble, dimension
        state, shift = directions(dimension), np.zeros(dimension, np.int64)
        if scramble:
            state, shift = self._scrambled(state)
        self.sobolstate, self.shift = facula.tensor(state), facula.tensor(shift)
        self.reset()

    def _scrambled(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State and first point after a permutation: bits times a lower triangular matrix, and a shift."""
        generator: Any = None
        if self.seed is not None:
            generator = facula.Generator()
            generator.manual_seed(self.seed)
        size = self.dimension, BITS
        bits = facula.randint(2, size, generator=generator).numpy()
        matrix = np.tril(facula.randint(2, (*size, BITS), generator=generator).numpy())
        matrix[:, range(BITS), range(BITS)] = 1
        powers = 1 << np.arange(BITS, dtype=np.int64)
        high = state[:, None, :] >> np.arange(BITS - 1, -1, -1)[None, :, None] & 1  # (dimension, bit, number)
        mixed = np.matmul(matrix, high) & 1
        return np.einsum("dbn,b->dn", mixed, powers[::-1]), bits @ powers

    def draw(self, n: int = 1, out: Any = None, dtype: Any = None) -> Any:
        """The next `n` points: (n, dimension), in [0, 1).

        Raises:
            RuntimeError: fewer than one.
        """
        if n < 1:
            raise RuntimeError(f"SobolEngine.draw: expected at least one point, got n={n}")
        before, first = self.num_generated, self.num_generated == 0
        points = self._next(before - (not first), n - first)
        if first:
            points = np.concatenate([self.shift.numpy()[None], points])
        self.num_generated = before + n
        found = facula.tensor(points).to(facula.get_default_dtype() if dtype is None else dtype) * 2.0 ** -BITS
        if out is None:
            return found
        return out.resize_(found.shape).copy_(found)

    def _next(self, at: int, count: int) -> np.ndarray:
        """As many points after the one with the number `at`: each differs by one direction from the one before."""
        which = at + np.arange(max(count, 0), dtype=np.int64)
        lowest = ~which & which + 1  # the lowest bit that is 0
        steps = self.sobolstate.numpy().T[np.log2(lowest).astype(np.int64)]
        points = np.bitwise_xor.accumulate(np.concatenate([self.quasi.numpy()[None], steps]))
        self.quasi = facula.tensor(points[-1])
        return points[1:]

    def draw_base2(self, m: int, out: Any = None, dtype: Any = None) -> Any:
        """The next 2^m points. With those before they have to be a power of 2, of which the sequence is balanced.

        Raises:
            ValueError: they are not.
        """
        n = 2 ** m
        total = self.num_generated + n
        if total & total - 1:
            raise ValueError("The balance properties of Sobol' points require n to be a power of 2. "
                             f"{self.num_generated} points have been previously generated, then: n={self.num_generated}"
                             f"+2**{m}={total}. If you still want to do this, please use 'SobolEngine.draw()' instead.")
        return self.draw(n, out, dtype)

    def reset(self) -> SobolEngine:
        """Begin anew."""
        self.quasi, self.num_generated = self.shift.clone(), 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Leave out the next `n` points."""
        first = self.num_generated == 0
        self._next(self.num_generated - (not first), n - first)
        self.num_generated += n
        return self

    def __repr__(self) -> str:
        told = [f"dimension={self.dimension}", *["scramble=True"] * self.scramble,
                *[f"seed={self.seed}"] * (self.seed is not None)]
        return f"{type(self).__name__}({', '.join(told)})"
