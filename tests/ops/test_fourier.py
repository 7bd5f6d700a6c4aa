"""Transforms of single precision are rounded once for each dimension."""

import numpy as np
import pytest

import facula


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_rounded_once(name):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 1000)).astype(np.float32)
    if name not in ("rfft", "ihfft"):
        x = (x + 1j * rng.standard_normal(x.shape)).astype(np.complex64)
    want = getattr(np.fft, name)(x.astype(np.complex128 if x.dtype.kind == "c" else np.float64))
    got = getattr(facula.fft, name)(facula.from_numpy(x)).numpy()
    assert got.itemsize == want.itemsize // 2 and np.array_equal(got, want.astype(got.dtype))


def test_integers_of_several_dimensions():
    x = np.random.default_rng(0).integers(-9, 10, (5, 6, 7))
    want = np.fft.fftn(x)
    got = facula.fft.fftn(facula.from_numpy(x)).numpy()
    assert got.dtype == np.complex64 and np.abs(got - want).max() < 2e-5
