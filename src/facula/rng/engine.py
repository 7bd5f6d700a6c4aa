"""PyTorch's CPU generator: one method per distribution, each filling a flat array in one go.

Every method takes a count of elements and a dtype, returns a one-dimensional NumPy array (bfloat16 as
uint16 bit patterns) and advances the state exactly as PyTorch does when it fills a tensor of that size.
Arguments are checked by the callers in `ops/random/sampling.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from facula.dtypes import bfloat16, bool_, dtype, float16, float32, float64, int64
from facula.rng import cephes, combinatorial, gamma, native
from facula.rng.functions import Exact, Fast, Functions
from facula.rng.rounding import fma, to_dtype
from facula.rng.twister import Twister

# Significant bits, the hidden one included
DIGITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}
CHUNK = 32768  # elements worked on at a time, so that intermediate arrays stay in the cache


class Engine(Twister):
    """A random generator whose numbers and states are those of `torch.Generator` on the CPU.

    Example:
        >>> from facula.dtypes import float32
        >>> from facula.rng import Engine
        >>> Engine(0).uniform(2, float32)
        array([0.4962566, 0.7682218], dtype=float32)
    """

    # ---- uniform -------------------------------------------------------------------------------------------

    def _unit_float(self, count: int) -> np.ndarray:
        """float32 in [0, 1): 24 bits of one word each."""
        words = self.words(count)
        words &= np.uint32(0xFFFFFF)
        return np.multiply(words.view(np.int32), np.float32(2.0**-24), dtype=np.float32, casting="unsafe")

    def _unit_double(self, count: int) -> np.ndarray:
        """float64 in [0, 1): 53 bits of two words each."""
        words = self.words64(count)
        words &= np.uint64(0x1FFFFFFFFFFFFF)
        return words.view(np.int64) * 2.0**-53

    def uniform(self, count: int, to: dtype, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Uniform in [low, high), (count,). 16-bit floats are float32 draws, rounded.

        Example:
            >>> from facula.dtypes import float64
            >>> from facula.rng import Engine
            >>> Engine(0).uniform(1, float64, -1.0, 1.0)
            array([0.940106])
        """
        with self.lock:
            out = np.empty(count, to.numpy)
            for start, stop in _chunks(count):
                out[start:stop] = self._uniform(stop - start, to, low, high)
            return out

    def _uniform(self, count: int, to: dtype, low: float, high: float) -> np.ndarray:
        x = self._unit_double(count) if to is float64 else self._unit_float(count)
        if low == 0.0 and high == 1.0 and to.itemsize >= 4:
            return x
        number = x.dtype.type
        x = fma(x, float(number(high) - number(low)), float(number(low)))
        x = to_dtype(x, to)
        ends = to_dtype(np.array([low, high], number), to)
        x[x == ends[1]] = ends[0]  # rounding can reach the upper end, which does not belong to the interval
        return x

    # ---- normal --------------------------------------------------------------------------------------------

    def normal(self, count: int, to: dtype, mean: float = 0.0, std: float = 1.0,
               contiguous: bool = True) -> np.ndarray:
        """Normal numbers, (count,).

        PyTorch has two ways: blocks of 16 for contiguous tensors of at least 16 elements, and one by one in
        double precision otherwise, where the second number of a Box-Muller pair waits for the next call.

        Example:
            >>> from facula.dtypes import float32
            >>> from facula.rng import Engine
            >>> Engine(0).normal(3, float32)
            array([ 1.5409961, -0.2934289, -2.1787894], dtype=float32)
        """
        with self.lock:
            if count < 16 or not contiguous:
                return to_dtype(fma(self._normals_in_sequence(count, _functions(to)), std, mean), to)
            out = np.empty(count, to.numpy)
            transform = self._normal_doubles if to is float64 else self._float_transform(count)
            whole = count // 16 * 16
            for start, stop in _chunks(whole):
                out[start:stop] = to_dtype(transform(stop - start, mean, std), to)
            if whole != count:
                if to.itemsize >= 4:  # PyTorch fills everything with uniform numbers first
                    self.words(count - whole) if to is float32 else self.words64(count - whole)
                out[count - 16:] = to_dtype(transform(16, mean, std), to)
            return out

    def _float_transform(self, count: int) -> Callable[[int, float, float], np.ndarray]:
        if native.normals.is_worthwhile(count) and (transform := native.normal_transform()) is not None:
            def natively(count: int, mean: float, std: float) -> np.ndarray:
                words = self.words(count)
                transform(words, mean, std)
                return words.view(np.float32)
            return natively
        return self._normal_floats

    def _normal_floats(self, count: int, mean: float, std: float) -> np.ndarray:
        pairs = self._unit_float(count).reshape(-1, 2, 8)
        scratch = cephes.Scratch(count // 2)
        radius = cephes.log(np.subtract(np.float32(1), pairs[:, 0]).reshape(-1), scratch).astype(np.float32)
        radius *= np.float32(-2)
        np.sqrt(radius, out=radius)
        theta = np.multiply(pairs[:, 1], np.float32(2 * math.pi)).reshape(-1)
        sine, cosine = cephes.times_sincos(radius, theta, scratch)
        pairs[:, 0] = cosine.reshape(-1, 8)
        pairs[:, 1] = sine.reshape(-1, 8)
        flat = pairs.reshape(-1)
        return fma(flat, std, mean)

    def _normal_doubles(self, count: int, mean: float, std: float) -> np.ndarray:
        pairs = self._unit_double(count).reshape(-1, 2, 8)
        radius = np.sqrt(-2.0 * Exact.log(1.0 - pairs[:, 0]))
        theta = (2 * math.pi) * pairs[:, 1]
        pairs[:, 0] = radius * Exact.cos(theta)
        pairs[:, 1] = radius * Exact.sin(theta)
        return fma(pairs.reshape(-1), std, mean)

    def _normals_in_sequence(self, count: int, functions: Functions) -> np.ndarray:
        """Standard normal float64 numbers, starting with the one that was left over."""
        out = np.empty(count + 1)
        kept = 0
        if self.spare is not None and count:
            out[0], kept = self.spare, 1
            self.spare = None
        pairs = (count - kept + 1) // 2
        for start, stop in _chunks(pairs):
            unit = self._unit_double(2 * (stop - start))
            radius = np.sqrt(-2.0 * functions.log1p(-unit[1::2]))
            theta = (2 * math.pi) * unit[0::2]
            out[kept + 2 * start:kept + 2 * stop:2] = radius * functions.cos(theta)
            out[kept + 2 * start + 1:kept + 2 * stop:2] = radius * functions.sin(theta)
        if kept + 2 * pairs > count:
            # the state's bits can be looked at, so this one is the C library's whatever the rest is
            self.spare = math.sqrt(-2.0 * math.log1p(-unit[-1])) * math.sin((2 * math.pi) * unit[-2])
        return out[:count]

    def log_normal(self, count: int, to: dtype, mean: float = 1.0, std: float = 2.0) -> np.ndarray:
        """exp of normal numbers, (count,)."""
        functions = _functions(to)
        with self.lock:
            exponent = fma(self._normals_in_sequence(count, functions), std, mean)
        with np.errstate(over="ignore"):
            return to_dtype(functions.exp(exponent), to)

    # ---- integers ------------------------------------------------------------------------------------------

    def integers(self, count: int, to: dtype, low: int, high: int) -> np.ndarray:
        """Integers in [low, high), in any dtype, (count,). The whole int64 range is low=-2**63, high=2**63.

        Example:
            >>> from facula.dtypes import int64
            >>> from facula.rng import Engine
            >>> Engine(0).integers(5, int64, 0, 10)
            array([4, 9, 3, 0, 3])
        """
        span = high - low
        with self.lock:
            if span >= 2**64:
                return _integers_to(self.words64(count).view(np.int64), to)
            # from 2**28 on a remainder of 32 bits would be visibly uneven
            words = self.words64(count) if span >= 2**28 else self.words(count)
            words %= words.dtype.type(span)
            return _integers_to(words.astype(np.int64) + np.int64(low), to)

    def random_fill(self, count: int, to: dtype) -> np.ndarray:
        """As `Tensor.random_()`: [0, largest value] for integers, [0, 2**digits] for floats, (count,)."""
        with self.lock:
            words = self.words64(count) if to in (float64, int64) else self.words(count)
        if to is bool_:
            return (words & np.uint32(1)).astype(np.bool_)
        limit = 2**DIGITS[to] + 1 if to in DIGITS else 2**(8 * to.itemsize - to.is_signed)
        words %= words.dtype.type(limit)
        return _integers_to(words.astype(np.int64), to)

    def bernoulli(self, count: int, to: dtype, p: float | np.ndarray) -> np.ndarray:
        """1 with probability `p`, else 0, (count,). `p` may be an array (count,) of float64 or float32."""
        with self.lock:
            single = isinstance(p, np.ndarray) and p.dtype != np.float64
            unit = self._unit_float(count) if single else self._unit_double(count)
        return to_dtype((unit < p).astype(np.float32), to) if to in DIGITS else (unit < p).astype(to.numpy)

    # ---- continuous distributions, computed in double precision --------------------------------------------

    def _transformed(self, count: int, to: dtype, formula: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        with self.lock:
            out = np.empty(count, to.numpy)
            for start, stop in _chunks(count):
                out[start:stop] = to_dtype(formula(self._unit_double(stop - start)), to)
            return out

    def exponential(self, count: int, to: dtype, rate: float = 1.0) -> np.ndarray:
        """Exponential numbers with mean 1 / rate, (count,)."""
        factor, log1p = -1.0 / rate, _functions(to).log1p
        return self._transformed(count, to, lambda u: factor * log1p(-u))

    def geometric(self, count: int, to: dtype, p: float) -> np.ndarray:
        """Number of trials up to the first success, (count,)."""
        bottom = math.log1p(-p)  # numbers near an integer are rounded up: log must be exact for every dtype
        return self._transformed(count, to, lambda u: np.ceil(Exact.log(u) / bottom))

    def cauchy(self, count: int, to: dtype, median: float = 0.0, sigma: float = 1.0) -> np.ndarray:
        """Cauchy numbers, (count,)."""
        tan = _functions(to).tan
        return self._transformed(count, to, lambda u: fma(tan(math.pi * (u - 0.5)), sigma, median))

    # ---- samples of other kinds ----------------------------------------------------------------------------

    def permutation(self, n: int) -> np.ndarray:
        """The numbers 0 .. n-1 in random order, (n,) int64.

        Example:
            >>> from facula.rng import Engine
            >>> Engine(0).permutation(4)
            array([0, 1, 3, 2])
        """
        with self.lock:
            return combinatorial.permutation(self, n)

    def multinomial(self, weights: np.ndarray, samples: int, replacement: bool, of: dtype,
                    column_major: bool = False) -> np.ndarray:
        """Indices drawn with the given weights (rows, categories), (rows, samples) int64.

        `of` is the weights' dtype; the 16-bit types come widened to float32. `column_major` says how the
        weights lie in memory: PyTorch draws in that order when it samples without replacement.
        """
        with self.lock:
            if replacement and samples > 1:  # one draw is as good without
                return combinatorial.draw_with_replacement(
                    weights, partial(self._unit_double, weights.shape[0] * samples), samples)
            waiting = self.exponential(weights.size, of)
            waiting = waiting.reshape(weights.shape, order="F" if column_major else "C")
            return combinatorial.draw_without_replacement(weights, waiting, samples, of)

    def gamma(self, shapes: np.ndarray) -> np.ndarray:
        """One number for each shape of a gamma distribution of scale 1 (float64), float64.

        Example:
            >>> import numpy as np
            >>> from facula.rng import Engine
            >>> Engine(0).gamma(np.array([2.0, 0.5])).round(4)
            array([4.5526, 0.0055])
        """
        with self.lock:
            return gamma.gamma(self, shapes)

    def binomial(self, counts: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """The number of successes in each of `counts` trials (float64, as `chances`), float64."""
        with self.lock:
            return gamma.binomial(self, counts, chances)

    def poisson(self, rates: np.ndarray) -> np.ndarray:
        """One Poisson number for each rate, (rates.size,) int64."""
        with self.lock:
            return combinatorial.poisson(self, rates)


def _chunks(count: int) -> list[tuple[int, int]]:
    return [(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _integers_to(values: np.ndarray, to: dtype) -> np.ndarray:
    return to_dtype(values, to) if to in DIGITS else values.astype(to.numpy, copy=False)


def _functions(to: dtype) -> Functions:
    """The C library where its last bit shows in the result; else NumPy, which is five times faster.

    A float32 result sees a difference in float64's last bit about once in 2**28.
    """
    return Exact if to is float64 else Fast
