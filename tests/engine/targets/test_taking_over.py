"""On devices as on the cpu: memory of what dies is taken over, and backward passes seen before are not walked."""

import gc

import numpy as np
import pytest

import facula
from facula.autograd import replay
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.session import MOST_KEPT, session
from facula.engine.targets import target_of
from facula.engine.trace.kept import Kept
from facula.testing.accelerator import pretend_accelerator

counts = pytest.mark.skipif(not liveness.known() or not recorder.LIMIT, reason="every value counts as held")
kept = pytest.mark.skipif(MOST_KEPT < 1 << 16, reason="what was seen is not kept for long")


@pytest.fixture
def there():
    with pretend_accelerator() as place:
        yield place


@pytest.fixture
def walks(monkeypatch):
    """How many walks there were."""
    count = [0]
    real = replay.walk

    def counted(*args):
        count[0] += 1
        return real(*args)

    monkeypatch.setattr(replay, "walk", counted)
    monkeypatch.setattr(session, "seen", Kept(MOST_KEPT))
    return count


def train(place, optimizer, steps=8, dropout=0.0):
    facula.manual_seed(3)
    net = facula.nn.Sequential(facula.nn.Linear(4, 8), facula.nn.ReLU(), facula.nn.Dropout(dropout),
                               facula.nn.LayerNorm(8), facula.nn.Linear(8, 3)).to(place)
    x, y = facula.randn(16, 4).to(place), (facula.arange(16) % 3).to(place)
    optimizer = optimizer(net.parameters(), lr=0.05)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = facula.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.grad.cpu().numpy() for p in net.parameters()]


@kept
@counts
@pytest.mark.compiled
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_training_there_walks_no_more_than_here(optimizer, there, walks):
    found = []
    for place in ("cpu", there):
        for _ in range(4):  # what comes up once a training is known, too
            walks[0] = 0
            losses, grads = train(place, getattr(facula.optim, optimizer))
        found.append((walks[0], losses, grads))
    assert found[0][0] == found[1][0] == 0
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)
    for here, away in zip(found[0][2], found[1][2], strict=True):
        np.testing.assert_allclose(here, away, rtol=1e-3, atol=1e-6)


@kept
@counts
@pytest.mark.compiled
def test_training_here_is_replayed_beside_values_there(there, walks):
    for _ in range(3):
        walks[0] = 0
        alone = train("cpu", facula.optim.SGD)[0]
    beside = facula.arange(3.0, device=there)
    assert train("cpu", facula.optim.SGD)[0] == alone and walks[0] == 0  # under the keys that it had without
    assert beside.tolist() == [0, 1, 2]


def test_dropout_there_draws_each_time_anew(there, walks):
    losses = train(there, facula.optim.SGD, dropout=0.5)[0]
    assert len(set(losses)) == len(losses)


def test_a_tape_over_two_devices(there, walks):
    for k in range(5):
        w = facula.full((3,), 2.0, requires_grad=True)
        v = facula.full((3,), 3.0, device=there, requires_grad=True)
        (((w * 2).to(there) * v).cpu() * w).sum().backward()
        assert w.grad.is_cpu and v.grad.device == there
        assert w.grad.tolist() == [24.0] * 3 and v.grad.tolist() == [8.0] * 3
        x = facula.full((3,), float(k), device=there, requires_grad=True)  # nothing of it is here but the loss
        x.cpu().sum().backward()
        assert x.grad.tolist() == [1.0] * 3
        y = facula.full((3,), float(k), requires_grad=True)
        y.to(there).sum().backward()
        assert y.grad.is_cpu and y.grad.tolist() == [1.0] * 3


def test_custom_functions_there(there, walks):
    class Double(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0].sign()

    for place in ("cpu", there):
        w = facula.tensor([1.0, -2.0], device=place, requires_grad=True)
        for _ in range(5):
            w.grad = None
            (Double.apply(w) * w).sum().backward()
            assert w.grad.tolist() == [2 + 2, -4 + 4] and w.grad.device == facula.device(place)


def test_a_second_backward_is_refused_there(there, walks):
    for _ in range(5):
        w = facula.arange(3.0, device=there).requires_grad_()
        loss = (w * w).exp().sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


@counts
def test_memory_is_taken_over(there):
    target = target_of(there)
    gc.collect()
    n = 1 << 19  # two megabytes: worth it
    x, step = facula.arange(float(n), device=there), facula.full((n,), 2.0, device=there) + 1.0
    for kind in range(2):
        if kind:
            x[3] = 4.0  # shares its memory with a view from now on
        facula.accelerator.synchronize()
        address, held = x.data_ptr(), target.usage.bytes
        target.usage.forget_most()
        for _ in range(3):
            if kind:
                x[3] = 5.0
            else:
                x += step
            facula.accelerator.synchronize()
        assert x.data_ptr() == address and target.usage.most < held + 4 * n
    assert x[3].item() == 5 and x[4].item() == 4 + 3 * 3


def test_memory_that_somebody_holds_is_not(there):
    n = 1 << 19
    x = facula.arange(float(n), device=there)
    y = x.clone()
    kept = (x * 1.0).detach()
    facula.accelerator.synchronize()
    alias = kept.data_ptr()
    z = kept + 0.0
    kept += 1.0
    kept[0] = 9.0
    facula.accelerator.synchronize()
    assert z[:3].tolist() == y[:3].tolist() == x[:3].tolist() == [0, 1, 2]
    assert kept[:3].tolist() == [9, 2, 3] and alias
    with facula.no_grad():
        w = facula.nn.Parameter(x)
        before = w.detach()  # shares, and so sees
        w -= 1.0
    assert before[:2].tolist() == w[:2].tolist() == [-1, 0]
