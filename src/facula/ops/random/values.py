"""What the random operations draw: arguments checked as PyTorch checks them, numbers from the engine.

Each function returns `count` numbers of a dtype as a flat NumPy array, in the order in which they go to
memory. Nothing here knows tensors; `ops/random/sampling.py` puts the numbers where they belong.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facula.dtypes import (
    CPP_NAMES,
    bfloat16,
    bool_,
    dtype,
    float16,
    float32,
    float64,
    int64,
)
from facula.errors import warn
from facula.ops.registry import DTYPE_NAMES
from facula.rng import Engine
from facula.rng.engine import DIGITS
from facula.rng.rounding import from_bfloat16, round_number, to_bfloat16

Values = NDArray[Any]


def _unsupported(kernel: str, of: dtype) -> NotImplementedError:
    return NotImplementedError(f'"{kernel}" not implemented for \'{DTYPE_NAMES[of.name]}\'')


_LARGEST = {float16: 65504.0, bfloat16: 255 * 2.0**120, float32: (2**24 - 1) * 2.0**104,
            float64: sys.float_info.max}


def _integer_bounds(of: dtype) -> tuple[int, int]:
    if of is bool_:
        return 0, 1
    bits = 8 * of.itemsize
    return (-2**(bits - 1), 2**(bits - 1) - 1) if of.is_signed else (0, 2**bits - 1)


def uniform(count: int, of: dtype, low: float, high: float, engine: Engine) -> Values:
    """Uniform in [low, high)."""
    if of.is_complex:
        return uniform(2 * count, of.to_real(), low, high, engine).view(of.numpy)
    if not of.is_floating_point:
        raise _unsupported("check_uniform_bounds", of)
    largest = _LARGEST[of]
    for name, bound in (("from", low), ("to", high)):
        if not -largest <= bound <= largest:
            raise RuntimeError(f"{name} is out of bounds for {CPP_NAMES[of.name]}")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    if high - low > largest:
        raise RuntimeError(f"uniform_ expects to-from <= std::numeric_limits<{DTYPE_NAMES[of.name]}>::max(), "
                           f"but found to={high:g} and from={low:g} which result in to-from to exceed the "
                           "limit")
    return engine.uniform(count, of, low, high)


def normal(count: int, of: dtype, mean: float, std: float, engine: Engine, contiguous: bool = True) -> Values:
    """Normal; of a complex dtype the real and imaginary parts have half the variance each."""
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if of.is_complex:
        return normal(2 * count, of.to_real(), mean, std / math.sqrt(2.0), engine, contiguous).view(of.numpy)
    if not of.is_floating_point:
        raise _unsupported("normal_kernel_cpu", of)
    return engine.normal(count, of, mean, std, contiguous)


def log_normal(count: int, of: dtype, mean: float, std: float, engine: Engine) -> Values:
    """exp of normal numbers."""
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    if not of.is_floating_point:
        raise _unsupported("log_normal_cpu", of)
    return engine.log_normal(count, of, mean, std)


def exponential(count: int, of: dtype, rate: float, engine: Engine) -> Values:
    """Exponential with mean 1 / rate."""
    if not rate > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    if not of.is_floating_point:
        raise RuntimeError("Exponential distribution is a continuous probability distribution. dtype must be "
                           f"a floating point but you specified {DTYPE_NAMES[of.name]}")
    return engine.exponential(count, of, rate)


def cauchy(count: int, of: dtype, median: float, sigma: float, engine: Engine) -> Values:
    """Cauchy."""
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    if not of.is_floating_point:
        raise RuntimeError("Cauchy distribution is a continuous probability distribution. dtype must be a "
                           f"floating point but you specified {CPP_NAMES[of.name]}")
    return engine.cauchy(count, of, median, sigma)


def geometric(count: int, of: dtype, p: float, engine: Engine) -> Values:
    """Trials up to the first success."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if of.is_complex or of is bool_:
        raise _unsupported("geometric_cpu", of)
    return engine.geometric(count, of, p)


