"""`TorchDispatchMode`, `torch.ops.aten`, and what else libraries touch of PyTorch's dispatcher."""

import pytest

import docstrings
import facula
from facula.ops import aten_names
from facula.utils import _python_dispatch as module
from facula.utils._python_dispatch import TorchDispatchMode

F = facula.nn.functional


class Noted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls.append(str(func))
        return func(*args, **(kwargs or {}))


def told(call):
    """The operations, and the result, which is the same without the mode."""
    facula.manual_seed(0)
    plain = call()
    facula.manual_seed(0)
    with Noted() as mode:
        out = call()
    for a, b in zip(*[r if isinstance(r, tuple) else (r,) for r in (plain, out)], strict=True):
        assert facula.equal(a, b) if isinstance(a, facula.Tensor) else a == b
    return [name.removeprefix("aten.") for name in mode.calls]


X, M, ROWS = facula.arange(8.0).reshape(2, 4) - 3, facula.eye(4) + 1, facula.tensor([0, 1])
X3 = facula.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize("call, names", [
    (lambda: X + 1, ["add.Tensor"]),
    (lambda: 1 - X, ["rsub.Scalar"]),
    (lambda: 2 ** X, ["pow.Scalar"]),
    (lambda: X ** 2, ["pow.Tensor_Scalar"]),
    (lambda: X == X, ["eq.Tensor"]),
    (lambda: X < 0, ["lt.Scalar"]),
    (lambda: X @ M, ["mm.default"]),
    (lambda: X3 @ X3.mT, ["bmm.default"]),
    (lambda: M @ X[0], ["select.int", "mv.default"]),
    (lambda: F.linear(X, M), ["linear.default"]),
    (lambda: F.embedding(ROWS, M), ["embedding.default"]),
    (lambda: F.batch_norm(X, facula.zeros(4), facula.ones(4)),
     ["zeros.default", "ones.default", "batch_norm.functional"]),
    (lambda: F.layer_norm(X, (4,)), ["layer_norm.default"]),
    (lambda: X.where(X > 0, X * 2), ["gt.Scalar", "mul.Tensor", "where.self"]),
    (lambda: X.sum(1), ["sum.dim_IntList"]),
    (lambda: X.mean(), ["mean.default"]),
    (lambda: X.max(1), ["max.dim"]),
    (lambda: X.softmax(1), ["softmax.int"]),
    (lambda: X[0:1], ["slice.Tensor"]),
    (lambda: X[ROWS], ["index.Tensor"]),
    (lambda: X[0, 1:], []),
    (lambda: X.masked_fill(X > 0, 0), ["gt.Scalar", "masked_fill.Scalar"]),
    (lambda: X.sum().item(), ["sum.default", "_local_scalar_dense.default"]),
    (lambda: facula.linalg.norm(X), ["linalg_norm.default"]),
    (lambda: X.clone().add_(1), ["clone.default", "add_.Tensor"]),
    (lambda: X.shape[0] + X.dim(), []),
])
def test_what_a_mode_is_told(call, names):
    assert told(call) == names


def test_parts_of_attention():
    layer = facula.nn.MultiheadAttention(4, 2)
    names = told(lambda: layer(X, X, X)[0])
    assert any(name.startswith(("linear", "addmm")) for name in names) and len(names) > 5


def test_a_mode_may_answer_and_the_tape_goes_on():
    class Doubling(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            return out * 2 if func is facula.ops.aten.exp.default else out

    x = facula.zeros(2, requires_grad=True)
    with Doubling():
        y = x.exp()
    y.sum().backward()
    assert y.tolist() == [2.0, 2.0] and x.grad.tolist() == [2.0, 2.0]


def test_nested_modes_and_whether_there_is_one():
    with Noted() as outer:
        assert module.is_in_torch_dispatch_mode()
        with Noted() as inner:
            X + X
    assert inner.calls == outer.calls == ["aten.add.Tensor"]
    assert not module.is_in_torch_dispatch_mode()


def test_names_of_overloads():
    aten = facula.ops.aten
    assert aten.mm.default is aten.mm.default and aten.mm is not aten.bmm
    assert str(aten.add.Tensor) == "aten.add.Tensor" and aten.add.Tensor.name() == "aten::add.Tensor"
    assert aten.mm.default.name() == "aten::mm" and aten.mm.default.overloadpacket is aten.mm
    assert facula.equal(aten._softmax.default(X, 1, False), X.softmax(1))
    assert facula.equal(aten.index.Tensor(X, [None, ROWS]), X[:, ROWS])
    assert facula.equal(aten.slice.Tensor(X, 1, 1, 3), X[:, 1:3])
    assert not hasattr(aten, "no_such_operation")
    with pytest.raises(NotImplementedError, match="convolution_backward"):
        aten.convolution_backward.default(X)


def test_wrapper_subclasses():
    class Pair(facula.Tensor):
        @staticmethod
        def __new__(cls, a, b):
            out = facula.Tensor._make_subclass(cls, a)
            out.a, out.b = a, b
            return out

        def __tensor_flatten__(self):
            return ["a", "b"], None

        @staticmethod
        def __tensor_unflatten__(inner, context, size, stride):
            return Pair(inner["a"], inner["b"])

    pair = Pair(facula.ones(2), facula.zeros(2))
    assert module.is_traceable_wrapper_subclass(pair) and module.is_traceable_wrapper_subclass_type(Pair)
    assert not module.is_traceable_wrapper_subclass(facula.ones(2))
    other = module.transform_subclass(pair, lambda name, t: t + 5)
    assert other.a.tolist() == [6.0, 6.0] and other.b.tolist() == [5.0, 5.0]


def test_what_an_operation_in_place_returns():
    x = facula.ones(2)
    assert module.return_and_correct_aliasing(facula.ops.aten.add_.Tensor, (x, 1), {}, x + 1) is x
    out = x + 1
    assert module.return_and_correct_aliasing(facula.ops.aten.add.Tensor, (x, 1), {}, out) is out


def test_examples():
    for one in (module, aten_names):
        docstrings.check(one, least=1)
