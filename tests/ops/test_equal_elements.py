"""Which of equal elements comes first: in sorts that need not be stable as PyTorch's methods leave them."""

import numpy as np
import pytest

import facula

X = [(7 * i * i + 3 * i) % 11 for i in range(40)]
UP = [0, 22, 20, 31, 33, 11, 9, 35, 13, 7, 18, 2, 24, 29, 27, 37, 26, 5, 4, 15, 16, 38, 32, 21, 10, 39, 28, 36, 25, 17,
      14, 6, 3, 23, 30, 19, 34, 12, 8, 1]
DOWN = [1, 34, 30, 23, 8, 19, 12, 39, 36, 28, 25, 17, 14, 3, 6, 10, 32, 21, 15, 16, 38, 37, 4, 26, 27, 5, 7, 35, 29, 24,
        2, 18, 13, 0, 33, 31, 22, 20, 9, 11]
TOP = [1, 12, 19, 8, 23, 30, 34, 28, 25, 36, 17, 14, 39, 3, 6, 21, 32, 10, 26, 15]
SOME = [39, 1, 36, 34, 30, 28, 25, 23, 8, 19, 17, 14, 12, 21, 3, 6, 32, 10, 26, 15]
EACH = [11, 22, 20, 9, 33, 0, 31, 18, 35, 7, 2, 24, 13, 29, 16, 27, 26, 5, 38, 4, 15, 37, 21, 32, 10, 28, 36, 39, 14, 6,
        3, 25, 17, 8, 1, 30, 23, 12, 34, 19]
ROWS = [[2, 16, 4, 6, 14, 8, 0, 10, 12, 9, 17, 15, 13, 11, 7, 5, 3, 1],
        [9, 17, 15, 13, 11, 7, 5, 3, 1, 6, 8, 0, 10, 4, 12, 14, 2, 16],
        [2, 16, 4, 6, 14, 8, 0, 10, 12, 9, 17, 15, 13, 11, 7, 5, 3, 1]]
TYPES = ("int64", "int32", "int16", "int8", "uint8", "float32", "float64", "float16", "bfloat16")


@pytest.mark.parametrize("of", TYPES)
def test_in_every_type(of):
    x = facula.tensor(X, dtype=getattr(facula, of))
    assert x.sort()[1].tolist() == UP and x.argsort(descending=True).tolist() == DOWN
    assert x.topk(20)[1].tolist() == TOP and x.topk(20, sorted=False)[1].tolist() == SOME
    assert [x.kthvalue(k)[1].item() for k in range(1, 41)] == EACH
    assert (x.mode()[0].item(), x.mode()[1].item()) == (3, 38)


def test_along_columns_and_of_few():
    x = facula.tensor([[(i * i * 5 + j * 3) % 4 for j in range(3)] for i in range(18)], dtype=facula.bfloat16)
    assert x.sort(0)[1].T.tolist() == ROWS
    y = facula.tensor([(7 * i * i + 3 * i) % 11 for i in range(200)])
    assert y.topk(3)[1].tolist() == [12, 1, 8]


@pytest.mark.parametrize("length", [16, 40, 300, 20000])
def test_stable_where_asked_and_in_long_rows(length):
    x = np.random.default_rng(length).integers(0, 5, length)
    want = np.argsort(x, kind="stable").tolist()
    assert facula.sort(facula.from_numpy(x), stable=True)[1].tolist() == want
    assert facula.argsort(facula.from_numpy(x), stable=True).tolist() == want
    assert (facula.argsort(facula.from_numpy(x)).tolist() == want) == (length in (16, 20000))


def test_a_few_of_long_rows():
    """Equals come as torch leaves them however long the row is."""
    x = facula.tensor([(7 * i * i + 3 * i) % 11 for i in range(30000)])
    assert x.topk(3)[1].tolist() == x.topk(3, sorted=False)[1].tolist() == [12, 1, 8]
    assert facula.stack([x, x], 1).topk(3, 0)[1].T.tolist() == [[12, 1, 8]] * 2


def test_gradients_go_where_the_indices_say():
    x = facula.tensor(X, dtype=facula.float32, requires_grad=True)
    (x.sort()[0] * facula.arange(40.)).sum().backward()
    assert x.grad[UP].tolist() == list(range(40))


def test_not_a_number_is_above_all_and_zeros_are_equal():
    x = facula.tensor([float("nan"), 0.0, -0.0, 1.0, -1.0, float("inf")] * 5)
    values, at = x.sort()
    assert np.array_equal(values.numpy()[-5:], [np.nan] * 5, equal_nan=True) and values[:5].tolist() == [-1.0] * 5
    assert sorted(at[5:15].tolist()) == sorted([*range(1, 30, 6), *range(2, 30, 6)])
    assert x.topk(2)[0].isnan().all() and facula.tensor([float("nan"), 2.0, 3.0]).kthvalue(3)[1].item() == 0


@pytest.mark.parametrize(("x", "value", "at"), [([3, 1, 1, 3, 2], 1, 2), ([5], 5, 0), ([2, 2, 1, 1, 1], 1, 4)])
def test_mode_is_the_least_of_the_most_frequent_and_its_last_place(x, value, at):
    assert tuple(part.item() for part in facula.tensor(x).mode()) == (value, at)
    rows = facula.tensor([x, x]).float().T.contiguous()
    assert rows.mode(0)[0].tolist() == [value] * 2 and rows.mode(0, True)[1].tolist() == [[at, at]]
