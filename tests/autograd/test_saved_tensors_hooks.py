"""`saved_tensors_hooks`: which tensors they see, when, and what they may do."""

import pytest

import docstrings
import facula
import facula.utils.checkpoint
from facula._tensor.handle import inferred
from facula.autograd import saving
from facula.autograd.graph import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks

F = facula.nn.functional


def leaf(*values):
    return facula.tensor(values, requires_grad=True)


class Noted:
    """Hooks that write down what they are given."""

    def __init__(self):
        self.packed, self.unpacked = [], []

    def hooks(self):
        return saved_tensors_hooks(self.pack, self.unpack)

    def pack(self, t):
        assert not facula.is_grad_enabled()
        self.packed.append(t)
        return len(self.packed) - 1, t.detach().clone()

    def unpack(self, made):
        number, t = made
        self.unpacked.append(number)
        return t


@pytest.mark.parametrize("function, shapes", [
    (lambda x, w: x * w, [(2, 3), (2, 3)]),
    (lambda x, w: x + w, []),
    (lambda x, w: x.exp(), [(2, 3)]),
    (lambda x, w: x / 3, []),
    (lambda x, w: x @ w.t(), [(2, 3), (3, 2)]),
    (lambda x, w: F.linear(facula.ones(4, 3), w), [(4, 3)]),
    (lambda x, w: x.softmax(1), [(2, 3)]),
    (lambda x, w: x.sum(1).view(2, 1), []),
    (lambda x, w: x[facula.tensor([1, 0])], [(2,)]),
    (lambda x, w: F.conv1d(x[None], w[None, :, :2]), [(1, 2, 3), (1, 2, 2)]),
])
def test_what_is_packed_and_the_gradient(function, shapes):
    def gradients(context):
        x = facula.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
        w = facula.linspace(2, 3, 6).reshape(2, 3).requires_grad_()
        with context:
            y = function(x, w)
        (y * y.detach().cos()).sum().backward()
        return [None if t.grad is None else t.grad.tolist() for t in (x, w)]

    noted = Noted()
    assert gradients(noted.hooks()) == gradients(facula.enable_grad())
    assert [tuple(t.shape) for t in noted.packed] == shapes
    assert sorted(noted.unpacked) == list(range(len(shapes)))


def test_pack_is_given_the_tensors_themselves():
    p, x = facula.nn.Parameter(facula.ones(2)), leaf(3.0, 4.0)
    noted = Noted()
    with noted.hooks():
        y = (p * x).exp()
    assert noted.packed[0] is p and noted.packed[1] is x
    assert noted.packed[2].shape == y.shape and noted.packed[2].data_ptr() == y.data_ptr()
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert len(noted.packed) == 3 and len(noted.unpacked) == 6


def test_only_the_innermost_hooks_and_only_within():
    outer, inner = Noted(), Noted()
    x = leaf(1.0, 2.0)
    with outer.hooks():
        with inner.hooks():
            a = x.exp()
        b = x.sin()
    c = x.cos()
    assert (len(outer.packed), len(inner.packed)) == (1, 1)
    (a + b + c).sum().backward()
    assert (outer.unpacked, inner.unpacked) == ([0], [0])


def test_a_circle_is_not_made_of_a_result():
    """What only the result's own step holds goes with it."""
    from weakref import ref
    with saved_tensors_hooks(lambda t: [t], lambda made: made[0]):
        y = leaf(1.0, 2.0).exp()
    step = ref(y.grad_fn)
    del y
    assert step() is None


def test_values_are_those_of_the_call():
    x = leaf(1.0, 2.0)
    with saved_tensors_hooks(lambda t: t, lambda t: t):
        h = x * 3
        y = h * h
    h.detach().zero_()
    y.sum().backward()
    assert x.grad.tolist() == [18.0, 36.0]


def test_a_narrower_value():
    x = facula.tensor([1.0, 2.0, 3.0001], requires_grad=True)
    with saved_tensors_hooks(lambda t: t.to(facula.bfloat16), lambda t: t.float()):
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def test_functions_of_the_program():
    class Square(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            out = x * x
            ctx.save_for_backward(x, out)
            return out

        @staticmethod
        def backward(ctx, g):
            x, out = ctx.saved_tensors
            assert out.grad_fn is not None and x.requires_grad
            return 2 * x * g

    x = leaf(1.0, 2.0)
    noted = Noted()
    for _ in range(4):  # a pass that is seen again is not replayed
        with noted.hooks():
            y = Square.apply(x)
        y.sum().backward()
    assert len(noted.packed) == len(noted.unpacked) == 8
    assert x.grad.tolist() == [8.0, 16.0]


def test_second_derivatives():
    x = facula.tensor([0.5, 1.5], dtype=facula.float64, requires_grad=True)
    noted = Noted()
    with noted.hooks():
        y = (x ** 3).exp()
    g, = facula.autograd.grad(y.sum(), x, create_graph=True)
    h, = facula.autograd.grad(g.sum(), x)
    v = x.detach()
    facula.testing.assert_close(h, (6 * v + 9 * v ** 4) * (v ** 3).exp())


def test_a_result_that_does_not_lie_by_rows():
    x = facula.arange(6.0).reshape(2, 3).requires_grad_()
    noted = Noted()
    with noted.hooks():
        y = x.t().exp() * x.t()
    y.sum().backward()
    v = x.detach()
    facula.testing.assert_close(x.grad, v.exp() * (1 + v))


def test_what_hooks_must_not_do():
    x = leaf(1.0, 2.0)
    with saved_tensors_hooks(lambda t: t.mul_(2), lambda t: t), pytest.raises(RuntimeError, match="in place"):
        (x * 1).exp()
    with saved_tensors_hooks(lambda t: 1, lambda made: made):
        y = x.exp()
    with pytest.raises(TypeError, match="result of type int"):
        y.sum().backward()
    with pytest.raises(ZeroDivisionError), saved_tensors_hooks(lambda t: 1 / 0, lambda made: made):
        x.exp()
    assert facula.is_grad_enabled()
    with pytest.raises(TypeError):
        saved_tensors_hooks(lambda t: t)


def test_where_there_may_be_none():
    with disable_saved_tensors_hooks("not here"):
        hooks = saved_tensors_hooks(lambda t: t, lambda t: t)
        with pytest.raises(RuntimeError, match="not here"):
            hooks.__enter__()
        with disable_saved_tensors_hooks("nor here"), pytest.raises(RuntimeError, match="nor here"):
            hooks.__enter__()
    with hooks, pytest.raises(RuntimeError, match="none"):
        disable_saved_tensors_hooks("none").__enter__()
    with hooks:
        leaf(1.0).exp()


def test_freed_after_the_pass():
    x = leaf(1.0, 2.0)
    with save_on_cpu(pin_memory=True):
        y = x.exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()



def test_nothing_asks_for_hooks_outside_of_them():
    before = list(inferred)
    with saved_tensors_hooks(lambda t: t, lambda t: t):
        assert len(inferred) == len(before) + 1
        with pytest.raises(ZeroDivisionError), save_on_cpu():
            leaf(1.0).exp() / (1 / 0)
    facula.utils.checkpoint.checkpoint(lambda v: v.exp().sum(), leaf(1.0), use_reentrant=False).backward()
    assert inferred == before


def test_examples():
    docstrings.check(saving, least=1)
