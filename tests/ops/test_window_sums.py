"""Gradients of mean pools: each element of a gradient given to its window, with windows that meet or stand apart."""

import itertools

import numpy as np
import pytest

import facula
import facula.nn.functional as F
from facula.autograd import gradcheck, gradgradcheck

CASES = {  # (H, W), kernel, stride, padding, ceil_mode
    "side by side": ((6, 8), (2, 4), (2, 4), 0, False),
    "some left over": ((7, 9), (2, 4), (2, 4), 0, False),
    "with gaps": ((8, 9), (2, 2), (3, 4), 1, False),
    "all of it": ((5, 6), (5, 6), (5, 6), 0, False),
    "overlapping": ((7, 8), (3, 3), (2, 1), 1, False),
    "one dimension of two": ((6, 9), (3, 3), (1, 3), 0, False),
    "beyond the end": ((7, 8), (3, 3), (2, 3), 1, True),
}


def by_hand(g, name):
    """What each element of an image gets of `g`, where windows count all of their places."""
    size, kernel, stride, padding, _ = CASES[name]
    wide = np.zeros((*g.shape[:2], *[s + 2 * padding + k for s, k in zip(size, kernel, strict=True)]))
    for at in itertools.product(*map(range, g.shape[2:])):
        place = tuple([slice(a * t, a * t + k) for a, t, k in zip(at, stride, kernel, strict=True)])
        # a window that reaches beyond the padding is counted as far as it goes
        count = np.prod([min(a * t + k, s + 2 * padding) - a * t
                         for a, t, k, s in zip(at, stride, kernel, size, strict=True)])
        wide[(slice(None), slice(None), *place)] += g[(slice(None), slice(None), *at)][..., None, None] / count
    return wide[:, :, padding:padding + size[0], padding:padding + size[1]]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", ["contiguous_format", "channels_last"])
def test_gradients(name, form):
    size, *how = CASES[name]
    rng = np.random.default_rng(5)
    x = facula.from_numpy(rng.standard_normal((2, 3, *size))).to(memory_format=getattr(facula, form)).requires_grad_()
    y = F.avg_pool2d(x, *how)
    g = rng.standard_normal(tuple(y.shape))
    y.backward(facula.from_numpy(g))
    np.testing.assert_allclose(x.grad.numpy(), by_hand(g, name), rtol=0, atol=1e-14)
    assert x.grad.stride() == x.stride()


@pytest.mark.parametrize("name", ["some left over", "with gaps", "one dimension of two"])
def test_their_gradients(name):
    size, *how = CASES[name]
    x = facula.randn(1, 2, *size, dtype=facula.float64, requires_grad=True)
    assert gradcheck(lambda x: F.avg_pool2d(x, *how), (x,))
    assert gradgradcheck(lambda x: F.avg_pool2d(x, *how).pow(2), (x,))


def test_windows_apart_are_not_added_up():
    """However large the window is: added up, these were 7e10 elements."""
    x = facula.ones(1, 1, 512, 512, requires_grad=True)
    (F.adaptive_avg_pool2d(x, 1) * 512 * 512).sum().backward()
    assert facula.equal(x.grad, facula.ones(1, 1, 512, 512))
