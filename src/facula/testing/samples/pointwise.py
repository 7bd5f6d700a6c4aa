"""Operations element by element: arithmetic, comparison, logic, elementary functions,
activations."""

from __future__ import annotations

import numpy as np

from facula.testing.samples.arrays import (
    COLUMN,
    COMPLEX,
    MASK,
    POSITIVE,
    ROW,
    SCALAR,
    SPECIAL,
    UNIT,
    WHOLE,
    Sample,
    X,
    Y,
    Z,
    call,
    distinct,
)

SAMPLES: dict[str, list[Sample]] = {}

# ---- one tensor --------------------------------------------------------------------------------

_ANYWHERE = """abs neg sign sgn floor ceil trunc frac round exp exp2 expm1 sin cos tan sinh cosh
    tanh asinh atan erf erfc sigmoid sinc deg2rad rad2deg square isnan isinf isfinite isposinf
    isneginf signbit logical_not positive relu nan_to_num selu celu hardshrink conj conj_physical
    real""".split()
_POSITIVE = "sqrt rsqrt log log2 log10 reciprocal lgamma digamma".split()
_UNIT = "asin acos atanh erfinv log1p".split()
for _name in _ANYWHERE:
    SAMPLES[_name] = [call(X), call(SPECIAL).flat()]
for _name in _POSITIVE:
    SAMPLES[_name] = [call(POSITIVE), call(SPECIAL).flat()]
for _name in _UNIT:
    SAMPLES[_name] = [call(UNIT), call(SPECIAL).flat()]
SAMPLES["acosh"] = [call(POSITIVE + 1.0), call(SPECIAL).flat()]
SAMPLES["round"] += [call(X, decimals=1), call(X, decimals=-1)]
SAMPLES["celu"] += [call(X, alpha=0.5)]
SAMPLES["hardshrink"] += [call(X, 0.3)]
SAMPLES["nan_to_num"] += [call(SPECIAL, nan=2.0, posinf=5.0, neginf=-5.0).flat()]
SAMPLES["bitwise_not"] = [call(WHOLE), call(MASK)]
SAMPLES["logit"] = [call(UNIT * UNIT), call(UNIT * UNIT, eps=0.25)]
SAMPLES["threshold"] = [call(X, 0.5, 20.0)]
SAMPLES["prelu"] = [call(X, ROW), call(X, ROW[:1])]
SAMPLES["real"] += [call(COMPLEX).flat()]
SAMPLES["imag"] = [call(COMPLEX).flat()]
SAMPLES["conj"] += [call(COMPLEX).flat()]
SAMPLES["conj_physical"] += [call(COMPLEX).flat()]

# ---- two ---------------------------------------------------------------------------------------

_BROADCAST = [call(X, Y), call(X, ROW), call(COLUMN, ROW), call(X, SCALAR)]
_NUMBER = [call(X, 2), call(X, 0.7)]


