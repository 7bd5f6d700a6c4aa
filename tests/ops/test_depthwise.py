"""Convolutions of each channel with a kernel of its own: taps written out (ops/conv/depthwise.py), or contractions."""

import itertools

import numpy as np
import pytest

import facula
import facula.nn.functional as F
from facula.autograd import gradcheck, gradgradcheck
from facula.ops.conv import windows
from facula.ops.conv.depthwise import sum_of_taps

CASES = {  # (N, C, *S), kernel, stride, padding, dilation
    "3x3": ((2, 5, 9, 14), (3, 3), 1, 1, 1),
    "one image": ((1, 4, 8, 30), (3, 3), 1, (0, 2), 1),
    "5x5": ((2, 3, 6, 20), (5, 5), 1, 2, 1),
    "dilated": ((2, 3, 9, 22), (3, 3), 1, 2, (2, 3)),
    "strided": ((2, 4, 9, 28), (3, 3), 2, 1, 1),
    "strides of two kinds": ((2, 3, 11, 33), (3, 2), (3, 2), (1, 0), (1, 2)),
    "far apart": ((2, 3, 9, 40), (3, 3), 3, 1, 1),
    "7x7": ((1, 2, 9, 16), (7, 7), 1, 3, 1),
    "short rows": ((2, 3, 7, 7), (3, 3), 1, 1, 1),
    "two places": ((2, 3, 2, 2), (3, 3), 1, 1, 1),
    "1x1": ((2, 3, 4, 16), (1, 1), 1, 0, 1),
    "1d": ((3, 4, 40), (4,), 1, 3, 1),
    "3d": ((1, 3, 4, 5, 14), (2, 3, 3), 1, 1, 1),
}
BY_TAPS = ["3x3", "one image", "5x5", "dilated", "strided", "strides of two kinds", "short rows", "1x1", "1d", "3d"]


def by_hand(x, w, stride, padding, dilation):
    dims = x.ndim - 2
    stride, padding, dilation = ([v] * dims if isinstance(v, int) else v for v in (stride, padding, dilation))
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((p, p) for p in padding)])
    out = [(n - d * (k - 1) - 1) // s + 1
           for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation, strict=True)]
    y = np.zeros((*x.shape[:2], *out))
    for tap in itertools.product(*map(range, w.shape[2:])):
        at = tuple([slice(k * d, k * d + (o - 1) * s + 1, s) for k, d, o, s in
                    zip(tap, dilation, out, stride, strict=True)])
        y += x[(slice(None), slice(None), *at)] * w[(slice(None), 0, *tap)].reshape(-1, *[1] * dims)
    return y


def made(name, of=np.float32):
    shape, kernel, *how = CASES[name]
    rng = np.random.default_rng(3)
    return rng.standard_normal(shape).astype(of), rng.standard_normal((shape[1], 1, *kernel)).astype(of), how


def convolution(x, w, how, bias=None):
    return (F.conv1d, F.conv2d, F.conv3d)[x.dim() - 3](x, w, bias, *how, groups=x.shape[1])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("of", ["float32", "float64", "bfloat16", "float16"])
def test_values(name, of):
    x, w, how = made(name)
    x, w = (facula.from_numpy(a).to(getattr(facula, of)) for a in (x, w))
    y = convolution(x, w, how)
    due = by_hand(x.double().numpy(), w.double().numpy(), *how)
    tolerance = {"float32": 2e-5, "float64": 1e-12, "bfloat16": 0.06, "float16": 8e-3}[of]
    assert y.dtype is x.dtype and y.shape == due.shape
    np.testing.assert_allclose(y.double().numpy(), due, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_which_go_by_taps(name, monkeypatch):
    """The others have too many taps, too short rows or windows that are far apart along them."""
    taken = []

    def heard(*arguments):
        taken.append(name)
        return sum_of_taps(*arguments)

    monkeypatch.setattr(windows, "sum_of_taps", heard)
    x, w, how = made(name)
    convolution(facula.from_numpy(x), facula.from_numpy(w), how)
    assert bool(taken) == (name in BY_TAPS)


@pytest.mark.parametrize("name", BY_TAPS)
def test_a_batch_gives_the_bits_of_its_images(name):
    x, w, how = made(name)
    x, w = facula.from_numpy(np.concatenate([x, x * 0.7])), facula.from_numpy(w)
    whole = convolution(x, w, how)
    assert all(facula.equal(convolution(x[k:k + 1], w, how)[0], whole[k]) for k in range(len(x)))


def sums_by_hand(x, y, kernel, stride, padding, dilation):
    """The gradient in the weight where that in the result is `y`."""
    dims = x.ndim - 2
    stride, padding, dilation = ([v] * dims if isinstance(v, int) else v for v in (stride, padding, dilation))
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((p, p) for p in padding)])
    w = np.zeros((x.shape[1], 1, *kernel))
    for tap in itertools.product(*map(range, kernel)):
        at = tuple([slice(k * d, k * d + (o - 1) * s + 1, s) for k, d, o, s in
                    zip(tap, dilation, y.shape[2:], stride, strict=True)])
        w[(slice(None), 0, *tap)] = (y * x[(slice(None), slice(None), *at)]).sum((0, *range(2, x.ndim)))
    return w


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("of", ["float32", "float64", "bfloat16", "float16"])
def test_gradients_of_weights(name, of):
    x, w, how = made(name)
    x, w = (facula.from_numpy(a).to(getattr(facula, of)) for a in (x, w))
    w.requires_grad_()
    y = convolution(x, w, how)
    g = facula.from_numpy(np.random.default_rng(4).standard_normal(tuple(y.shape))).to(y.dtype)
    y.backward(g)
    due = sums_by_hand(x.double().numpy(), g.double().numpy(), w.shape[2:], *how)
    step = {"float32": 2 ** -23, "float64": 2 ** -52, "bfloat16": 2 ** -8, "float16": 2 ** -11}[of]
    assert w.grad.dtype is w.dtype and w.grad.shape == w.shape
    sums = sums_by_hand(*[a.double().abs().numpy() for a in (x, g)], w.shape[2:], *how)
    away = np.abs(w.grad.double().numpy() - due)
    # of 16 bits the result alone is rounded: products and sums are in 32
    assert (away <= step * np.abs(due) + 4 * min(step, 2 ** -23) * sums).all()


@pytest.mark.parametrize("name", ["3x3", "dilated", "strided", "strides of two kinds", "short rows", "1d"])
def test_gradients(name):
    x, w, how = made(name, np.float64)
    x, w = (facula.from_numpy(a).requires_grad_() for a in (x[:1, :2], w[:2]))
    assert gradcheck(lambda x, w: convolution(x, w, how), (x, w))
    assert gradgradcheck(lambda x, w: convolution(x, w, how), (x, w))


def test_a_bias_and_images_with_channels_innermost():
    x, w, how = made("3x3")
    bias = np.arange(5, dtype=np.float32)
    due = by_hand(x, w, *how) + bias.reshape(-1, 1, 1)
    x = facula.from_numpy(x).to(memory_format=facula.channels_last)
    y = convolution(x, facula.from_numpy(w), how, facula.from_numpy(bias))
    assert y.is_contiguous(memory_format=facula.channels_last)
    np.testing.assert_allclose(y.numpy(), due, atol=2e-5)
