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
    assert not hasattr(facula.ops.nothing_of_that_name, "f")  # namespaces are always there
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
    with pytest.raises(RuntimeError, match="could not parse dispatch key"):
        lib.impl("foo", lambda x, k: x, "Nowhere")
    library.define("tests_lib::bar", "(Tensor x) -> Tensor")
    library.impl("tests_lib::bar", "default")(lambda x: -x)
    assert facula.ops.tests_lib.bar(facula.ones(1)).item() == -1
    for wrong in ("bar", "a::b::c"):
        with pytest.raises(ValueError, match="namespace::name"):
            library.custom_op(wrong, scaled, mutates_args=())
    with pytest.raises(RuntimeError, match="does not exist"):
        library.register_fake("tests_lib::none", lambda: None)
    with pytest.raises(ValueError, match="kind"):
        library.Library("x", "NOPE")


def test_compiled_extensions_are_not_loaded(tmp_path):
    with pytest.raises(OSError, match="no such file"):
        facula.ops.load_library("_C.so")
    (tmp_path / "_C.so").write_bytes(b"")
    with pytest.raises(OSError, match="compiled for PyTorch"):
        facula.ops.load_library(str(tmp_path / "_C.so"))


def test_forms_of_an_operation():
    lib = library.Library("tests_forms", "FRAGMENT")
    assert lib.define("scale.by(Tensor x, float k) -> Tensor") == "scale"
    lib.define("scale.other(Tensor x, Tensor y) -> Tensor")
    lib.impl("scale.by", lambda x, k: x * k, "CPU")
    lib.impl("scale.other", lambda x, y: x * y + 1, "CPU")
    scale, x = facula.ops.tests_forms.scale, facula.ones(2)
    assert scale.overloads() == ["by", "other"] and str(scale.other) == "tests_forms.scale.other"
    assert scale(x, 3.0).tolist() == [3, 3] and scale(x, x).tolist() == [2, 2] == scale.other(x, x).tolist()
    assert scale.by.name() == "tests_forms::scale.by" and scale.by.overloadpacket is scale
    with pytest.raises(AttributeError, match="no overload"):
        scale.default  # noqa: B018
    with pytest.raises(RuntimeError, match="multiple times"):
        lib.define("scale.by(Tensor x) -> Tensor")
    with pytest.raises(RuntimeError, match="multiple times"):
        library.define("tests_forms::scale.by", "(Tensor x) -> Tensor")
    lib._destroy()
    assert not hasattr(facula.ops.tests_forms, "scale")


def test_what_a_library_takes():
    lib = library.Library("tests_takes", "DEF")
    assert repr(lib) == "Library(kind=DEF, ns=tests_takes, dispatch_key=)>"
    with pytest.raises(ValueError, match="reserved"):
        library.Library("prim", "DEF")

    @library.define(lib, "twice(Tensor x) -> Tensor")
    def twice(x):
        return x * 2
    x = facula.ones(1, requires_grad=True)
    assert facula.ops.tests_takes.twice(x).requires_grad  # implicit: its own calls are on the tape
    seen = []
    lib.impl("twice", lambda keys, x: seen.append(keys) or x * 2, "CPU", with_keyset=True)
    lib.impl("twice", library.fallthrough_kernel, "AutogradCPU")
    lib.impl("twice", lambda x: 1 / 0, "SparseCUDA")
    with pytest.raises(TypeError, match="callable"):
        lib.impl("twice", 3)
    with pytest.raises(RuntimeError, match="does not exist"):
        lib.impl("thrice", twice)
    with pytest.raises(ValueError, match="for the operations of tests_takes"):
        library.Library("tests_other", "IMPL") and lib.impl("tests_lib::bar", twice, "CPU")
    kernel = library.get_kernel("tests_takes::twice", "CPU")
    assert kernel(x).item() == 2 and repr(seen[0]) == "DispatchKeySet(CPU)"
    with pytest.raises(RuntimeError, match="no implementation"):
        library.get_kernel("tests_takes::twice", "CUDA")
    with pytest.raises(NotImplementedError):
        library.fallthrough_kernel()
    with pytest.raises(NotImplementedError, match="not in Facula yet"):
        library.triton_op("tests::t", mutates_args=())