def _two(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


_two("add sub mul rsub eq ne lt le gt ge copysign", [*_BROADCAST, *_NUMBER, call(X, WHOLE)])
_two("logical_and logical_or logical_xor", [*_BROADCAST, call(X, WHOLE), call(MASK, WHOLE)])
_two(
    "div floor_divide remainder fmod",
    [
        call(X, POSITIVE),
        call(X, POSITIVE[0]),
        call(X, 2),
        call(X, 0.7),
        call(X, WHOLE),
        call(WHOLE, WHOLE[0]),
    ],
)
_two("maximum minimum fmax fmin logaddexp logaddexp2 hypot atan2", _BROADCAST)
_two("xlogy", [call(X, POSITIVE), call(X, POSITIVE[0]), call(X, 2.0), call(2.0, POSITIVE)])
_two("heaviside", [call(X, Y).flat(), call(X, ROW).flat()])
_two("nextafter", [call(X, Y), call(X, ROW), call(X, X).flat()])
_two(
    "bitwise_and bitwise_or bitwise_xor",
    [call(WHOLE, WHOLE[0]), call(WHOLE, 3), call(MASK, MASK[0]), call(MASK, WHOLE)],
)
_two("bitwise_left_shift bitwise_right_shift", [call(WHOLE, WHOLE[0] % 3), call(WHOLE, 1)])
_two(
    "isclose", [call(X, X + 1e-9), call(X, Y), call(X, ROW), call(SPECIAL, SPECIAL, equal_nan=True)]
)
_two("allclose equal", [call(X, X), call(X, Y)])
SAMPLES["add"] = SAMPLES["sub"] = [
    *SAMPLES["add"],
    call(X, Y, alpha=2),
    call(WHOLE, WHOLE[0], alpha=3),
]
SAMPLES["rsub"] = [*SAMPLES["rsub"], call(X, Y, alpha=2)]
SAMPLES["div"] = [
    *SAMPLES["div"],
    call(X, POSITIVE, rounding_mode="trunc"),
    call(WHOLE, WHOLE[0], rounding_mode="floor"),
    call(WHOLE, 3, rounding_mode="trunc"),
]
SAMPLES["pow"] = [
    call(POSITIVE, Y),
    call(POSITIVE, ROW),
    call(X, 2),
    call(X, 3),
    call(POSITIVE, 0.5),
    call(POSITIVE, -1),
    call(POSITIVE, 1.7),
    call(2.5, X),
    call(WHOLE, 3),
    call(X, WHOLE % 4),
]

# ---- more --------------------------------------------------------------------------------------

SAMPLES["clamp"] = [
    call(X, -0.5, 0.7),
    call(X, min=0.1),
    call(X, max=0.1),
    call(X, Y),
    call(X, Y, ROW),
    call(WHOLE, 2, 5),
]
SAMPLES["clamp_min"] = SAMPLES["clamp_max"] = [call(X, 0.5), call(X, Y)]
SAMPLES["lerp"] = [call(X, Y, 0.3), call(X, Y, Z), call(X, ROW, 0.8)]
SAMPLES["addcmul"] = [
    call(X, Y, Z),
    call(X, Y, ROW, value=0.5),
    call(WHOLE, WHOLE, WHOLE[0], value=2),
]
SAMPLES["addcdiv"] = [call(X, Y, POSITIVE), call(X, Y, POSITIVE[0], value=0.5)]
SAMPLES["where"] = [
    call(MASK, X, Y),
    call(MASK, X, ROW),
    call(MASK, X, 0.5),
    call(MASK, 1.0, Y),
    call(MASK).flat(),
]
SAMPLES["Tensor.where"] = [call(X, MASK, Y), call(X, MASK, 0.5)]
SAMPLES["isin"] = [call(WHOLE, WHOLE[0]), call(WHOLE, WHOLE[0], invert=True), call(X, X[1])]
SAMPLES["complex"] = [call(X, Y).flat()]
SAMPLES["polar"] = [call(POSITIVE, Y).flat()]
SAMPLES["dist"] = [call(X, Y), call(X, ROW, 1), call(X, Y, 3.0)]
SAMPLES["cdist"] = [
    call(distinct(3, 4), distinct(2, 4) + 0.03),
    call(distinct(2, 3, 4), distinct(2, 5, 4) + 0.03, p=1.0),
]
SAMPLES["pdist"] = [call(X), call(X, 1.0)]

SAMPLES["fake_quantize_per_tensor_affine"] = [
    call(X, 0.3, 0, -3, 4).flat(),
    call(X, 0.7, 2, -1, 4).flat(),
    call(SPECIAL, 0.1, 3, -4, 7).flat(),
]

_SCALES, _ZEROS = np.array([0.3, 0.7, 0.05], np.float32), np.array([0, 2, -1], np.int32)
SAMPLES["fake_quantize_per_channel_affine"] = [
    call(X, _SCALES, _ZEROS, 0, -3, 4).flat(),
    call(X.T, _SCALES, _ZEROS + np.float32(0.5), 1, -3, 4).flat(),
    call(SPECIAL[[0, 3, 4, 5, 6]].reshape(1, 5, 1), _SCALES[:1].repeat(5), _ZEROS[1:2].repeat(5), 1, -1, 9).flat(),
]

SAMPLES["angle"] = [call(X), call(COMPLEX).flat(), call(SPECIAL).flat()]
SAMPLES["isreal"] = [call(X), call(COMPLEX)]
SAMPLES["frexp"] = [call(X).flat()]
SAMPLES["ldexp"] = [call(X, WHOLE), call(X, WHOLE[0])]
SAMPLES["float_power"] = [call(POSITIVE, Y), call(X, 2), call(WHOLE, 0.5)]
SAMPLES["gcd"] = SAMPLES["lcm"] = [call(WHOLE, WHOLE[0] + 3), call(WHOLE * 6, WHOLE * 4)]
SAMPLES["Tensor.__rdiv__"] = [call(POSITIVE, 2.5)]
