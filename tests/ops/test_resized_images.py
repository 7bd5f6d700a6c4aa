"""`interpolate` and uneven means: values, gradients and their gradients as torch's; the tables they are made by."""

import numpy as np
import pytest

import facula
from facula.ops.conv.lines import Way, line
from facula.ops.conv.taps import WRITTEN_OUT

HOW = ({"scale_factor": 2.0}, {"scale_factor": (0.4, 1.3)}, {"size": (1, 40)}, {"size": (7, 9)})
MODES = {"nearest": ({},), "nearest-exact": ({},), "area": ({},),
         "bilinear": ({}, {"align_corners": True}, {"antialias": True}),
         "bicubic": ({}, {"align_corners": True}, {"antialias": True})}


def resized(library, shape, innermost, **options):
    """The result, its gradient in the images, and that of their squares in the gradient that was given."""
    x = library.from_numpy(np.random.default_rng(0).standard_normal(shape))
    if innermost:
        x = x.to(memory_format=library.channels_last)
    x.requires_grad_()
    y = library.nn.functional.interpolate(x, **options)
    g = library.from_numpy(np.random.default_rng(1).standard_normal(tuple(y.shape))).requires_grad_()
    back, = library.autograd.grad(y, x, g, create_graph=True)
    again, = library.autograd.grad((back * back.detach()).sum(), g)
    return [t.detach().numpy() for t in (y, back, again)]


@pytest.mark.parametrize("mode", MODES)
def test_as_torch(oracle, mode):
    for given in MODES[mode]:
        for how, innermost in zip(HOW, (False, True, False, True), strict=True):
            options = {"mode": mode, **given, **how}
            ours = resized(facula, (2, 3, 7, 9), innermost, **options)
            theirs = oracle(lambda torch, options=options, innermost=innermost: resized(
                torch, (2, 3, 7, 9), innermost, **options), options, innermost)
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-12, err_msg=str(options))


def matrix(way):
    """The weights of all elements (to, from), added up where one is met twice."""
    table, weights = line(way)
    weights = np.ones(table.shape) if weights is None else np.nan_to_num(weights, nan=0.0)
    found = np.zeros((len(table), way.out if way.turned else way.size))
    np.add.at(found, (np.arange(len(table))[:, None], table), weights)
    return found


@pytest.mark.parametrize("kind", ["nearest", "nearest-exact", "linear", "cubic", "smooth linear", "smooth cubic",
                                  "averaging"])
@pytest.mark.parametrize("size, out", [(7, 16), (16, 7), (5, 5), (1, 6), (6, 1), (100, 3)])
def test_the_other_way_round(kind, size, out):
    way = Way(kind, size, out)
    np.testing.assert_array_equal(matrix(way._replace(turned=True)), matrix(way).T)
    table = line(way._replace(turned=True)).table
    assert table.min() >= 0 and table.max() < out


def test_what_does_not_count_is_not_multiplied():
    """Sums are as long as the longest: what the others have not got is no 0 * inf. A weight of 0 is one."""
    x = facula.ones(1, 1, 13) * float("inf")
    assert facula.nn.functional.adaptive_avg_pool1d(x, 6).isposinf().all()
    x = facula.zeros(1, 1, 13, requires_grad=True)
    facula.nn.functional.adaptive_avg_pool1d(x, 6).backward(facula.tensor([[[float("inf"), 1, 1, 1, 1, 1]]]))
    assert x.grad[0, 0, :3].isposinf().all() and x.grad[0, 0, 3:].isfinite().all()
    y = facula.nn.functional.interpolate(facula.tensor([[[1.0, float("inf")]]]), scale_factor=2, mode="linear")
    assert y[0, 0, 0].isnan() and y[0, 0, 1:].isposinf().all()


@pytest.mark.parametrize("sizes", [(4 * WRITTEN_OUT, 3), (3, 4 * WRITTEN_OUT)])
def test_long_sums_too(sizes):
    size, out = sizes
    x = facula.randn(2, size, dtype=facula.float64, requires_grad=True)
    y = facula.nn.functional.interpolate(x[None], out, mode="linear", align_corners=True)[0]
    way = Way("linear", size, out, None, True)
    np.testing.assert_allclose(y.detach().numpy(), x.detach().numpy() @ matrix(way).T, atol=1e-12)
    y.backward(facula.ones(2, out, dtype=facula.float64))
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(matrix(way).sum(0), (2, size)), atol=1e-12)
