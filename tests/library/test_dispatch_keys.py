"""The keys of torch's dispatcher as names, and what may be asked of operations by them."""

import pytest

import docstrings
import facula
from facula import _C, library
from facula.library import dispatch_keys, inquiries

FAMILIES = ("", "Quantized", "Sparse", "SparseCsr", "NestedTensor", "Autograd")
NAMES = [f"{family}{backend}" for family in FAMILIES for backend in ("CPU", "CUDA", "XPU", "PrivateUse1", "Meta")] + [
    "Undefined", "Dense", "Quantized", "BackendSelect", "Python", "Functionalize", "ADInplaceOrView", "AutogradOther",
    "AutocastCPU", "AutocastCUDA", "FuncTorchBatched", "Autograd", "CompositeImplicitAutograd",
    "CompositeExplicitAutograd", "PythonDispatcher", "EndOfSparseBackends", "StartOfAutogradFunctionalityBackends"]


def test_keys_and_sets_are_torchs(oracle):
    def found(library):
        import importlib
        c = importlib.import_module(f"{library.__name__}._C")
        key, of = c.DispatchKey, c.DispatchKeySet
        one = [[name, int(getattr(key, name)), of(getattr(key, name)).raw_repr()] for name in NAMES]
        cpu, cuda, grad = (of(getattr(key, name)) for name in ("CPU", "CUDA", "AutogradCPU"))
        both = cpu | grad
        sets = [both, both - cpu, cpu & cuda, cpu.add(key.CUDA), both.remove(key.CPU), of.from_raw_repr(0),
                both.add(key.AutocastCPU).remove(key.AutocastCPU), grad | cuda, of(key.SparseCUDA) | grad]
        return one, [[repr(s), s.raw_repr(), s.has(key.CPU), s.has(key.AutogradCUDA)] for s in sets], [
            repr(both.highestPriorityTypeId()), str(key.CPU), repr(key.CPU), both == (grad | cpu), both == cpu,
            repr(c._dispatch_keys(library.ones(1))), repr(c._dispatch_keys(library.ones(1, device="meta"))),
            c._dispatch_key_for_device("cuda"), c._dispatch_key_name(key.CPU), c._dispatch_is_alias_key(key.Autograd),
            repr(c._dispatch_key_parse("CPU"))]
    assert found(facula) == oracle(found)


def test_what_is_wrong_raises():
    with pytest.raises(TypeError):
        _C.DispatchKeySet(3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(_C.DispatchKeySet(_C.DispatchKey.CPU))
    with pytest.raises(RuntimeError, match="could not parse"):
        _C._dispatch_key_parse("Bogus")
    with pytest.raises(RuntimeError, match="device index"):
        _C._dispatch_key_for_device("cuda:0")
    with pytest.raises(AttributeError, match="no attribute '_dispatch_nothing'"):
        _C._dispatch_nothing  # noqa: B018


def test_keys_that_are_excluded():
    x = facula.ones(2, requires_grad=True)
    key = _C.DispatchKey
    with _C._AutoDispatchBelowAutograd():
        assert not (x * 2).requires_grad and _C._dispatch_tls_is_dispatch_key_excluded(key.AutogradCPU)
    with _C._ExcludeDispatchKeyGuard(_C.DispatchKeySet(key.AutocastCPU)):
        assert (x * 2).requires_grad and _C._dispatch_tls_is_dispatch_key_excluded(key.AutocastCPU)
    assert (x * 2).requires_grad and not _C._dispatch_tls_is_dispatch_key_excluded(key.AutogradCPU)
    assert not _C._dispatch_tls_is_dispatch_key_included(key.CPU)


def test_what_is_registered_may_be_asked():
    lib = library.Library("tests_asked", "DEF")
    lib.define("one(Tensor x) -> Tensor")
    asked = _C._dispatch_has_kernel_for_dispatch_key
    assert _C._dispatch_has_kernel("tests_asked::one") and not _C._dispatch_has_kernel("tests_asked::two")
    assert _C._dispatch_has_kernel("aten::add.Tensor") and not _C._dispatch_has_kernel("aten::nothing_of_that_name")
    assert not asked("tests_asked::one", "CPU") and not asked("tests_asked::one", "Meta")
    lib.impl("one", lambda x: x + 1, "CPU")
    library.register_fake("tests_asked::one", lambda x: facula.empty_like(x))
    assert asked("tests_asked::one", _C.DispatchKey.CPU) and asked("tests_asked::one", "Meta")
    assert not asked("tests_asked::one", "CUDA")
    assert _C._dispatch_has_kernel_for_any_dispatch_key("tests_asked::one", _C._dispatch_keys(facula.ones(1)))
    assert facula.ops.higher_order.cond and not _C._dispatch_has_kernel("higher_order::cond")
    from facula.export import _training_operations  # noqa: F401  # whose operations have no schema either
    with pytest.raises(RuntimeError, match="another name"):
        library.Library("higher_order", "FRAGMENT").define("cond(Tensor x) -> Tensor")
    assert "tests_asked::one" in _C._dispatch_get_all_op_names()
    with pytest.raises(RuntimeError, match="does not exist"):
        asked("tests_asked::two", "CPU")
    with pytest.raises(RuntimeError, match="could not parse"):
        asked("tests_asked::one", "Bogus")
    with pytest.raises(RuntimeError, match="Could not find schema"):
        _C._dispatch_find_schema_or_throw("tests_asked::two", "")


@pytest.mark.parametrize("module", [dispatch_keys, inquiries, library])
def test_examples(module):
    docstrings.check(module)
