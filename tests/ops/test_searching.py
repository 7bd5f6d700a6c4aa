"""searchsorted and bucketize by machine code, by what its plan means, and by the interpreter: as a loop that halves."""

from contextlib import nullcontext

import numpy as np
import pytest

import facula
from facula.testing.backends import evaluator, interpreter


def place(row, x, right):
    low, high = 0, len(row)
    while low < high:
        middle = (low + high) // 2
        if not (row[middle] > x if right else row[middle] >= x):
            low = middle + 1
        else:
            high = middle
    return low


def expected(edges, values, right):
    rows = np.broadcast_to(edges, (*values.shape[:-1], edges.shape[-1])) if edges.ndim == 1 else edges
    found = [[place(row, x, right) for x in line] for row, line in zip(
        rows.reshape(-1, rows.shape[-1]), values.reshape(-1, values.shape[-1]), strict=True)]
    return np.array(found, np.int64).reshape(values.shape)


@pytest.mark.parametrize("way", [nullcontext, evaluator, interpreter], ids=["compiled", "evaluated", "interpreted"])
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int64", "uint8"])
def test_places(way, name):
    rng = np.random.default_rng(0)
    of = np.dtype(name)
    with way():
        for shape, wanted in (((7,), (5, 4)), ((1,), (3,)), ((64,), (200,)), ((2, 3, 33), (2, 3, 9))):
            for right in (False, True):
                for in_order in (True, False):  # what is not sorted has places too, torch's
                    edges = (rng.standard_normal(shape) * 9).astype(of)
                    edges = np.sort(edges, -1) if in_order else edges
                    values = (rng.standard_normal(wanted) * 9).astype(of)
                    if of.kind == "f":
                        values.flat[0] = np.nan
                        edges.flat[-1] = np.nan
                    given = [facula.from_numpy(a) + 0 for a in (edges, values)]
                    found = facula.searchsorted(*given, right=right)
                    np.testing.assert_array_equal(found.numpy(), expected(edges, values, right))
                    if len(shape) == 1:
                        small = facula.bucketize(given[1], given[0], right=right, out_int32=True)
                        assert small.dtype is facula.int32 and bool((small == found).all())


def test_dtypes_meet():
    """The edges and what is sought are promoted; truth values have no order."""
    whole = facula.tensor([1, 2, 3])
    assert facula.searchsorted(whole, facula.tensor([1.5])).tolist() == [1]
    assert facula.searchsorted(whole, 1.5).item() == 1
    with pytest.raises(NotImplementedError, match="Bool"):
        facula.searchsorted(facula.tensor([False, True]), facula.tensor([True]))


def test_nothing_to_look_at():
    assert facula.searchsorted(facula.ones(2, 0), facula.ones(2, 3)).tolist() == [[0, 0, 0]] * 2
    assert facula.searchsorted(facula.ones(3), facula.ones(0)).shape == (0,)
