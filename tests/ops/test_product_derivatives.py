"""Derivatives of prod and cumprod up to the third, where elements are zero: exact, as torch's."""

import numpy as np
import pytest

pytestmark = pytest.mark.oracle
VALUES = [3.0, 0.0, [2.0], [0.0], [1.0, 2, 3], [1.0, 0, 3], [0.0, 0, 3], [0.0, 0, 0], [1.0, 2, 0, 4, 0, 6],
          [[1.0, 2], [0, 3]], [[0.0, 2], [0, 3]], [[1.0, 0, 2], [0, 0, 3], [1, 2, 3]]]
CASES = {"prod": lambda t: t.prod(), "prod 0": lambda t: t.prod(0), "prod kept": lambda t: t.prod(-1, keepdim=True),
         "cumprod 0": lambda t: t.cumprod(0), "cumprod -1": lambda t: t.cumprod(-1)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_three_derivatives(oracle, name, dtype):
    def run(m):
        found = []
        for value in VALUES:
            found.append([])
            t = m.tensor(value, dtype=getattr(m, dtype), requires_grad=True)
            y = CASES[name](t)
            for weights in ((0.5, 2.0), (1.0, 3.0), (1.0, 9.0)):
                w = m.linspace(*weights, y.numel()).to(y.dtype).reshape(y.shape)
                loss = (y * w).sum()
                if not loss.requires_grad:
                    break
                y, = m.autograd.grad(loss.real if dtype == "complex128" else loss, t, create_graph=True,
                                     allow_unused=True)
                if y is None:
                    break
                found[-1].append(y.detach())
        return found

    mine, theirs = oracle.both(run)
    for a, b in zip(mine, theirs, strict=True):
        for x, y in zip(a, b, strict=False):
            np.testing.assert_allclose(x[1], y[1], rtol=1e-9, atol=1e-9)
        # one library says that nothing depends on the input any more, the other that this is zero
        assert not any(x[1].any() for x in a[len(b):] + b[len(a):])
