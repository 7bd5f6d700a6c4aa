"""Views that were made where nothing is recorded, leaves that are views, and what may be written through either."""

import pytest

import facula

VIEWS = {
    "index": lambda t: t[0], "slice": lambda t: t[:1], "t": lambda t: t.t(), "view": lambda t: t.view(-1),
    "view_as": lambda t: t.view_as(t), "reshape": lambda t: t.reshape(6), "narrow": lambda t: t.narrow(0, 0, 1),
    "permute": lambda t: t.permute(1, 0), "squeeze": lambda t: t.squeeze(), "unsqueeze": lambda t: t.unsqueeze(0),
    "diagonal": lambda t: t.diagonal(), "unfold": lambda t: t.unfold(0, 1, 1), "flatten": lambda t: t.flatten(),
    "movedim": lambda t: t.movedim(0, 1), "as_strided": lambda t: t.as_strided((2,), (1,)),
    "unflatten": lambda t: t.unflatten(0, (2, 1)), "mT": lambda t: t.mT, "all": lambda t: t[...],
    "view2": lambda t: t[1][1:],
}
WRITES = {"mul_": lambda v: v.mul_(2), "zero_": lambda v: v.zero_(), "copy_": lambda v: v.copy_(facula.ones(())),
          "fill_": lambda v: v.fill_(3), "[...] =": lambda v: v.__setitem__(..., 1.0),
          "out=": lambda v: facula.add(v, 1, out=v)}


def matrix():
    return facula.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize("how", VIEWS)
def test_written_on_the_tape_they_are_refused(how):
    x = matrix().clone().requires_grad_()
    y = x * 1
    for base in (x, y):
        with facula.no_grad():
            v = VIEWS[how](base)
        assert v.requires_grad
        assert v.grad_fn is None
        again = v[..., :]  # a view of it is no better
        for t in (v, again):
            for name, write in WRITES.items():
                with pytest.raises(RuntimeError) as error:
                    write(t)
                assert "view was created in no_grad mode and is being modified inplace" in str(error.value) \
                    or name == "out=" and "automatic differentiation" in str(error.value)
        with facula.no_grad():
            before = base.sum().item()
            v.add_(1)
        assert base.sum().item() > before
    with facula.inference_mode():
        v = VIEWS[how](y)
    assert not v.is_inference()
    with pytest.raises(RuntimeError, match="view was created in inference mode and is being modified inplace in"):
        v.mul_(2)


def test_a_base_that_goes_on_leaves_them_behind():
    y = facula.ones(2, requires_grad=True) * 1
    with facula.no_grad():
        v = y[:1]
    y.mul_(3)
    for use in (lambda: v * 2, lambda: v.grad_fn, lambda: v.is_leaf):
        with pytest.raises(RuntimeError, match="its base or another view of its base has been modified"):
            use()
    assert v.requires_grad
    assert v.tolist() == [3.0]
    assert v.detach().tolist() == [3.0]
    assert "3." in repr(v)
    with facula.no_grad():
        assert (v * 2).tolist() == [6.0]


def test_without_a_gradient_they_are_ordinary():
    y = facula.zeros(3)
    with facula.no_grad():
        v = y[:2]
    v.add_(2)
    assert y.tolist() == [2.0, 2.0, 0.0]
    assert not v.requires_grad
    x = facula.ones(4, requires_grad=True)
    with facula.no_grad():
        assert x[1:].numpy().tolist() == [1.0, 1.0, 1.0]
        assert x.numpy().tolist() == [1.0] * 4
    with pytest.raises(RuntimeError, match="requires grad"):
        x.numpy()


@pytest.mark.parametrize("how", VIEWS)
def test_a_leaf_that_is_a_view(how):
    b = facula.arange(6.0)
    w = b.reshape(2, 3).requires_grad_()
    for name, write in WRITES.items():
        for t in (w, VIEWS[how](w)):
            with pytest.raises(RuntimeError) as error:
                write(t)
            assert "a view of a leaf Variable that requires grad" in str(error.value) or name == "out="
    assert w.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert w.is_leaf
    with facula.no_grad():
        w.mul_(2)
    (w * w).sum().backward()
    assert w.grad.tolist() == [[0.0, 4.0, 8.0], [12.0, 16.0, 20.0]]
    assert b.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_a_base_that_requires_a_gradient_later():
    b = facula.zeros(3)
    v = b[:2]
    b.requires_grad_()
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        v.mul_(2)


def test_no_mode_records_within_inference_mode():
    x = facula.ones(1, requires_grad=True)
    with facula.inference_mode():
        for mode in (facula.enable_grad(), facula.set_grad_enabled(True)):
            with mode:
                assert not (x * 2).requires_grad
        with facula.inference_mode(False):
            assert (x * 2).requires_grad
