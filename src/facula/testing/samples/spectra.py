"""Fourier transforms, windows, special functions."""

from __future__ import annotations

from facula.testing.samples.arrays import (
    CUBE,
    POSITIVE,
    ROW,
    SPECIAL,
    UNIT,
    Dtype,
    Sample,
    X,
    Y,
    call,
    distinct,
)

SAMPLES: dict[str, list[Sample]] = {}


def _each(names: str, samples: list[Sample]) -> None:
    for name in names.split():
        SAMPLES[name] = samples


# ---- Fourier -----------------------------------------------------------------------------------

_HALF = X + 1j * Y  # of a spectrum whose other half mirrors it
_each("fft.fft fft.ifft", [call(X), call(X, 5, 0, "ortho"), call(_HALF, 3, norm="forward").flat()])
_each("fft.rfft fft.ihfft", [call(X), call(X, 5, 0, "ortho"), call(X, 3, norm="forward")])
_each("fft.irfft fft.hfft", [call(_HALF).flat(), call(_HALF, 5, 0, "ortho").flat(), call(X)])
_each("fft.fftn fft.ifftn", [call(CUBE), call(X, (2, 5), norm="ortho"), call(CUBE, dim=(0, 2))])
_each("fft.fft2 fft.ifft2", [call(CUBE), call(X, (2, 5), norm="ortho")])
_each("fft.rfftn fft.ihfftn", [call(CUBE), call(X, (2, 5), norm="ortho"), call(CUBE, dim=(0, 2))])
_each("fft.rfft2 fft.ihfft2", [call(CUBE), call(X, (2, 5), norm="ortho")])
_each("fft.irfftn fft.hfftn", [call(CUBE), call(_HALF, (2, 5), norm="ortho").flat()])
_each("fft.irfft2 fft.hfft2", [call(CUBE), call(_HALF, (2, 5), norm="ortho").flat()])
_each("fft.fftfreq fft.rfftfreq", [call(5), call(6, 0.5), call(4, dtype=Dtype("float64"))])
_each("fft.fftshift fft.ifftshift", [call(X), call(CUBE, (0, 2)), call(ROW, 0)])
_SIGNAL, _WINDOW = distinct(2, 10), POSITIVE[0]
_each(
    "stft",
    [
        call(_SIGNAL, 4, return_complex=True),
        call(_SIGNAL, 4, 2, 4, _WINDOW, False, return_complex=True),
        call(_SIGNAL, 4, 3, 4, _WINDOW, normalized=True, onesided=False, return_complex=True),
    ],
)
_SPECTRUM = distinct(3, 6) + 1j * distinct(3, 6)
_SPECTRUM[[0, 2]] = _SPECTRUM[[0, 2]].real
_each(
    "istft",
    [call(_SPECTRUM, 4).flat(), call(_SPECTRUM, 4, 2, 4, _WINDOW, length=9).flat()],
)

# ---- windows -----------------------------------------------------------------------------------

_PLAIN = [call(5), call(4, sym=False), call(1), call(5, dtype=Dtype("float64"))]
for _name in "hamming hann blackman nuttall bartlett cosine exponential gaussian kaiser".split():
    SAMPLES[f"signal.windows.{_name}"] = _PLAIN
_each("signal.windows.general_hamming", [*_PLAIN, call(5, alpha=0.6)])
_each("signal.windows.general_cosine", [call(5, a=[0.5, 0.3, 0.2]), call(4, a=[1.0], sym=False)])

# ---- special functions -------------------------------------------------------------------------

_each(
    "special.ndtr special.i0e special.i1e special.erfcx special.log_ndtr",
    [call(X), call(SPECIAL).flat()],
)
_each("special.i1 i0", [call(X), call(SPECIAL[3:7]).flat()])  # not infinity: torch says nan
_each("special.entr", [call(POSITIVE), call(SPECIAL).flat()])
_each("special.ndtri", [call(UNIT * UNIT * 0.9 + 0.05), call(SPECIAL).flat()])
_each("special.xlog1py", [call(X, POSITIVE), call(X, POSITIVE[0]), call(2.0, POSITIVE)])
_each("special.zeta", [call(POSITIVE + 1, POSITIVE[0]).flat(), call(2.5, POSITIVE).flat()])
_each("polygamma", [call(1, POSITIVE), call(2, POSITIVE)])
_each("Tensor.polygamma", [call(POSITIVE, 1)])
_each("igamma igammac", [call(POSITIVE, POSITIVE[::-1].copy()).flat()])
_each("mvlgamma", [call(POSITIVE + 2, 2), call(POSITIVE + 2, 1)])
