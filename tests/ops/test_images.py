"""Images with their channels innermost: computed in that order, without copies that rows of positions do not need."""

import numpy as np
import pytest

import facula
from facula import nn
from facula.engine import plan_log
from facula.nn import functional as F
from fresh import nothing_seen


@pytest.fixture(autouse=True)
def log_ends_with_the_test(monkeypatch):
    """It would hold every plan, and have later ones run another way."""
    monkeypatch.setattr(plan_log, "records", None)


def network(last):
    facula.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AvgPool2d(2),
        nn.Upsample(scale_factor=2), nn.Conv2d(32, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    x = facula.randn(4, 8, 16, 16)
    if last:
        net, x = net.to(memory_format=facula.channels_last), x.to(memory_format=facula.channels_last)
    return net, x


def kernels(last, train):
    """The titles and bytes of the kernels of one step, the fourth."""
    net, x = network(last)
    x.requires_grad_(train)
    leaves = [x, *net.parameters()]
    for k in range(4):
        if k == 3:
            plan_log.start()
        for t in leaves:
            t.grad = None
        with facula.set_grad_enabled(train):
            out = net(x).square().sum()
        if train:
            out.backward()
        out.item()
    return [(one["title"], one["bytes"]) for plan in plan_log.told() for one in plan["kernels"]]


@pytest.mark.alone  # looks at what is compiled
@pytest.mark.parametrize("train", [False, True])
def test_nothing_is_moved(train):
    plain, last = kernels(False, train), kernels(True, train)
    moves = [[size for title, size in found if title in ("view", "copy")] for found in (plain, last)]
    assert len(moves[1]) <= len(moves[0]) and sum(moves[1]) <= sum(moves[0]), (plain, last)
    packs = sum(title.startswith("pack") for title, _ in last)  # of weights
    assert len(last) - packs <= len(plain) + 2, (plain, last)
    assert sum(size for _, size in last) <= 1.1 * sum(size for _, size in plain)


def test_saved_values_lie_as_they_did(monkeypatch):
    """What is kept for the backward pass over a realized forward pass is the memory itself, not a copy beside it."""
    nothing_seen(monkeypatch)
    net, x = network(True)
    for t in (x, *net.parameters()):
        t.sum().item()
    loss = net(x).square().sum()
    plan_log.start()
    loss.item()
    titles = [one["title"] for plan in plan_log.told() for one in plan["kernels"]]
    assert "view" not in titles and "copy" not in titles
    seen = facula.randn(2, 8, 6, 6).to(memory_format=facula.channels_last).requires_grad_()
    out = F.max_pool2d(seen, 2)
    assert out.grad_fn.name() == "MaxPoolBackward0"
    assert F.conv2d(seen, facula.randn(8, 8, 1, 1)).grad_fn.name() == "ConvolutionBackward0"


# ---- values: the same as of rows of positions, whatever lies how -----------------------------------------------

RNG = np.random.default_rng(3)


def numbers(*shape):
    return facula.from_numpy(RNG.standard_normal(shape).astype(np.float32))


def turned(t):
    """The same values, their channels innermost."""
    n = t.dim()
    back = (0, n - 1, *range(1, n - 1))
    return t.permute(0, *range(2, n), 1).contiguous().permute(back)


def both(f, *tensors):
    """`f` of plain tensors and of all ways to have some of them turned: results and gradients, also second ones."""
    wanted = None
    for which in range(1 << len(tensors)):
        leaves = [(turned(t) if which >> k & 1 and t.dim() > 2 else t.clone()).requires_grad_()
                  for k, t in enumerate(tensors)]
        out = f(*leaves)
        weights = facula.arange(out.numel()).reshape(out.shape).float().cos()
        first = facula.autograd.grad((out * out.detach().sin() * weights).sum() + (out * out * weights).sum(), leaves,
                                     create_graph=True)
        second = facula.autograd.grad(sum((g * g).sum() for g in first), leaves, allow_unused=True)
        found = [t.detach().numpy() for t in (out, *first, *[s for s in second if s is not None])]
        if wanted is None:
            wanted = found
        else:
            for ours, theirs in zip(found, wanted, strict=True):
                assert np.allclose(ours, theirs, 2e-3, 2e-3 * np.abs(theirs).max(initial=0)), which


CONVOLUTIONS = [
    # sizes, in, out, kernel, stride, padding, dilation, groups
    ((7, 6), 9, 10, (3, 2), 1, 1, 1, 1), ((9, 8), 16, 8, (3, 3), 2, 0, 1, 1),
    ((8, 9), 3, 12, (2, 3), (2, 1), (0, 1), 2, 1),
    ((6, 5), 8, 3, (1, 1), 1, 0, 1, 1), ((7, 7), 8, 16, (3, 3), 3, 2, 2, 4), ((11,), 8, 12, (4,), 2, 1, 1, 1),
    ((4, 5, 6), 8, 9, (2, 3, 2), (1, 2, 1), 1, 1, 1)]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions(case):
    sizes, c, o, kernel, stride, padding, dilation, groups = case
    f = getattr(F, f"conv{len(sizes)}d")
    both(lambda x, w, b: f(x, w, b, stride, padding, dilation, groups),
         numbers(3, c, *sizes), numbers(o, c // groups, *kernel) / 4, numbers(o))


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_transposed_convolutions(case):
    sizes, c, o, kernel, stride, padding, dilation, groups = case
    f = getattr(F, f"conv_transpose{len(sizes)}d")
    both(lambda x, w, b: f(x, w, b, stride, padding, 0, groups, dilation),
         numbers(3, o, *sizes), numbers(o, c // groups, *kernel) / 4, numbers(c))


OTHERS = {
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1), "max_pool2d, dilated": lambda x: F.max_pool2d(x, 2, 1, 0, 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, (3, 2), 2, 1), "avg_pool2d, padding apart":
        lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), "lp_pool2d": lambda x: F.lp_pool2d(x.abs() + 1, 2, 2),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (4, 3)), "even parts":
        lambda x: F.adaptive_avg_pool2d(x, (4, 2)), "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "nearest": lambda x: F.interpolate(x, (5, 9)), "bilinear": lambda x: F.interpolate(x, (11, 4), mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, (9, 7), mode="bicubic"),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "evaluated": lambda x: F.batch_norm(x, facula.ones(6), facula.ones(6), facula.arange(6.0)),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_pools_and_the_like(name):
    both(OTHERS[name], numbers(2, 6, 8, 8))


def test_running_statistics_and_places():
    x = numbers(3, 9, 6, 6)
    found = []
    for t in (x, turned(x)):
        mean, variance = facula.zeros(9), facula.ones(9)
        out, mean_of, inverse = facula.native_batch_norm(t, facula.arange(9.0), facula.ones(9), mean, variance, True,
                                                         0.5, 1e-5)
        largest, places = F.max_pool2d(t, 2, return_indices=True)
        found.append([v.numpy() for v in (out, mean_of, inverse, mean, variance, largest, places,
                                          F.max_unpool2d(largest, places, 2))])
    for ours, theirs in zip(*found, strict=True):
        assert np.allclose(ours, theirs, 1e-5, 1e-5)
