"""Steps for graphs that differ from known ones in sizes alone (trace/alike.py). FACULA_VERIFY, which these tests set,
has each made by looking at its nodes, too, and compares."""

import random

import numpy as np
import pytest

import facula
from facula import config, nn
from facula.engine import realize, recorder
from facula.engine.runtime.cpu.plan import Plan
from facula.engine.session import session
from facula.engine.targets import host
from facula.engine.trace import alike
from facula.errors import VerifyError
from fresh import nothing_seen

pytestmark = [pytest.mark.compiled,
              pytest.mark.skipif(bool(config.THRESHOLD.value) or recorder.LIMIT == 0, reason="counts by the defaults")]


@pytest.fixture
def kinds(monkeypatch):
    """Of each graph that was new: was its step had by its kind?"""
    nothing_seen(monkeypatch)
    monkeypatch.setattr(config.VERIFY, "value", True)
    facula.ones(3).sin().tolist()  # from then on graphs are described by machine code
    if session.describe is None:
        pytest.skip("this Python takes no builtins")
    found, of_its_kind = [], realize.of_its_kind

    def seen(*given):
        step = of_its_kind(*given)
        found.append(step is not None)
        return step
    monkeypatch.setattr(realize, "of_its_kind", seen)
    return found


def batch(n, m=6, scale=2.0):
    x = facula.arange(n * m * 1.0).reshape(n, m) / n
    w = facula.ones(5, m) / 3
    y = (x.tanh() @ w.t() + facula.arange(5.0)).softmax(-1)
    z = (y * scale).sum(0)
    return z.numpy().tolist(), x.t().flip(0).cumsum(1)[:, 1:].sum().item()


def expected(n, m=6, scale=2.0):
    x = np.arange(n * m, dtype=np.float32).reshape(n, m) / np.float32(n)
    e = np.exp(np.tanh(x) @ np.ones((5, m)).T / 3 + np.arange(5))
    return (e / e.sum(-1, keepdims=True) * scale).sum(0), x.T[::-1].cumsum(1)[:, 1:].sum()


def test_sizes_that_are_new_are_not_looked_at_node_by_node(kinds):
    for n in random.Random(0).sample(range(20, 60), 30):
        z, total = batch(n)
        mine, theirs = expected(n)
        np.testing.assert_allclose(z, mine, rtol=1e-5)
        np.testing.assert_allclose(total, theirs, rtol=1e-5)
    assert sum(kinds) > 30


def test_training_with_random_batch_sizes(kinds):
    facula.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Dropout(0.2), nn.Linear(9, 3))
    optimizer = facula.optim.AdamW(net.parameters())
    for n in random.Random(1).sample(range(8, 60), 40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(facula.randn(n, 7)), facula.randint(0, 3, (n,))).backward()
        optimizer.step()
    assert sum(kinds) > 20


