"""`torch.library`: operations of a program's own."""

from __future__ import annotations

import itertools

import pytest

import facula
from facula import library
from facula.library.schema import parsed

numbers = itertools.count()


@pytest.fixture
def name():
    return f"tests::op{next(numbers)}"


def scaled(x: facula.Tensor, by: float = 2.0, *, more: int | None = None) -> facula.Tensor:
    return x * by + (more or 0)


def test_schemas():
    assert library.infer_schema(scaled, mutates_args=()) == "(Tensor x, float by=2.0, *, SymInt? more=None) -> Tensor"
    assert library.infer_schema(scaled, mutates_args=("x",)).startswith("(Tensor(a0!) x")

    def many(xs: list[facula.Tensor], k: int, s: str = "a") -> tuple[facula.Tensor, facula.Tensor]: ...
    text = library.infer_schema(many, mutates_args=())
    assert text == '(Tensor[] xs, SymInt k, str s="a") -> (Tensor, Tensor)'
    found = parsed(text)
    assert found.names == ("xs", "k", "s") and found.defaults == {"s": "a"} and not found.by_name
    assert parsed("(Tensor x, *, int[2] k=[1, 2], bool b=False) -> ()")[1:3] == (
        {"k", "b"}, {"k": [1, 2], "b": False})
    for wrong in (lambda x: x, lambda *x: x):
        with pytest.raises(ValueError, match="infer_schema"):
            library.infer_schema(wrong, mutates_args=())
    for text in ("x", "(x) -> Tensor"):
        with pytest.raises(ValueError, match="schema"):
            parsed(text)


def test_it_is_found_by_its_name(name):
    op = library.custom_op(name, scaled, mutates_args=())
    found = getattr(facula.ops.tests, name.partition("::")[2])
    x = facula.ones(2)
    assert found is op and found.default(x, more=1).tolist() == op(x, by=2.0, more=1).tolist() == [3.0, 3.0]
    assert repr(op) == f"<CustomOpDef({name})>" and str(op.default).endswith(".default")
    for args, kwargs in (((), {}), ((x, 1.0, 2), {}), ((x,), {"nope": 1}), ((x, 1.0), {"by": 2.0})):
        with pytest.raises(TypeError, match="Declaration: tests::"):
            op(*args, **kwargs)
    with pytest.raises(AttributeError):
        facula.ops.nothing_of_that_name  # noqa: B018
    with pytest.raises(AttributeError):
        facula.ops.tests.nothing_of_that_name  # noqa: B018


def test_gradients(name):
    op = library.custom_op(name, scaled, mutates_args=())
    x = facula.ones(2, requires_grad=True)
    y = op(x)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        y.sum().backward()
    seen = []

    def setup(ctx, inputs, keyword_only_inputs, output):
        seen.append((inputs[1], keyword_only_inputs))
        ctx.by = inputs[1]

    library.register_autograd(name, lambda ctx, g: g * ctx.by, setup_context=setup)
    op(x, 5.0).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0] and seen == [(5.0, {"more": None})]
    with facula.no_grad():
        assert not op(x).requires_grad
    assert len(seen) == 1


def test_shapes_without_elements(name):
    op = library.custom_op(name, scaled, mutates_args=())
    x = facula.empty(3, device="meta")
    with pytest.raises(NotImplementedError, match="register_fake"):
        op(x)
    library.register_fake(name)(lambda x, by=2.0, *, more=None: facula.empty_like(x))
    assert op(x).shape == (3,) and op(x).device.type == "meta"


def test_what_is_returned_is_no_argument(name):
    def same(x: facula.Tensor) -> facula.Tensor:
        return x

    def view(x: facula.Tensor) -> facula.Tensor:
        return x[1:]

    for k, function in enumerate((same, view)):
        with pytest.raises(RuntimeError, match="may not alias"):
            library.custom_op(f"{name}_{k}", function, mutates_args=())(facula.ones(3))


def test_writes_are_seen(name):
    def grown(x: facula.Tensor) -> None:
        x.add_(1)

    op = library.custom_op(name, grown, mutates_args={"x"})
    x = facula.zeros(2)
    assert op(x) is None and x.tolist() == [1.0, 1.0] and x._version > 0


def test_gradients_that_are_not_there_are_refused(name):
    def summed(xs: list[facula.Tensor]) -> facula.Tensor:
        return sum(xs)

    def grown(x: facula.Tensor, by: facula.Tensor) -> None:
        x.add_(by)

    x = facula.ones(2, requires_grad=True)
    op, writing = (library.custom_op(f"{name}_{f.__name__}", f, mutates_args=written) for f, written in (
        (summed, ()), (grown, {"x"})))
    for call in (lambda: op([x, x]), lambda: writing(facula.zeros(2), x)):
        with pytest.raises(NotImplementedError, match="not in Facula yet"):
            call()
    with facula.no_grad():
        assert op([x, x]).tolist() == [2.0, 2.0]


def test_a_library_of_schemas():
    lib = library.Library("tests_lib", "DEF")
    assert lib.define("foo(Tensor x, int k=2) -> Tensor") == "foo"
    with pytest.raises(NotImplementedError, match="no kernel"):
        facula.ops.tests_lib.foo(facula.ones(2))
    lib.impl("foo", lambda x, k: x * k, "CPU")
    assert facula.ops.tests_lib.foo(facula.ones(2), k=5).tolist() == [5.0, 5.0]
    with pytest.raises(NotImplementedError, match="not in Facula yet"):
        lib.impl("foo", lambda x, k: x, "Autograd")
    library.define("tests_lib::bar", "(Tensor x) -> Tensor")
    library.impl("tests_lib::bar", "default")(lambda x: -x)
    assert facula.ops.tests_lib.bar(facula.ones(1)).item() == -1
    for wrong in ("bar", "a::b::c"):
        with pytest.raises(ValueError, match="namespace::name"):
            library.custom_op(wrong, scaled, mutates_args=())
    with pytest.raises(RuntimeError, match="Could not find"):
        library.register_fake("tests_lib::none", lambda: None)
    with pytest.raises(ValueError, match="kind"):
        library.Library("x", "NOPE")
