"""Special functions without gradients: orthogonal polynomials, Bessel's functions, Airy's."""

from __future__ import annotations

import numpy as np

from facula.testing.samples.arrays import SPECIAL, UNIT, WHOLE, Sample, X, call

SAMPLES: dict[str, list[Sample]] = {}


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


# ---- orthogonal polynomials --------------------------------------------------------------------

_FINITE = SPECIAL[3:]  # torch reads memory that nobody wrote for the degrees above 1 of NaN
_polynomials = [
    call(X, WHOLE).flat(),
    call(X, 3.7).flat(),
    call(UNIT, 9).flat(),
    call(0.3, WHOLE * 1.0).flat(),
    call(UNIT, WHOLE[0] - 3).flat(),
    call(_FINITE, np.array([[0.0], [1.0], [2.0], [-1.0], [np.nan], [np.inf]])).flat(),
    call(SPECIAL, 1).flat(),
]
for _name in "chebyshev_polynomial_", "shifted_chebyshev_polynomial_":
    _each(" ".join(f"special.{_name}{kind}" for kind in "tuvw"), _polynomials)
_each("special.hermite_polynomial_h special.hermite_polynomial_he", _polynomials)
_each("special.laguerre_polynomial_l special.legendre_polynomial_p", _polynomials)

# ---- Bessel and Airy ---------------------------------------------------------------------------

# In double precision torch errs by 5e-7 in J and Y from 4 to 11 and by 3e-6 in Ai from -4 to -2: the
# first two samples, which are also asked for in doubles, are elsewhere. They hold no NaN either: as
# an integer that is a number so large that torch's phase in float32 is off.
_OUTSIDE, _WIDE = np.sign(X) * (np.abs(X) + 12), np.array([0.3, 0.9, 1.1, 3.0, 24.0, 26.0, 60.0])
_LIMITS = SPECIAL[:-1]
_each(
    "special.bessel_j0 special.bessel_j1 special.bessel_y0 special.bessel_y1",
    [call(_OUTSIDE).flat(), call(_OUTSIDE * 3).flat()]
    + [call(x).flat() for x in (X, _WIDE, _LIMITS)],
)
_each(
    "special.modified_bessel_k0 special.modified_bessel_k1 special.spherical_bessel_j0"
    " special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1",
    [call(x).flat() for x in (X, _WIDE, _LIMITS)],
)
_each(
    "special.modified_bessel_i0 special.modified_bessel_i1",
    [call(x).flat() for x in (X, -_WIDE, SPECIAL[3:7])],  # not infinity: torch says nan
)
_each(
    "special.airy_ai",
    [call(x).flat() for x in (np.abs(X), _WIDE, X, -_WIDE[:-1], _LIMITS)],
)
