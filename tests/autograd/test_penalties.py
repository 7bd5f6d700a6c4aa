"""Under `create_graph`, the gradient of a linear operation requires a gradient where torch's does: a penalty on it
may be differentiated, and gives the input zeros (or nothing, after a convolution)."""

import numpy as np
import pytest

pytestmark = pytest.mark.oracle


def pads(mode, *amounts):
    return lambda m, x: m.nn.functional.pad(x, amounts, mode=mode)


def of(name, *args, **kwargs):
    return lambda m, x: getattr(m.nn.functional, name)(x, *args, **kwargs)


CASES = {
    "max_pool1d": (of("max_pool1d", 2), (1, 2, 4)),
    "max_pool2d": (of("max_pool2d", 2), (1, 1, 4, 4)),
    "max_pool3d": (of("max_pool3d", 2), (1, 1, 4, 4, 4)),
    "avg_pool1d": (of("avg_pool1d", 2), (1, 2, 4)),
    "avg_pool2d": (of("avg_pool2d", 2, padding=1), (1, 1, 4, 4)),
    "avg_pool3d": (of("avg_pool3d", 2), (1, 1, 4, 4, 4)),
    "adaptive_avg_pool2d": (of("adaptive_avg_pool2d", 2), (1, 1, 4, 4)),
    "adaptive_avg_pool2d uneven": (of("adaptive_avg_pool2d", 3), (1, 1, 4, 4)),
    "adaptive_max_pool2d": (of("adaptive_max_pool2d", 3), (1, 1, 4, 4)),
    "lp_pool2d": (of("lp_pool2d", 2, 2), (1, 1, 4, 4)),
    "fractional": (lambda m, x: m.nn.functional.fractional_max_pool2d(
        x, 2, output_size=2, _random_samples=m.full((1, 1, 2), 0.5, dtype=m.float64)), (1, 1, 5, 5)),
    "unpool": (lambda m, x: m.nn.functional.max_unpool2d(x, m.tensor([[[[0, 3], [8, 10]]]]), 2), (1, 1, 2, 2)),
    "pad": (pads("constant", 1, 1), (1, 1, 4)),
    "pad circular": (pads("circular", 1, 1), (1, 1, 4)),
    "pad reflect": (pads("reflect", 1, 1, 1, 1), (1, 1, 4, 4)),
    "pad replicate": (pads("replicate", 1, 1), (1, 1, 4)),
    "area": (of("interpolate", scale_factor=2, mode="area"), (1, 1, 4, 4)),
    "bilinear": (of("interpolate", scale_factor=2, mode="bilinear"), (1, 1, 4, 4)),
    "nearest": (of("interpolate", scale_factor=2, mode="nearest"), (1, 1, 4, 4)),
    "nll_loss": (lambda m, x: m.nn.functional.nll_loss(x, m.tensor([0, 1])), (2, 3)),
    "nll_loss weighted": (lambda m, x: m.nn.functional.nll_loss(
        x, m.tensor([0, 1]), weight=m.ones(3, dtype=m.float64)), (2, 3)),
    "nll_loss2d": (lambda m, x: m.nn.functional.nll_loss(x, m.zeros(2, 4, dtype=m.long)), (2, 3, 4)),
    "grid_sample": (lambda m, x: m.nn.functional.grid_sample(
        x, m.zeros(1, 2, 2, 2, dtype=m.float64), align_corners=False), (1, 1, 4, 4)),
    "conv1d": (lambda m, x: m.nn.functional.conv1d(x, m.ones(1, 1, 2, dtype=m.float64)), (1, 1, 4)),
    "conv2d": (lambda m, x: m.nn.functional.conv2d(x, m.ones(2, 1, 2, 2, dtype=m.float64)), (1, 1, 4, 4)),
    "conv_transpose": (lambda m, x: m.nn.functional.conv_transpose2d(
        x, m.ones(1, 1, 2, 2, dtype=m.float64)), (1, 1, 4, 4)),
    "polar": (lambda m, x: m.polar(x, x.detach()), (4,)),
    "pixel_shuffle": (of("pixel_shuffle", 2), (1, 4, 2, 2)),
    "fold": (of("fold", (4, 4), 2), (1, 4, 9)),
    "max_pool2d of nothing": (of("max_pool2d", 2), (0, 1, 4, 4)),
    "avg_pool2d of nothing": (of("avg_pool2d", 2), (0, 1, 4, 4)),
    "avg_pool3d of nothing": (of("avg_pool3d", 2), (0, 1, 4, 4, 4)),
    "adaptive_avg_pool2d of nothing": (of("adaptive_avg_pool2d", 2), (0, 1, 4, 4)),
    "adaptive_max_pool2d of nothing": (of("adaptive_max_pool2d", 2), (0, 1, 4, 4)),
    "softmax of a number": (of("softmax", 0), ()), "log_softmax of a number": (of("log_softmax", 0), ()),
    "softmax of one": (of("softmax", 0), (1,)), "softmax of nothing": (of("softmax", 0), (0, 2)),
    "rrelu": (of("rrelu", training=True), (4,)),
    "pinverse of nothing": (lambda m, x: m.pinverse(x), (0, 3, 3)),
    "ormqr of nothing": (lambda m, x: m.ormqr(m.ones(0, 3, 2, dtype=m.float64).requires_grad_(),
                                              m.ones(0, 2, dtype=m.float64), x), (0, 3, 2)),
    "relu": (of("relu"), (4,)),
    "sum": (lambda m, x: x.sum(), (4,)), "sort": (lambda m, x: x.sort()[0], (4,)), "mul": (lambda m, x: x * 3, (4,)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_penalty_on_the_gradient(oracle, name):
    fn, shape = CASES[name]

    def run(m):
        x = m.linspace(0.1, 1.3, int(np.prod(shape)), dtype=m.float64).reshape(shape).requires_grad_()
        y = fn(m, x)
        g, = m.autograd.grad((y.real if y.is_complex() else y).sum(), x, create_graph=True)
        if not g.requires_grad:
            return [None, None]
        (g * g).sum().backward()
        return [g.detach(), x.grad]

    mine, theirs = oracle.both(run)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a[1], b[1], rtol=1e-9, atol=1e-12)


def test_gradient_penalty_of_a_network(oracle):
    """Every parameter has a gradient, zeros where torch's has zeros."""
    def run(m):
        F = m.nn.functional
        weights = [(m.arange(n, dtype=m.float64).reshape(s) / n - 0.4).requires_grad_()
                   for n, s in ((18, (2, 1, 3, 3)), (2, (2,)), (36, (2, 2, 3, 3)), (8, (1, 8)))]
        x = m.linspace(-1, 1, 64, dtype=m.float64).reshape(1, 1, 8, 8).requires_grad_()
        y = F.max_pool2d(F.leaky_relu(F.conv2d(x, weights[0], weights[1], padding=1), 0.2), 2)
        y = F.avg_pool2d(F.conv2d(F.pad(y, (1, 1, 1, 1), mode="reflect"), weights[2]), 2)
        g, = m.autograd.grad((y.reshape(1, 8) @ weights[3].t()).sum(), x, create_graph=True)
        (g.norm() - 1).pow(2).backward()
        return [x.grad, *[w.grad for w in weights]]

    mine, theirs = oracle.both(run)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a[1], b[1], rtol=1e-9, atol=1e-12)


def test_second_gradients_of_nearest_samples_reach_image_and_grid(oracle):
    """Zeros, in torch too, where both are asked for."""
    def run(m):
        image = m.linspace(0, 1, 16, dtype=m.float64).reshape(1, 1, 4, 4).requires_grad_()
        grid = m.linspace(-0.9, 0.8, 8, dtype=m.float64).reshape(1, 2, 2, 2).requires_grad_()
        out = m.nn.functional.grid_sample(image, grid, "nearest", align_corners=False)
        first = m.autograd.grad((out * out).sum(), (image, grid), create_graph=True)
        sum((g * g).sum() for g in first).backward()
        return [image.grad, grid.grad]

    mine, theirs = oracle.both(run)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a[1], b[1], rtol=1e-9, atol=1e-12)
