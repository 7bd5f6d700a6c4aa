"""Gradients over complex elements follow torch's convention (conjugate Wirtinger derivatives)."""

import numpy as np
import pytest

import facula

CASES = {
    "product": lambda a, b: a * a * b,
    "quotient": lambda a, b: a / b,
    "exponential": lambda a, b: (a + b).exp(),
    "sine": lambda a, b: a.sin() * b - a,
    "numbers": lambda a, b: a * 2.0 + b * 3j,
    "matrices": lambda a, b: a.reshape(2, 3) @ b.reshape(3, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_against_torch(name, oracle):
    rng = np.random.default_rng(0)
    z, w, seed = (rng.standard_normal(6) + 1j * rng.standard_normal(6) for _ in range(3))

    def grads(lib):
        a, b = lib.tensor(z, requires_grad=True), lib.tensor(w, requires_grad=True)
        out = CASES[name](a, b)
        out.backward(lib.tensor(seed[:out.numel()].reshape(tuple(out.shape))))
        return [a.grad.numpy(), b.grad.numpy()]

    for ours, theirs in zip(grads(facula), oracle(grads), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)
