"""Training whose sizes change every step compiles a bounded number of kernels, and after some tens of sizes none."""

import random

import pytest

import facula as F
from facula import config, nn
from facula.engine import recorder
from facula.engine.runtime.cpu import jit
from facula.engine.targets import plans_on_disk
from facula.nn import functional
from fresh import nothing_seen

pytestmark = [pytest.mark.compiled,
              pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: other kernels, of an operation each"),
              pytest.mark.skipif(bool(config.THRESHOLD.value), reason="counts by the defaults")]


def trained(modules, loss):
    optimizer = F.optim.Adam([p for m in modules for p in m.parameters()])

    def step(n):
        optimizer.zero_grad()
        value = loss(n)
        value.backward()
        optimizer.step()
        return value.item()
    return step


def perceptron():
    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    return trained([net], lambda n: functional.cross_entropy(net(F.randn(n, 20)), F.randint(0, 10, (n,))))


def convolutions():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return trained([net], lambda n: functional.cross_entropy(net(F.randn(n, 3, 12, 12)), F.randint(0, 10, (n,))))


def attention():
    norm, attend, head = nn.LayerNorm(32), nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 7)

    def loss(n):
        x = F.randn(2, n, 32)
        z = norm(x)
        z = x + attend(z, z, z, need_weights=False)[0]
        return functional.cross_entropy(head(z).reshape(-1, 7), F.randint(0, 7, (2 * n,)))
    return trained([norm, attend, head], loss)


def recurrent():
    cell, head = nn.GRUCell(16, 24), nn.Linear(24, 5)

    def loss(n):
        h = F.zeros(n, 24)
        for x in F.randn(4, n, 16):
            h = cell(x, h)
        return functional.cross_entropy(head(h), F.randint(0, 5, (n,)))
    return trained([cell, head], loss)


@pytest.mark.parametrize("program, most", [(perceptron, 45), (convolutions, 120), (attention, 120), (recurrent, 95)])
def test_kernels_do_not_grow_with_the_sizes_met(program, most, monkeypatch):
    nothing_seen(monkeypatch)
    texts, get = set(), jit.get

    def counted(kernel):
        texts.add(kernel.ir)
        return get(kernel)

    monkeypatch.setattr(jit, "get", counted)
    monkeypatch.setattr(config.VERIFY, "value", False)
    monkeypatch.setattr(plans_on_disk, "name_of", lambda structure, machine: "")  # whatever another run has left there
    F.manual_seed(0)
    step = program()
    sizes = random.Random(0).sample(range(17, 300), 60)
    edges = [1, 2, 5, 8, 12, 16]  # kernels of their own: dimensions of one, sums and products shorter than vectors
    for n in [64, 64, 64, *edges, *sizes[:30]]:
        step(n)
    first = len(texts)
    assert 10 < first <= most
    for n in sizes[30:]:
        step(n)
    assert len(texts) <= first + 2
