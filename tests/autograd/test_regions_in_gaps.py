"""`as_strided` of a view reaches what lies in its gaps and beside it: so do gradients."""

import pytest

import facula

VIEWS = {"every other": lambda v: v[::2], "a column": lambda v: v.view(4, 2)[:, 0],
         "as a matrix": lambda v: v.view(4, 2)[:, :1],
         "turned": lambda v: v.view(4, 2).t()[0], "a diagonal": lambda v: v[:4].view(2, 2).diagonal(),
         "sparse": lambda v: v[::4], "a window": lambda v: v.unfold(0, 1, 3), "a part": lambda v: v[2:6],
         "whole": lambda v: v.view(2, 4).t(), "spread": lambda v: v[::4].expand(2, 2)}
REGIONS = [((4,), (1,), 0), ((3,), (1,), 1), ((2,), (4,), 0), ((2, 2), (4, 2), 1), ((2,), (1,), 3), ((0,), (1,), 2)]


@pytest.mark.parametrize("region", REGIONS, ids=str)
@pytest.mark.parametrize("name", VIEWS)
def test_gradients_of_a_write(name, region):
    x = facula.arange(8.0).requires_grad_()
    v = x * 1
    w = VIEWS[name](v).as_strided(*region)
    w *= 2
    (v * facula.arange(1.0, 9.0)).sum().backward()
    factors = facula.ones(8)
    factors.as_strided(*region)[...] = 2
    assert x.grad.tolist() == (factors * facula.arange(1.0, 9.0)).tolist()


@pytest.mark.parametrize("region", REGIONS, ids=str)
@pytest.mark.parametrize("name", VIEWS)
def test_gradients_of_what_is_read(name, region):
    x = facula.arange(8.0).requires_grad_()
    VIEWS[name](x * 1).as_strided(*region).sum().backward()
    counts = facula.zeros(8)
    counts.as_strided(*region)[...] = 1
    assert x.grad.tolist() == counts.tolist()
