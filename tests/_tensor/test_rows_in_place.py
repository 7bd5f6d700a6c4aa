"""Rows written by index tensors cost what is written, of a tensor of any number of dimensions and of a part of one:
bytes moved are counted, and elements compared with NumPy's."""

import numpy as np
import pytest

import facula as F
from facula.engine import plan_log, recorder

SHAPE = (4, 6, 50, 8, 16)
ALL = slice(None)


def at(*places):
    return np.array(places)


# by how many dimensions of SHAPE the tensor has (its last ones), the part of it that is written to, and at what
FORMS = [
    (1, None, (at(3, 9),)),
    (2, None, (at(5, 2),)),
    (2, None, (ALL, at(3, 9))),
    (3, None, (at(7, 40),)),
    (3, None, (ALL, at(3, 5))),
    (3, None, (at(7, 40), at(2, 3))),
    (3, None, (at(7, 40), 2)),
    (3, (4,), (at(2, 5),)),
    (4, None, (at(1, 4), ALL, at(2, 3))),
    (4, None, (ALL, at(7, 40))),
    (4, (2,), (at(7, 40),)),
    (4, (ALL, slice(10, 20)), (ALL, at(3, 9))),
    (4, (ALL, ALL, ALL, slice(4, 12)), (ALL, at(3, 9))),
    (4, (ALL, ALL, slice(1, 8, 3)), (ALL, at(3, 9))),
    (4, (ALL, slice(3, None), ALL, slice(3, 8)), (ALL, at(3, 9))),
    (5, None, (3, ALL, at(11))),
    (5, None, (3, ALL, at(11), 2)),
    (5, None, (slice(1, 3), ALL, at(11))),
    (5, (3, ALL, slice(2, 40)), (ALL, at(11, 2), slice(2, 4))),
    (5, None, (ALL, ALL, np.arange(50) == 7)),
    (5, None, (2, np.array([False, True, False, False, True, False]), at(7))),
    (5, (2, ALL, 7), (ALL, at(3), at(4))),
    (5, (3,), (ALL, 11)),
]


def tensor_key(key):
    return tuple([F.tensor(k) if isinstance(k, np.ndarray) else k for k in key])


def numpy_key(region, key):
    """Integers are taken first, as in torch: to NumPy they are index arrays beside others."""
    rest = tuple([k for k in key if not isinstance(k, int)])
    return region[tuple([k if isinstance(k, int) else ALL for k in key])], rest


def bytes_moved(write):
    """Of the kernels of one write, when such writes have come before."""
    for k in range(3):
        if k == 2:
            before = plan_log.exchange({})
        write()
        F.ones(1).add(1).item()
    found = [(one["title"], one["bytes"]) for plan in plan_log.told() for one in plan["kernels"]]
    plan_log.exchange(before)
    return sum(size for _, size in found), found


def seen(rank, turned, part):
    """A tensor, or one that lies in another order, the part of it to write to, and the same in NumPy."""
    whole = np.arange(np.prod(SHAPE[-rank:]), dtype=np.float32).reshape(SHAPE[-rank:])
    order = tuple(range(rank))[::-1] if turned else tuple(range(rank))
    base = F.tensor(whole.transpose(order).copy()).mul(1).permute(order)  # memory that NumPy does not share
    whole = whole.copy()
    return base, base if part is None else base[part], whole, whole if part is None else whole[part]