def test_the_older_way():
    from facula import _custom_ops
    _custom_ops.custom_op("tests_older::cube", "(Tensor x, int k) -> Tensor")
    _custom_ops.impl("tests_older::cube", device_types="cpu")(lambda x, k: x ** 3 * k)
    _custom_ops.impl_abstract("tests_older::cube")(lambda x, k: facula.empty_like(x))
    _custom_ops.impl_save_for_backward("tests_older::cube")(lambda inputs, out: (inputs.x, inputs.k))
    _custom_ops.impl_backward("tests_older::cube")(lambda ctx, saved, grad: {"x": grad * 3 * saved[0] ** 2 * saved[1]})
    x = facula.tensor([2.0], requires_grad=True)
    facula.ops.tests_older.cube(x, 2).backward()
    assert x.grad.item() == 24 and facula.ops.tests_older.cube(x.to("meta"), 2).shape == (1,)

    @_custom_ops.custom_op("tests_older::same")
    def same(x: facula.Tensor) -> facula.Tensor: ...
    assert facula.ops.tests_older.same.default._schema == "tests_older::same(Tensor x) -> Tensor"


def test_casts_within_autocast(monkeypatch):
    op = library.custom_op("tests_autocast::same", lambda x, k: x.clone(), mutates_args=(),
                           schema="(Tensor x, int k) -> Tensor")
    library.register_autocast("tests_autocast::same", "cpu", facula.bfloat16)
    assert op(facula.ones(1), 2).dtype is facula.float32
    asked = [False, True]  # within its own implementation it is off
    monkeypatch.setattr(facula, "is_autocast_enabled", lambda kind: asked.pop(), raising=False)
    assert op(facula.ones(1), 2).dtype is facula.bfloat16
    with pytest.raises(ValueError, match="Unknown device type"):
        op.register_autocast("nowhere", facula.bfloat16)


def test_of_implementations_above_the_tape_that_of_the_device_is_called():
    space = library.Library("tests_above", "FRAGMENT")
    ones, ops = facula.ones(2), facula.ops.tests_above
    for k, keys in enumerate((("CPU", "AutogradCUDA"), ("AutogradCUDA", "CPU", "AutogradCPU"),
                              ("Autograd", "AutogradCPU"), ("CompositeImplicitAutograd", "CPU"),
                              ("CompositeImplicitAutograd", "Autograd"))):
        space.define(f"k{k}(Tensor x) -> Tensor")
        for factor, key in enumerate(keys, 2):
            space.impl(f"k{k}", lambda x, factor=factor: x * factor, key)
    assert [getattr(ops, f"k{k}")(ones).tolist()[0] for k in range(5)] == [2, 4, 3, 3, 2]  # as in torch
    space.define("halved(Tensor x, int n) -> Tensor")
    space.impl("halved", lambda x, n: ops.halved(x / 2, n - 1) if n else x)
    assert ops.halved(ones, 3).tolist() == [0.125] * 2


def test_autocast_is_above_the_tape_and_hears_of_lists():
    space = library.Library("tests_cast", "FRAGMENT")
    seen = []
    space.define("one(Tensor x) -> Tensor")
    space.impl("one", lambda x: x * 2, "CPU")
    space.impl("one", lambda x: (seen.append(x.dtype), facula.ops.tests_cast.one(x))[1], "Autograd")
    space.define("joined(Tensor[] xs) -> Tensor")
    space.impl("joined", lambda xs: facula.cat(xs), "CPU")
    for name in ("one", "joined"):
        library.register_autocast(f"tests_cast::{name}", "cpu", facula.bfloat16)
    x = facula.ones(2)
    with facula.autocast("cpu"):
        assert facula.ops.tests_cast.one(x).dtype is facula.bfloat16 and seen == [facula.bfloat16]
        assert facula.ops.tests_cast.joined([x, x]).dtype is facula.bfloat16


def test_a_schema_and_what_is_written_agree(name):
    for written in ("x", ("x",), "unknown"):
        with pytest.raises(ValueError, match="consistent"):
            library.custom_op(name, lambda x: x * 2, mutates_args=written, schema="(Tensor x) -> Tensor")


def test_the_older_way_says_which_results_and_arguments_have_gradients():
    from facula import _custom_ops

    def made(name, gradients, **options):
        _custom_ops.custom_op(f"tests_older::{name}", "(Tensor x, Tensor y) -> (Tensor, Tensor)")
        _custom_ops.impl(f"tests_older::{name}")(lambda x, y: (x * 2, y * 3))
        _custom_ops.impl_save_for_backward(f"tests_older::{name}")(lambda inputs, out: None)
        _custom_ops.impl_backward(f"tests_older::{name}", **options)(lambda ctx, saved, first, second: gradients(first))
        return getattr(facula.ops.tests_older, name)(*[facula.ones(2, requires_grad=True) for _ in range(2)])
    first, second = made("one_of_two", lambda g: {"x": g * 2, "y": None}, output_differentiability=[True, False])
    assert first.requires_grad and not second.requires_grad
    first.sum().backward()
    for k, wrong in enumerate((lambda g: {"x": g}, lambda g: {"x": g, "z": g}, lambda g: (g, g))):
        with pytest.raises(RuntimeError, match=r"keys \['x', 'y'\]"):
            made(f"wrong{k}", wrong)[0].sum().backward()
