"""Several Python threads record, run backward and realize at the same time, and get what one thread gets."""

import os
import random
import threading

import pytest

import facula
from facula import nn
from many_threads import switch_often, together  # noqa: F401

pytestmark = pytest.mark.processes


def ordinary_work(seed, steps=8):
    """Training, in-place writes, sorting, masks, NumPy memory, a library routine: numbers along the way."""
    generator = facula.Generator().manual_seed(seed)
    linear, table, norm = nn.Linear(6, 8), nn.Embedding(5, 6), nn.LayerNorm(8)
    with facula.no_grad():
        for p in [*linear.parameters(), *table.parameters()]:
            p.copy_(facula.randn(*p.shape, generator=generator))
    optimizer = facula.optim.Adam([*linear.parameters(), *table.parameters(), *norm.parameters()], lr=1e-2)
    history = facula.zeros(20)
    seen = []
    for step in range(steps + seed % 3):
        index = facula.randint(0, 5, (4 + seed % 4,), generator=generator)
        out = norm(linear(table(index))).relu()
        loss = nn.functional.cross_entropy(out, index) if step % 3 else (out.softmax(-1) * out).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history[step % 20] = loss.detach()
        history[2:5] += 1
        history.mul_(1.01)
        s = facula.randn(7, 3, generator=generator)
        seen += [s.sort(0)[0][0, 0].item(), s[s > 0].sum().item()]
        z = facula.cat([s, s * 2]).cumsum(0)[::2].T.contiguous()
        z[0] = 0
        seen.append(z.sum().item())
        if step % 4 == 0:
            seen.append(facula.linalg.inv(facula.eye(3) * 2 + 0.1 * s[:3]).sum().item())
        w = s.clone()
        shared = w.numpy()
        shared += 1
        seen.append(w.sum().item())
    return seen + history.tolist()


def test_each_thread_gets_what_one_thread_gets():
    seeds = range(8)
    alone = [ordinary_work(seed) for seed in seeds]
    for _ in range(3):
        assert together([lambda seed=seed: ordinary_work(seed) for seed in seeds]) == alone


def test_one_pending_value_asked_for_by_several():
    x = facula.ones(1000)
    for k in range(50):
        y = x * k + 1
        assert together([lambda y=y: y.sum().item()] * 3) == [1000.0 * (k + 1)] * 3


def test_hogwild():
    goal = facula.tensor([1.0, 2.0, 3.0, 4.0])
    w = facula.zeros(4, requires_grad=True)

    def train():
        for _ in range(60):
            (slope,) = facula.autograd.grad(((w - goal) ** 2).sum(), w)
            with facula.no_grad():
                w.sub_(0.02 * slope)

    together([train] * 4)
    assert w.tolist() == pytest.approx([1, 2, 3, 4], abs=0.1)


def test_gradient_mode_belongs_to_the_thread():
    inside, done = threading.Event(), threading.Event()

    def other():
        with facula.no_grad():
            inside.set()
            done.wait(30)
            return facula.is_grad_enabled()

    def this():
        inside.wait(30)
        mode = facula.is_grad_enabled()
        done.set()
        return mode

    assert together([other, this]) == [False, True]
    with facula.no_grad():
        assert together([facula.is_grad_enabled]) == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_another_thread_computes():
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            (facula.randn(150, 150) @ facula.randn(150, 150)).sum().item()

    thread = threading.Thread(target=busy, daemon=True)
    thread.start()
    try:
        pauses = random.Random(0)
        for _ in range(15):
            stop.wait(pauses.random() / 100)
            child = os.fork()
            if child == 0:
                import signal
                signal.alarm(20)
                right = (facula.ones(90, 90) @ facula.ones(90, 90)).sum().item() == 729000.0
                os._exit(0 if right else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join(60)