def bernoulli(count: int, of: dtype, p: float, engine: Engine) -> Values:
    """1 with probability p, else 0."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    if of.is_complex:
        raise _unsupported("bernoulli_scalar_cpu_", of)
    return engine.bernoulli(count, of, p)


def bernoulli_each(of: dtype, p: Values, p_dtype: dtype, engine: Engine) -> Values:
    """1 with the probability that `p` gives for each element, else 0."""
    if not p_dtype.is_floating_point:
        raise _unsupported("bernoulli_tensor_cpu_p_", p_dtype)
    p = widen(p, p_dtype)
    if not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return engine.bernoulli(p.size, of, p.reshape(-1))


def random(count: int, of: dtype, engine: Engine) -> Values:
    """`Tensor.random_()`."""
    if of.is_complex:
        raise _unsupported("random_kernel_cpu", of)
    return engine.random_fill(count, of)


def integers(count: int, of: dtype, low: int, high: int | None, engine: Engine) -> Values:
    """Integers in [low, high); without `high`, up to the largest (consecutive) integer of the dtype."""
    if high is None:
        if low == -2**63:
            if of.is_complex or of in (float16, bool_):
                raise _unsupported("random_full_64_bits_range_kernel_cpu", of)
            if of not in (int64, float64, float32, bfloat16):
                raise RuntimeError("random_full_64_bits_range_kernel_cpu handles only int64, double, float "
                                   "and bfloat16")
            return engine.integers(count, of, -2**63, 2**63)
        if of.is_complex:
            raise RuntimeError("random_from_to_impl handles only integral, floating-point and boolean types")
        last = 2**DIGITS[of] if of in DIGITS else _integer_bounds(of)[1]
        if of in DIGITS:
            low = _inside_from(low, of)
            if not low < last:
                raise RuntimeError("random_ expects 'from' casted to dtype to be less than or equal to "
                                   f"'to_inc' casted to dtype, but got from={low} > to_inc={last}")
        high = last + 1
    else:
        if not low < high:
            raise RuntimeError(
                f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        if of in DIGITS:
            low, high = _inside_from(low, of), _inside_to(high, of)
            if not low < high:
                raise RuntimeError("random_ expects 'from' casted to dtype to be less than 'to' casted to "
                                   f"dtype, but got from={low} >= to={high}")
    _check_bounds(low, high - 1, of)
    return engine.integers(count, of, low, high)


def _inside_from(low: int, of: dtype) -> int:
    """The first integer from `low` on that stays there when rounded to `of`."""
    rounded = _to_int64(round_number(float(low + 1), of))
    if rounded < low:
        low = rounded + (1 << (abs(low + 1).bit_length() - DIGITS[of]))
    return low


def _inside_to(high: int, of: dtype) -> int:
    """The last bound up to `high` that numbers below it do not reach when rounded to `of`."""
    rounded = _to_int64(round_number(float(high - 1), of))
    if rounded >= high:
        high = rounded - (1 << (abs(high - 1).bit_length() - DIGITS[of]))
    return high


def _to_int64(x: float) -> int:
    """As x86 converts: what does not fit becomes the smallest number."""
    return int(x) if -2.0**63 <= x < 2.0**63 else -2**63


def _check_bounds(first: int, last: int, of: dtype) -> None:
    lowest: float
    highest: float
    if of.is_complex:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    if of in DIGITS:
        lowest, highest = -_LARGEST[of], _LARGEST[of]
    else:
        lowest, highest = _integer_bounds(of)
    name = CPP_NAMES[of.name]
    for what, bound in (("from", first), ("to - 1", last)):
        if not lowest <= bound <= highest:
            raise RuntimeError(f"{what} is out of bounds for {name}")
        if of in DIGITS and abs(bound) > 2**DIGITS[of]:
            digits = DIGITS[of]
            warn(f"{what} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision "
                 f"limitations {name} can support discrete uniform distribution only within this "
                 "range. This warning will become an error in version 1.7 release, please fix the "
                 "code in advance")


def permutation(n: int, of: dtype, engine: Engine) -> Values:
    """0 .. n-1 in random order."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if of.is_complex or of is bool_:
        raise _unsupported("randperm", of)
    if of in DIGITS:
        if of in (float16, float32) and n > 2**DIGITS[of] + 1:
            raise RuntimeError(f"n cannot be greater than {2**DIGITS[of] + 1} for {DTYPE_NAMES[of.name]} type.")
    elif n - 1 > _integer_bounds(of)[1]:
        raise RuntimeError(f"value cannot be converted to type {of.name}_t without overflow")
    order = engine.permutation(n)
    if of is bfloat16:
        return to_bfloat16(order.astype(np.float32))
    return order.astype(of.numpy, copy=False)


def multinomial(weights: Values, of: dtype, samples: int, replacement: bool, engine: Engine,
                column_major: bool = False) -> Values:
    """Indices drawn with the given weights, (samples,) or (rows, samples)."""
    if not 0 < weights.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not of.is_floating_point:
        raise RuntimeError("multinomial only supports floating-point dtypes for input, got: "
                           + DTYPE_NAMES[of.name])
    if samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    categories = weights.shape[-1]
    if not replacement and samples > categories:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if categories > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    if weights.ndim == 2 and weights.shape[0] == 0:
        return np.empty((0, samples), np.int64)
    weights = widen(weights, of)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not weights.any(axis=-1).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    rows = weights.reshape(-1, categories)
    return engine.multinomial(rows, samples, replacement, of, column_major).reshape(
        (*weights.shape[:-1], samples))


def poisson(rates: Values, of: dtype, engine: Engine) -> Values:
    """One Poisson number for each rate."""
    if not of.is_floating_point:
        raise _unsupported("poisson_cpu", of)
    wide = widen(rates, of).astype(np.float64)
    if not (wide >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return engine.poisson(wide.reshape(-1))


def widen(x: Values, of: dtype) -> Values:
    """16-bit floats as float32, the others as they are."""
    if of is bfloat16:
        return from_bfloat16(x)
    return x.astype(np.float32) if of is float16 else x
