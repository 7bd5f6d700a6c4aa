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


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn"])
def test_integers_of_several_dimensions_are_rounded_once(name):
    x = np.random.default_rng(0).integers(-9, 10, (5, 6, 7))
    got, want = (getattr(facula.fft, name)(facula.from_numpy(x).to(of)) for of in (facula.int64, facula.float64))
    assert got.dtype in (facula.float32, facula.complex64) and got.stride() == want.stride()
    assert np.array_equal(got.numpy(), want.numpy().astype(got.numpy().dtype))