def test_what_lives_longer_is_another_kind(kinds):
    def program(n, hold):
        y = facula.arange(n * 1.0).sin() * 2
        z = (y + 1).cos()
        held = y if hold else None
        del y
        return z.numpy(), held
    for n in range(20, 26):
        program(n, False)
    assert any(kinds)
    del kinds[:]
    for n in range(30, 36):
        values = np.sin(np.arange(n, dtype=np.float32)) * 2
        z, held = program(n, True)
        np.testing.assert_allclose(z, np.cos(values + 1), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(held.numpy(), values, rtol=1e-5, atol=1e-6)
    assert not kinds[0] and any(kinds)


def test_a_size_of_one_or_none_is_another_kind(kinds):
    def program(n):
        x = facula.arange(n * 6.0).reshape(n, 6)
        return ((x.sin() + 1) * facula.ones(n, 6)).exp().sum(0).numpy()
    for n in range(20, 26):
        program(n)
    assert any(kinds)
    for n in (1, 0):
        del kinds[:]
        x = np.arange(n * 6, dtype=np.float32).reshape(n, 6)
        np.testing.assert_allclose(program(n), np.exp(np.sin(x) + 1).sum(0), rtol=1e-5)
        assert kinds and not any(kinds)


def test_strides_that_are_no_sizes_must_be_the_same(kinds):
    base = facula.arange(4000.0)

    def program(n, strides):
        return (base.as_strided((n, 4), strides) * 2 + 1).tolist()

    def by_numpy(n, strides):
        array = np.arange(4000, dtype=np.float32)
        return (np.lib.stride_tricks.as_strided(array, (n, 4), [4 * s for s in strides]) * 2 + 1).tolist()
    for n in range(20, 26):
        assert program(n, (n, 1)) == by_numpy(n, (n, 1))
    assert any(kinds)
    for n in range(30, 34):
        for strides in ((1, n), (n, 1), (n, 3), (1, 0), (0, 1), (2, n)):
            assert program(n, strides) == by_numpy(n, strides)


def test_what_is_no_size_must_be_the_same(kinds):
    def program(n, dim, k):
        x = facula.arange(n * n * 1.0).reshape(n, n)
        return (x.sin().cumsum(dim) * 2).roll(k, 0).sum(dim).numpy()

    def by_numpy(n, dim, k):
        x = np.arange(n * n, dtype=np.float32).reshape(n, n)
        return np.roll(np.sin(x).cumsum(dim) * 2, k, 0).sum(dim)
    for n in range(20, 40):
        for dim, k in ((0, 1), (1, 1), (1, 3), (0, -2)):
            np.testing.assert_allclose(program(n, dim, k), by_numpy(n, dim, k), rtol=1e-3, atol=1e-3)
    assert True in kinds and False in kinds


def test_large_results_may_take_the_memory_of_what_they_replace(kinds, monkeypatch):
    """Whether they do is seen where the nodes are looked at."""
    monkeypatch.setattr(alike, "WORTH_REPLACING", 4 * 50)
    for n in (20, 24, 28, 32, 36):
        (facula.arange(n * 1.0).sin() * 2 + 1).numpy()
    hits = sum(kinds)
    assert hits
    for n in (60, 64, 68):
        (facula.arange(n * 1.0).sin() * 2 + 1).numpy()
    assert sum(kinds) == hits


def test_few_kinds_of_a_name_are_kept(kinds):
    known = alike.Kinds()
    one = [type("One", (), {"weight": 7})() for _ in range(9)]
    for each in one:
        known.add(each)
    assert known.all == one[:-1 - alike.FEW:-1] and known.weight == 100 + 7 * alike.FEW


def test_all_kinds_are_bounded_in_bytes(kinds, monkeypatch):
    monkeypatch.setattr(session.alike, "most", 20_000)
    for width in range(3, 23):
        for n in (20, 24, 28):
            y = facula.arange(n * 1.0)
            for _ in range(width):
                y = (y * 1.5).sin()
            y.numpy()
    assert session.alike.held <= 20_000 or len(session.alike) <= session.alike.few


def test_whoever_wants_to_see_plans_sees_them_made(kinds, monkeypatch):
    for n in (20, 24, 28):
        batch(n)
    del kinds[:]
    monkeypatch.setattr(host, "instead", Plan)
    batch(32)
    assert kinds and not any(kinds)


def test_who_asks_for_the_interpreter_has_it(kinds, monkeypatch):
    for n in (20, 24, 28):
        batch(n)
    del kinds[:]
    monkeypatch.setattr(config.BACKEND, "value", "interpreter")
    z, total = batch(32)
    mine, theirs = expected(32)
    np.testing.assert_allclose(z, mine, rtol=1e-5)
    assert kinds and not any(kinds)


def test_a_step_that_is_wrong_is_seen(kinds):
    for n in (20, 24, 28):
        batch(n)
    for known in session.alike.values():
        for one in known.all:
            one.results = [(nbytes + 4, *factors) for nbytes, *factors in one.results]
    with pytest.raises(VerifyError, match="sizes"):
        batch(32)
