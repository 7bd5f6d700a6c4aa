"""An index of no elements: nothing is written, and the result requires a gradient as ever."""

import pytest

pytestmark = pytest.mark.oracle


def none(m):
    return m.zeros(0, dtype=m.long)


def nowhere(m):
    return m.zeros(3, dtype=m.bool)


FRESH = {
    "scatter": lambda m, t, w: t.scatter(0, none(m), w[:0]),
    "scatter number": lambda m, t, w: w.scatter(0, none(m), 2.0),
    "scatter_add": lambda m, t, w: t.scatter_add(0, none(m), w[:0]),
    **{f"scatter_reduce {r}": lambda m, t, w, r=r: t.scatter_reduce(0, none(m), w[:0], r)
       for r in ("sum", "amax", "amin")},
    "scatter_reduce itself": lambda m, t, w: w.scatter_reduce(0, none(m), t[:0], "mean"),
    "index_add": lambda m, t, w: t.index_add(0, none(m), w[:0]),
    "index_copy": lambda m, t, w: t.index_copy(0, none(m), w[:0]),
    "index_fill": lambda m, t, w: t.index_fill(0, none(m), w.sum()),
    "index_put": lambda m, t, w: t.index_put((none(m),), w[:0]),
    "index_reduce": lambda m, t, w: t.index_reduce(0, none(m), w[:0], "prod"),
    "masked_scatter": lambda m, t, w: t.masked_scatter(nowhere(m), w),
    "put": lambda m, t, w: t.put(none(m), w[:0]), "slice_scatter": lambda m, t, w: t.slice_scatter(w[:0], 0, 0, 0),
    "gather": lambda m, t, w: w.gather(0, none(m)), "take": lambda m, t, w: w.take(none(m)),
}
IN_PLACE = {
    "copy_": lambda m, t, w: t[:0].copy_(w[:0]), "fill_": lambda m, t, w: t[:0].fill_(w.sum()),
    "add_": lambda m, t, w: t[:0].add_(w[:0]), "mul_": lambda m, t, w: t[1:1].mul_(w[:0]),
    "[index]": lambda m, t, w: t.__setitem__(none(m), w[:0]),
    "[index] one": lambda m, t, w: t.__setitem__(none(m), w.sum()),
    "[mask]": lambda m, t, w: t.__setitem__(nowhere(m), w[:0]),
    "[slice]": lambda m, t, w: t.__setitem__(slice(0, 0), w[:0]),
    "[slice] one": lambda m, t, w: t.__setitem__(slice(0, 0), w.sum()),
    "two": lambda m, t, w: t.view(3, 1)[:, :0].copy_(w.view(3, 1)[:, :0]),
    "index_put_": lambda m, t, w: t.index_put_((none(m),), w.sum()),
    "index_add_": lambda m, t, w: t.index_add_(0, none(m), w[:0]),
    "scatter_add_ itself": lambda m, t, w: (w * 1).scatter_add_(0, none(m), t[:0]),
    "masked_fill_": lambda m, t, w: t.masked_fill_(nowhere(m), w.sum()),
}


@pytest.mark.parametrize("name", [*FRESH, *IN_PLACE])
def test_nothing_is_written_and_the_result_is_on_the_tape(oracle, name):
    def run(m):
        w, t = m.ones(3, requires_grad=True), m.tensor([1.0, 2.0, 3.0])
        if name in FRESH:
            t = FRESH[name](m, t, w)
        else:
            IN_PLACE[name](m, t, w)
        return [t.requires_grad, t.detach()]

    mine, theirs = oracle.both(run)
    assert str(mine) == str(theirs)


@pytest.mark.parametrize("name", [n for n in FRESH if n.startswith("scatter")])
def test_its_gradient_is_zero(name):
    import facula
    w, t = facula.ones(3, requires_grad=True), facula.ones(3)
    FRESH[name](facula, t, w).sum().backward()
    assert w.grad.shape == w.shape and bool(((w.grad == 0) | (w.grad == 1)).all())
