"""Graphs that have not been seen before, run in pieces (engine/pieces.py): the same bits as whole, no growing cost."""

import random
from weakref import WeakValueDictionary

import numpy as np
import pytest

import facula
import facula.nn.functional as F
from facula import nn
from facula.engine import pieces
from facula.engine.session import session
from facula.engine.trace import structure
from facula.engine.trace.kept import Kept

pytestmark = pytest.mark.compiled


@pytest.fixture
def fresh(monkeypatch):
    """A function that has all graphs forgotten, and says whether new ones are run in pieces."""
    def forget(in_pieces):
        monkeypatch.setattr(session, "seen", Kept(1 << 26))
        monkeypatch.setattr(session, "plans", WeakValueDictionary())
        monkeypatch.setattr(structure, "credits", {})
        monkeypatch.setattr(pieces.novelty, "seen", {})
        monkeypatch.setattr(pieces.novelty, "operations", set())
        monkeypatch.setattr(pieces.novelty, "streak", 0)
        monkeypatch.setattr(pieces, "STREAK", 0 if in_pieces else 1 << 30)
        monkeypatch.setattr(pieces, "SMALL", 2)
    return forget


def packed_lstm(step):
    m = nn.LSTM(8, 16, batch_first=True, num_layers=2)
    lengths = sorted(random.Random(step).choices(range(1, 9), k=5), reverse=True)
    packed = nn.utils.rnn.pack_padded_sequence(facula.randn(5, lengths[0], 8), facula.tensor(lengths), batch_first=True)
    out, (h, c) = m(packed)
    (out.data.pow(2).mean() + h.sum()).backward()
    return [out.data, h, c, *(p.grad for p in m.parameters())]


def convolutions(step):
    m = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                      nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.GELU(), nn.Flatten(), nn.LazyLinear(5))
    x = facula.randn(4, 3, 8 + step, 9, requires_grad=True)
    y = m(x)
    F.cross_entropy(y, facula.arange(4) % 5).backward()
    return [y, x.grad, *(p.grad for p in m.parameters())]


def attention(step):
    m = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    x = facula.randn(3, 5 + step, 16, requires_grad=True)
    mask = facula.zeros(3, 5 + step, dtype=facula.bool)
    mask[:, 4:] = True
    y = m(x, src_key_padding_mask=mask)
    y.pow(2).sum().backward()
    return [y, x.grad, *(p.grad for p in m.parameters())]


def writes_and_views(step):
    x = facula.arange(24.0 + step).reshape(-1, 1) * facula.ones(4)
    rows = x[::2]
    x[1] = rows.sum(0)
    turned = x.transpose(0, 1)
    y = turned.flip(0).sum(1) + turned.sum(1)
    x += 1
    rows.mul_(2)
    padded = F.pad(x.t()[None, None], (1, 2, 1, 1), value=3.0)
    taken = padded.flatten()[facula.arange(3) * 2]
    values, order = x.sort(dim=0)
    return [x, rows, y, padded.sum(-1), taken, values, order, turned, x.cumsum(0), facula.cat([x, rows, turned.t()])]


def training(step):
    m = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = facula.optim.AdamW(m.parameters(), lr=0.1)
    for k in range(3):
        optimizer.zero_grad()
        m(facula.randn(3 + step + k, 6)).pow(2).mean().backward()
        nn.utils.clip_grad_norm_(m.parameters(), 0.5)
        optimizer.step()
    return list(m.parameters())


@pytest.mark.parametrize("program", [packed_lstm, convolutions, attention, writes_and_views, training])
def test_the_same_bits_as_whole(program, fresh):
    found = []
    for in_pieces in (False, True):
        fresh(in_pieces)
        facula.manual_seed(0)
        found.append([t.detach().numpy().tobytes() for step in (0, 1, 1, 1, 2) for t in program(step)])
    whole, cut = found
    assert whole == cut


def test_ragged_batches_come_to_need_no_new_plan(fresh):
    fresh(True)
    draw = random.Random(0)

    def batch():
        rows = []
        for _ in range(16):
            x, n = facula.zeros(16), draw.randint(1, 15)
            x[1:1 + n] = facula.tensor([1.0] * n)
            rows.append(x)
        return facula.stack(rows).sum().item()

    for _ in range(40):
        batch()
    before = len(session.plans)
    for _ in range(20):
        assert batch() > 0
    assert len(session.plans) == before


def test_a_long_chain_costs_as_little_a_node_as_a_short_one(fresh):
    """It is compiled from few pieces, however long it is."""
    fresh(False)
    plans = []
    for n in (600, 6000):
        x = facula.ones(8)
        for _ in range(n // 3):
            x = (x + 1).tanh() * 0.5
        assert np.isfinite(x.numpy()).all()
        plans.append(len(session.plans))
    assert plans[1] < 2 * plans[0] + 20


def test_what_comes_again_is_compiled_whole(fresh):
    fresh(True)
    seen = []
    for _turn in range(4):
        x = facula.arange(6.0)
        for _ in range(12):
            x = x * 1.5 + 1
        x.tolist()
        seen.append(len(session.seen))
    assert seen[0] < seen[1] == seen[2] == seen[3]


def test_a_call_is_run_with_what_picks_its_results(fresh):
    fresh(True)
    x = facula.randn(4, 4)
    for k in range(3):
        u, s, v = facula.linalg.svd(x + k)
        q, r = facula.linalg.qr(u @ u.t() + x)
        y = (u * s) @ v
        for _ in range(20):
            y = y + 1
        assert facula.allclose(y - 20, x + k, atol=1e-4)
        assert facula.allclose(q @ r, u @ u.t() + x, atol=1e-4)


class Entry:
    def __init__(self, weight):
        self.weight = weight
        self.used = False


def test_what_is_remembered_is_bounded_in_bytes():
    cache = Kept(200_000, 8)
    for k in range(1000):
        cache.keep((k,), Entry(3000))
        assert cache.held <= 200_000
    assert 40 < len(cache) < 70 and (999,) in cache
    cache.keep(("large",), Entry(10_000_000))
    assert len(cache) == 8  # a few large ones are no reason to forget each other


def test_what_is_used_stays_for_another_round():
    cache, mine = Kept(20 * 1100), Entry(1000)
    cache.keep(("mine",), mine)
    for k in range(200):
        cache.keep((k,), Entry(1000))
        mine.used = True
    assert ("mine",) in cache and len(cache) < 25
    for k in range(200, 260):
        cache.keep((k,), Entry(1000))
    assert ("mine",) not in cache


def test_memory_stays_flat_over_new_shapes(monkeypatch):
    """Each size another graph: what is remembered of them is weighed, not counted."""
    monkeypatch.setattr(session, "seen", Kept(300_000))
    monkeypatch.setattr(session, "plans", WeakValueDictionary())
    w = facula.randn(6, 5, requires_grad=True)
    for n in range(1, 400):
        (facula.ones(n, 6) @ w).tanh().sum().backward()
        w.grad.sum().item()
    assert session.seen.held <= 300_000 and len(session.plans) < 200
