"""nn.init against PyTorch: the same numbers for the same seed, and the same state afterwards."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import facula
from facula.nn import init

EXACT = [
    ("uniform_", (3, 5), (-1, 2)), ("normal_", (30, 5), (0, 0.02)), ("normal_", (3,), ()),
    ("trunc_normal_", (300, 5), ()), ("trunc_normal_", (300, 5), (0, 0.02)),
    ("trunc_normal_", (300, 5), (0, 1, 2.0, 3.0)), ("trunc_normal_", (3, 5), (0, 1, -0.1, 0.1)),
    ("constant_", (3,), (0.3,)), ("ones_", (3,), ()), ("zeros_", (3,), ()), ("eye_", (3, 5), ()),
    ("dirac_", (6, 2, 3), ()), ("dirac_", (6, 2, 3, 3), (3,)), ("dirac_", (6, 7, 3, 3, 2), (2,)),
    ("xavier_uniform_", (3, 5, 2, 2), (1.4,)), ("xavier_normal_", (30, 5), ()),
    ("kaiming_uniform_", (30, 5), (5**0.5,)), ("kaiming_normal_", (30, 5, 3, 3), (0, "fan_out", "relu")),
    ("sparse_", (10, 7), (0.3,)),
]
CLOSE = [("orthogonal_", (30, 50), ()), ("orthogonal_", (50, 30), (2.0,)), ("orthogonal_", (5, 3, 3, 3), ())]


def filled(library, name, shape, args, kind):
    """The elements, and a digest of the generator's state afterwards."""
    library.manual_seed(1)
    given = library.empty(shape, dtype=getattr(library, kind))
    got = getattr(library.nn.init, name)(given, *args)
    assert got is given
    return got.numpy(), digest(library.get_rng_state().numpy())


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()[:24]


@pytest.mark.parametrize("kind", ("float32", "float64"))
@pytest.mark.parametrize("name, shape, args", EXACT)
def test_exact(name, shape, args, kind, oracle):
    def answer(library):
        found, state = filled(library, name, shape, args, kind)
        return found.reshape(-1)[:20], found.shape, digest(found), state

    got, expected = answer(facula), oracle(answer, name, shape, args, kind)
    assert got[0].tolist() == expected[0].tolist()
    assert got[1:] == expected[1:]


@pytest.mark.parametrize("kind", ("float32", "float64"))
@pytest.mark.parametrize("name, shape, args", CLOSE)
def test_close(name, shape, args, kind, oracle):
    """A decomposition by another LAPACK: its last bits are its own."""
    (got, state), (expected, wanted) = oracle.both(lambda library: filled(library, name, shape, args, kind), *(
        name, shape, args, kind))
    np.testing.assert_allclose(got, expected, atol=1e-6 if kind == "float32" else 1e-14)
    assert state == wanted


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gain(name, oracle):
    assert init.calculate_gain(name) == oracle(lambda torch: torch.nn.init.calculate_gain(name))


def test_leaves_stay_leaves():
    w = facula.empty(3, 5, requires_grad=True)
    assert init.kaiming_uniform_(w) is w
    assert w.is_leaf and w.requires_grad and w.grad_fn is None


def test_old_names():
    with pytest.warns(FutureWarning, match="`nn.init.normal` is now deprecated in favor of "
                                           "`nn.init.normal_`"):
        init.normal(facula.empty(3))


ERRORS = [
    ("eye_", (3,), ()), ("dirac_", (3, 3), ()), ("dirac_", (3, 3, 3), (2,)), ("xavier_uniform_", (3,), ()),
    ("kaiming_uniform_", (3, 3), (0, "sideways")), ("kaiming_uniform_", (3, 3), (0, "fan_in", "nonsense")),
    ("kaiming_uniform_", (3, 3), ("a",)), ("orthogonal_", (3,), ()), ("sparse_", (3,), (0.1,)),
]


@pytest.mark.parametrize("name, shape, args", ERRORS)
def test_errors(name, shape, args, oracle):
    def message(library):
        with pytest.raises(ValueError) as got:
            getattr(library.nn.init, name)(library.empty(shape), *args)
        return str(got.value)

    assert message(facula) == oracle(message, name, shape, args)
