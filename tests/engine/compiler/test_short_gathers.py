"""Gathered elements that lie side by side are not cut into a few at a time by what shares their kernel."""

import numpy as np
import pytest

import facula as F
from facula.engine import plan_log

ROWS = 300
MASKS = {
    "row": lambda k: (ROWS, 1),
    "column": lambda k: (1, k),
    "element": lambda k: (ROWS, k),
}


def cases(columns, mask):
    rng = np.random.default_rng(columns)
    shape = MASKS[mask](columns)
    return (rng.standard_normal(500).astype(np.float32), rng.integers(0, 500, (ROWS, columns)),
            rng.random(shape) > 0.5)


def titles(run):
    for _ in range(2):
        run().sum(1).sum().item()
    before = plan_log.exchange({})
    result = run()
    result[0, 0].item()
    found = [one["title"] for plan in plan_log.told() for one in plan["kernels"]]
    plan_log.exchange(before)
    return found


@pytest.mark.compiled
@pytest.mark.alone
@pytest.mark.parametrize(("columns", "mask", "apart"), [
    (2, "row", True), (3, "column", True), (8, "row", True), (2, "element", False), (16, "row", False),
    (100, "column", False)])
def test_which_share_a_kernel(columns, mask, apart):
    x, index, keep = map(F.tensor, cases(columns, mask))
    for run in (lambda: F.where(keep, x[index], 0.0), lambda: x[index].masked_fill(keep, 1.0),
                lambda: x.take(index) * keep):
        found = titles(run)
        assert any("gather" in title and ("where" in title or "mul" in title or "Fill" in title)
                   for title in found) != apart, found


@pytest.mark.parametrize("columns", [1, 2, 3, 8, 9, 16, 33])
@pytest.mark.parametrize("mask", MASKS)
def test_elements(columns, mask):
    x, index, keep = cases(columns, mask)
    got = F.where(F.tensor(keep), F.tensor(x)[F.tensor(index)], 0.0)
    want = np.where(keep, x[index], np.float32(0))
    np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal((got.t() * 2).numpy(), want.T * 2)
    total = F.where(F.tensor(keep), F.tensor(x)[F.tensor(index)], 0.0).sum(-1)
    np.testing.assert_allclose(total.numpy(), want.astype(np.float64).sum(-1), rtol=1e-5, atol=1e-5)
