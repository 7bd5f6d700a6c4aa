"""Writes of what is at hand (engine/arranging.py): done at the call once graphs are new each time, and the same."""

import numpy as np
import pytest

import facula
from facula.engine import realize
from facula.engine.session import session
from facula.engine.trace.arranged import GRAPHS, Arranged, arranged


@pytest.fixture(params=[False, True])
def at_once(request, monkeypatch):
    monkeypatch.setattr(arranged, "at_once", request.param)
    return request.param


DTYPES = [facula.float32, facula.float64, facula.bfloat16, facula.float16, facula.int64, facula.uint8, facula.bool,
          facula.complex64]


@pytest.mark.parametrize("of", DTYPES, ids=str)
def test_rows_written_into_zeros(at_once, of):
    x = facula.zeros(4, 6, dtype=of)
    x[1] = 1
    x[2, 1:4] = facula.tensor([1, 0, 1]).to(of)
    x[:, 5] = facula.ones(4, dtype=of)
    row = facula.tensor([[1, 0], [0, 1]]).to(of)
    row.tolist()  # at hand
    x[2:, ::4] = row.t()
    wanted = np.zeros((4, 6))
    wanted[1] = 1
    wanted[2, 1:4] = [1, 0, 1]
    wanted[:, 5] = 1
    wanted[2:, ::4] = [[1, 0], [0, 1]]
    assert x.to(facula.float64 if not of.is_complex else of).tolist() == wanted.tolist()


def test_what_is_written_and_written_to_stay_apart(at_once):
    row = facula.tensor([1.0, 2.0])
    x = facula.zeros(2, 2)
    y = x.clone()
    x[0] = row
    z = x.clone()
    row[0] = 9.0
    x[1] = row
    assert (x.tolist(), y.tolist(), z.tolist()) == ([[1, 2], [9, 2]], [[0, 0], [0, 0]], [[1, 2], [0, 0]])
    assert row.tolist() == [9, 2]


def test_views_see_the_write(at_once):
    x = facula.zeros(3, 3)
    middle, flat = x[1], x.view(-1)
    x[1, 1] = 5.0
    middle[0] = 4.0
    assert middle.tolist() == [4, 5, 0] and flat.tolist() == [0, 0, 0, 4, 5, 0, 0, 0, 0]
    shared = x.numpy()
    x[0, 0] = 7.0
    assert shared[0, 0] == 7 and x._version == 3


def test_joined_rows(at_once):
    rows = [facula.tensor([1.0, 2.0]), facula.tensor([3.0, 4.0])]
    both = facula.cat([facula.stack(rows, 1), facula.zeros(2, 1), rows[0][:, None]], 1)
    rows[0][0] = 8.0
    assert both.tolist() == [[1, 3, 0, 1], [2, 4, 0, 2]]


def test_gradients_go_through(at_once):
    w = facula.tensor([1.0, 2.0], requires_grad=True)
    w.tolist()
    x = facula.zeros(2, 2)
    x[1] = w
    (facula.cat([x, w[None]]) * facula.arange(6.0).reshape(3, 2)).sum().backward()
    assert w.grad.tolist() == [2 + 4, 3 + 5]


def test_only_graphs_that_are_new_count(monkeypatch):
    """A loop of one shape records its writes for ever; one whose lengths change does them at the call."""
    monkeypatch.setattr(session, "seen", type(session.seen)(1 << 24))

    def batch(n):
        x = facula.zeros(64)
        x[:n] = 1.0
        return float((x * 2).sum())

    for lengths, wanted in (([7] * 3 * GRAPHS, False), (range(2, 4 * GRAPHS), True)):
        fresh = Arranged()
        for name in Arranged.__slots__:
            monkeypatch.setattr(arranged, name, getattr(fresh, name))
        for n in lengths:
            assert batch(n) == 2 * n
        if not facula.config.EAGER.value:
            assert arranged.at_once is wanted


@pytest.mark.parametrize("of", DTYPES, ids=str)
def test_rows_of_what_is_at_hand(of):
    """However it lies in memory: a packed sequence picks its rows at the call."""
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4) % 2
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)):
        laid = facula.tensor(values.transpose(order).copy()).to(of)
        x = laid.permute(*np.argsort(order).tolist())
        x.tolist()  # at hand
        for at in ([5, 0, 0, 3], [2]):
            rows = facula._packed_rows(x, facula.tensor(at))
            assert rows.shape == (len(at), 4)
            assert rows.to(facula.float64 if not of.is_complex else of).tolist() == values.reshape(6, 4)[at].tolist()


def test_packed_sequences():
    x = facula.arange(24.0).reshape(3, 4, 2).requires_grad_()
    for first in (True, False):
        given = x if first else x.transpose(0, 1)
        packed = facula.nn.utils.rnn.pack_padded_sequence(given, [4, 2, 1], batch_first=first)
        assert packed.data.tolist() == [x.tolist()[b][t] for b, t in
                                        ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2), (0, 3))]
        assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
        assert packed.data.grad_fn.name() == "PackPaddedSequenceBackward0"
        x.grad = None
        packed.data.sum().backward()
        assert x.grad.sum(2).tolist() == [[2, 2, 2, 2], [2, 2, 0, 0], [2, 0, 0, 0]]


def test_batches_of_as_many_elements_are_one_graph(monkeypatch):
    """However they are cut into sequences (the longest of 17 to 32 steps)."""
    net = facula.nn.LSTM(2, 3)

    def step(lengths):
        x = facula.nn.utils.rnn.pack_padded_sequence(facula.ones(lengths[0], len(lengths), 2), lengths)
        net.zero_grad()
        net(x)[0].data.sum().backward()
        return net.weight_hh_l0.grad.sum().item()
    for _ in range(2):
        step([30, 6, 4])
    new = []
    monkeypatch.setattr(realize, "of_its_kind", lambda *graph: new.append(graph))
    step([20, 11, 9])
    step([18, 18, 4])
    assert not new
