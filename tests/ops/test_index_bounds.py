"""An index is at most the size less one and at least minus the size: one further is an error, at every entrance."""

import pytest

import facula as F

X = F.arange(12.0).reshape(4, 3)
ENTRANCES = {
    "x[i]": lambda i: X[F.tensor([0, i])],
    "x[:, i]": lambda i: X.t()[:, F.tensor([i])],
    "x[i, j]": lambda i: X[F.tensor([i]), F.tensor([0])],
    "take": lambda i: F.take(F.arange(4.0), F.tensor([i])),
    "index_put": lambda i: X.index_put((F.tensor([i]),), F.zeros(3)),
}
NOT_NEGATIVE = {
    "index_select": lambda i: X.index_select(0, F.tensor([i])),
    "gather": lambda i: X.gather(0, F.tensor([[i]])),
    "scatter": lambda i: X.scatter(0, F.tensor([[i]]), 1.0),
    "index_add": lambda i: X.index_add(0, F.tensor([i]), F.ones(1, 3)),
    "embedding": lambda i: F.nn.functional.embedding(F.tensor([i]), X),
}


@pytest.mark.parametrize("name", ENTRANCES)
def test_from_both_ends(name):
    enter = ENTRANCES[name]
    for i in range(4):
        assert enter(i).tolist() == enter(i - 4).tolist()
    assert enter(3).tolist() != enter(0).tolist()
    for i in (4, -5, 1 << 40, -(1 << 40)):
        with pytest.raises(IndexError):
            enter(i)


@pytest.mark.parametrize("name", NOT_NEGATIVE)
def test_from_the_start(name):
    enter = NOT_NEGATIVE[name]
    assert len({str(enter(i).tolist()) for i in range(4)}) == 4
    for i in (4, -1, 1 << 40):
        with pytest.raises((IndexError, RuntimeError)):
            enter(i)