@pytest.mark.compiled
@pytest.mark.alone
@pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: values are held while they are replaced")
@pytest.mark.parametrize("part_first", [False, True])
@pytest.mark.parametrize(("rank", "part", "key"), FORMS)
def test_rows_cost_what_is_written(rank, part, key, part_first):
    base, view, whole, region = seen(rank, False, part)
    if part_first and part is None:
        base, view = base, base[ALL]  # an alias of all of it
    inner, rest = numpy_key(region, key)
    amount, value, key = inner[rest].size, F.ones(inner[rest].shape), tensor_key(key)

    def write():
        (view if part_first else base if part is None else base[part])[key] = value

    moved, kernels = bytes_moved(write)
    assert moved <= 4 * 9 * amount + 256, (moved, amount, kernels)  # values and positions, each a few times
    assert all("copy" not in title for title, _ in kernels) or whole.size < 4 * amount


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("rank", "part", "key"), FORMS)
def test_elements(rank, part, key, turned):
    base, view, whole, region = seen(rank, turned, part)
    inner, rest = numpy_key(region, key)
    value = -1 - np.arange(inner[rest].size, dtype=np.float32).reshape(inner[rest].shape)
    view[tensor_key(key)] = F.tensor(value)
    inner[rest] = value
    np.testing.assert_array_equal(base.numpy(), whole)
    np.testing.assert_array_equal(view.numpy(), region)


INTO = {
    "index_copy_": lambda t, dim, index, rows: t.index_copy_(dim, index, rows),
    "index_add_": lambda t, dim, index, rows: t.index_add_(dim, index, rows),
    "index_fill_": lambda t, dim, index, rows: t.index_fill_(dim, index, 3),
    "index_reduce_": lambda t, dim, index, rows: t.index_reduce_(dim, index, rows, "amax"),
    "scatter_": lambda t, dim, index, rows: t.scatter_(dim, _along(rows, dim, index), rows),
    "scatter_add_": lambda t, dim, index, rows: t.scatter_add_(dim, _along(rows, dim, index), rows),
}


def _along(rows, dim, index):
    return index.reshape([-1 if k == dim else 1 for k in range(len(rows.shape))]).expand(rows.shape).clone()


@pytest.mark.compiled
@pytest.mark.alone
@pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: values are held while they are replaced")
@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("name", INTO)
@pytest.mark.parametrize("dim", range(3))
@pytest.mark.parametrize("part", [None, (2,), (ALL, slice(1, 4), ALL, slice(4, 12))])
def test_other_writes(name, dim, part):
    base, view, whole, region = seen(4, False, part)
    before = base.clone()
    index = F.tensor([1, 0])
    shape = list(view.shape)
    shape[dim] = 2
    rows = F.ones(shape) * 2
    of_values = before if part is None else before[part].clone()  # as of a tensor of its own
    INTO[name](of_values, dim, index, rows)
    if part is None:
        before = of_values
    else:
        before[part] = of_values
    INTO[name](view, dim, index, rows)
    assert F.equal(base, before)
    moved, kernels = bytes_moved(lambda: INTO[name](view, dim, index, rows))
    assert moved <= 4 * 15 * rows.numel() + 256, (moved, rows.numel(), kernels)


@pytest.mark.parametrize("part", [None, (1,), (ALL, slice(1, 4))])
def test_gradients_of_what_was_written(part):
    """Of the tensor and of the rows, as if the value had been put together."""
    leaf, rows = F.ones(3, 4, 5, requires_grad=True), F.full((2, 5), 2.0, requires_grad=True)
    base = leaf * 3
    view = base if part is None else base[part]
    at = (0,) * (len(view.shape) - 2)
    view[(*at, F.tensor([2, 0]))] = rows
    (base * F.arange(60.0).reshape(3, 4, 5)).sum().backward()
    wanted = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)
    region = wanted if part is None else wanted[part]
    picked = region[(*at, np.array([2, 0]))].copy()
    region[(*at, np.array([2, 0]))] = 0
    np.testing.assert_array_equal(rows.grad.numpy(), picked)
    np.testing.assert_array_equal(leaf.grad.numpy(), 3 * wanted)


def test_an_index_that_is_wrong_writes_nothing_beside_the_region():
    base = F.zeros(4, 5, 6).add(0)
    index = F.tensor([7, 1]) * 1  # pending: it is found wrong when it is computed
    base[1, :, :3].index_copy_(0, index, F.ones(2, 3))
    with pytest.raises(IndexError):
        base.sum().item()
    assert not base[2:].any() and not base[:, :, 3:].any()
