"""pdist takes rows of floats, and has one meaning under both of its names."""

import numpy as np
import pytest

import facula


@pytest.mark.parametrize("name", ["pdist", "nn.functional.pdist"])
@pytest.mark.parametrize(("shape", "of", "p", "words"), [
    ((2, 3, 4), "float32", 2.0, "pdist only supports 2D tensors, got: 3D"),
    ((3,), "float32", 2.0, "pdist only supports 2D tensors, got: 1D"),
    ((3, 4), "complex64", 2.0, "pdist only supports floating-point dtypes"),
    ((3, 4), "int64", 2.0, "pdist only supports floating-point dtypes"),
    ((3, 4), "float32", -1.0, "pdist only supports non-negative p values")])
def test_refuses(name, shape, of, p, words):
    form = facula.pdist if name == "pdist" else facula.nn.functional.pdist
    with pytest.raises(RuntimeError, match=words):
        form(facula.ones(*shape).to(getattr(facula, of)), p)


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, float("inf")])
def test_values(p):
    x = np.random.default_rng(0).integers(-3, 4, (5, 3)).astype(np.float64)
    want = [np.linalg.norm(x[i] - x[j], p) for i in range(5) for j in range(i + 1, 5)]
    for form in (facula.pdist, facula.nn.functional.pdist):
        assert np.allclose(form(facula.from_numpy(x), p).numpy(), want)
