"""`opcheck`, and implementations above the tape."""

import pytest

import docstrings
import facula
from facula import library
from facula.library import checking

_count = iter(range(1000))


def made(function, mutates_args=()):
    return library.custom_op(f"tests_check::op{next(_count)}", function, mutates_args=mutates_args)


def test_an_operation_that_is_right():
    def times(x: facula.Tensor, w: facula.Tensor) -> facula.Tensor:
        return x * w

    op = made(times)
    op.register_fake(lambda x, w: facula.empty_like(x))
    op.register_autograd(lambda ctx, g: (g * ctx.saved_tensors[1], g * ctx.saved_tensors[0]),
                         setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    given = facula.ones(3, requires_grad=True), facula.full((3,), 2.0)
    found = library.opcheck(op, given)
    assert found == dict.fromkeys(("test_schema", "test_autograd_registration", "test_faketensor",
                                   "test_aot_dispatch_dynamic"), "SUCCESS")
    assert library.opcheck(op.default, given, test_utils=("test_schema",)) == {"test_schema": "SUCCESS"}


def test_operations_that_are_wrong():
    def writes(x: facula.Tensor) -> facula.Tensor:
        x.add_(1)
        return x.clone()

    def shortens(x: facula.Tensor) -> facula.Tensor:
        return x[:2].clone()

    def draws(x: facula.Tensor) -> facula.Tensor:
        return x + facula.rand(3)

    with pytest.raises(library.OpCheckError, match="x is not defined as mutable"):
        library.opcheck(made(writes), (facula.ones(3),))
    found = library.opcheck(made(writes), (facula.ones(3),), raise_exception=False)
    assert isinstance(found["test_schema"], RuntimeError) and "no fake impl" in str(found["test_faketensor"])
    assert found["test_autograd_registration"] == "SUCCESS"
    op = made(shortens)
    op.register_fake(lambda x: facula.empty_like(x))
    with pytest.raises(library.OpCheckError, match="mismatched tensor metadata"):
        library.opcheck(op, (facula.ones(3),), test_utils="test_faketensor")
    with pytest.raises(library.OpCheckError, match="test_autograd_registration.*no autograd formula"):
        library.opcheck(op, (facula.ones(3, requires_grad=True),), test_utils="test_autograd_registration")
    op = made(draws)
    op.register_fake(lambda x: facula.empty_like(x))
    with pytest.raises(library.OpCheckError, match="test_aot_dispatch_dynamic"):
        library.opcheck(op, (facula.ones(3),))


def test_what_is_written_and_says_so():
    def grows(x: facula.Tensor) -> None:
        x.add_(1)

    assert library.opcheck(made(grows, {"x"}), (facula.ones(3),), test_utils="test_schema") == {
        "test_schema": "SUCCESS"}


def test_bad_arguments():
    with pytest.raises(ValueError, match="custom operation"):
        library.opcheck(facula.add, (facula.ones(2),))
    with pytest.raises(ValueError, match="subset"):
        library.opcheck(_negated(), (facula.ones(2),), test_utils="test_other")


def _negated():
    def negated(x: facula.Tensor) -> facula.Tensor:
        return -x
    return made(negated)


def test_implementations_above_the_tape():
    lib = library.Library("tests_above", "FRAGMENT")
    lib.define("tripled(Tensor x) -> Tensor")
    calls = []

    class Tripled(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return facula.ops.tests_above.tripled(x)

        @staticmethod
        def backward(ctx, g):
            calls.append("backward")
            return g * 3

    @library.impl(lib, "tripled", "CPU")
    def kernel(x):
        calls.append("kernel")
        return x * 3

    lib.impl("tripled", Tripled.apply, "Autograd")
    x = facula.ones(2, requires_grad=True)
    facula.ops.tests_above.tripled(x).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and calls == ["kernel", "backward"]
    lib.define("squared(Tensor x) -> Tensor")
    lib.impl("squared", lambda t: t * t, "CompositeImplicitAutograd")
    facula.ops.tests_above.squared(x).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


def test_examples():
    docstrings.check(checking, least=1)
