"""Modules of PyTorch's that programs import one or two names of."""

import gc
import importlib

import pytest

import docstrings
import facula
from facula import absent


@pytest.mark.parametrize("dimension", [1, 2, 7, 40, 1111])
@pytest.mark.parametrize("seed", [None, 3])
def test_sobols_sequence(oracle, dimension, seed):
    def found(library):
        engine = library.quasirandom.SobolEngine(dimension, seed is not None, seed)
        points = [engine.draw(5).double(), engine.fast_forward(9).draw(2).double()]
        told = [engine.num_generated, repr(engine), engine.shift.sum().item(), engine.sobolstate.sum().item()]
        points += [engine.reset().draw(1).double(), engine.fast_forward(3).draw().double(),
                   engine.draw(2, dtype=library.float64), engine.draw_base2(0).double()]
        return [[p.sum(1).tolist(), p[:, -1].tolist()] for p in points], told
    assert found(facula) == oracle(found, dimension, seed)


def test_sobols_sequence_by_the_default_generator(oracle):
    def found(library):
        library.manual_seed(4)
        engine, out = library.quasirandom.SobolEngine(3, scramble=True), library.zeros(1)
        engine.draw(2, out=out)
        return out.tolist()
    assert found(facula) == oracle(found)


@pytest.mark.parametrize("name, call", [
    ("none", lambda t: t.quasirandom.SobolEngine(0)), ("many", lambda t: t.quasirandom.SobolEngine(30000)),
    ("no points", lambda t: t.quasirandom.SobolEngine(2).draw(0)),
    ("unbalanced", lambda t: [e := t.quasirandom.SobolEngine(2), e.draw(3), e.draw_base2(1)])])
def test_what_sobols_sequence_refuses(oracle, name, call):
    def found(library):
        try:
            call(library)
        except Exception as error:
            return type(error).__name__
    assert found(facula) == oracle(found, name)
    with pytest.raises(NotImplementedError, match="1111"):
        facula.quasirandom.SobolEngine(1112)


def test_names_that_are_modules_and_functions():
    parallel = facula.nn.parallel
    for name in ("replicate", "parallel_apply"):
        module = importlib.import_module(f"facula.nn.parallel.{name}")
        assert callable(getattr(parallel, name)) and getattr(module, name) is getattr(parallel, name)
    from facula.autograd.function import FunctionMeta, InplaceFunction
    from facula.autograd.gradcheck import GradcheckError, gradcheck
    from facula.nn.parallel.scatter_gather import scatter
    assert facula.autograd.gradcheck is gradcheck and GradcheckError is facula.autograd.GradcheckError
    assert scatter is parallel.scatter and type(facula.autograd.Function) is FunctionMeta
    assert issubclass(InplaceFunction, facula.autograd.Function)


def test_tensors_between_devices():
    from facula.cuda import comm
    x, out = facula.arange(4.0), facula.zeros(4)
    assert [t.tolist() for t in comm.broadcast(x, ["cpu", "cpu"])] == [x.tolist()] * 2
    assert comm.broadcast(x, out=[out])[0] is out and out.tolist() == x.tolist()
    assert comm.gather(comm.scatter(x, ["cpu", "cpu"], [1, 3]), destination="cpu").tolist() == x.tolist()
    assert comm.reduce_add_coalesced([[x, x], [x, 2 * x]])[1].tolist() == (3 * x).tolist()
    for call, error in ((lambda: comm.broadcast(x), RuntimeError), (lambda: comm.reduce_add([]), RuntimeError),
                        (lambda: comm.broadcast(x, ["cpu"], out=[out]), RuntimeError),
                        (lambda: comm.reduce_add([x, x[:2]]), ValueError)):
        with pytest.raises(error):
            call()


def test_dictionaries_of_tensors():
    from facula.utils.weak import TensorWeakRef, WeakIdKeyDictionary, WeakIdRef, WeakTensorKeyDictionary
    x, y = facula.ones(2), facula.ones(2)
    found = WeakTensorKeyDictionary({x: 1})
    found[y] = 2
    assert found[x] == 1 and len(found) == 2 and 3 not in found and {id(k) for k in found} == {id(x), id(y)}
    assert WeakIdRef(x) == WeakIdRef(x) != WeakIdRef(y) and found.copy()[y] == 2
    reference = TensorWeakRef(x)
    assert reference() is x
    del found[y], x
    gc.collect()
    assert len(found) == 0 and reference() is None and isinstance(WeakIdKeyDictionary(), WeakIdKeyDictionary)
    with pytest.raises(AssertionError, match="expected torch.Tensor"):
        TensorWeakRef(3)
    with pytest.raises(KeyError):
        found[y]


class Strange(Exception):
    def __init__(self, a, b):
        super().__init__(a)


def test_exceptions_of_workers():
    from facula._utils import ExceptionWrapper, KeyErrorMessage, classproperty
    for error, kind in ((ValueError("x"), ValueError), (KeyError("x"), KeyError), (Strange(1, 2), RuntimeError)):
        try:
            raise error
        except Exception:
            kept = ExceptionWrapper(where="in worker 1")
        with pytest.raises(kind, match=f"Caught {type(error).__name__} in worker 1(.|\n)*Original Traceback"):
            kept.reraise()
    assert repr(KeyErrorMessage("a\nb")) == "a\nb"

    class Has:
        name = classproperty(lambda cls: cls.__name__)
    assert Has.name == "Has"


def test_numbers_of_devices():
    from facula import _utils
    assert _utils._get_device_index(facula.device("cuda", 1)) == 1 and _utils._get_all_device_indices() == []
    assert _utils._get_device_index(None, optional=True) == -1 and _utils._get_available_device_type() is None
    assert not _utils.is_compiling()
    for device in ("cpu", None, "cuda"):
        with pytest.raises(ValueError):
            _utils._get_device_index(device)


def test_extensions_are_refused(monkeypatch):
    from facula.utils import cpp_extension
    for call in (lambda: cpp_extension.load("x", []), lambda: cpp_extension.CUDAExtension("x", []),
                 cpp_extension.BuildExtension, cpp_extension.include_paths):
        with pytest.raises(absent.NotInFacula, match="custom_op"):
            call()
    assert cpp_extension.CUDA_HOME is None and not cpp_extension.check_compiler_ok_for_platform("no-such-compiler")
    monkeypatch.setenv("PATH", "")
    assert not cpp_extension.is_ninja_available() and cpp_extension.get_cxx_compiler()
    with pytest.raises(RuntimeError, match="pip install ninja"):
        cpp_extension.verify_ninja_availability()
    assert not facula.mtia.is_available() and facula.mtia.device_count() == 0
    with pytest.raises(RuntimeError, match="mtia"):
        facula.mtia.synchronize()


@pytest.mark.parametrize("name", ["quasirandom", "rng.sobol_directions", "nn.parallel.comm", "utils.weak", "_utils",
                                  "utils.cpp_extension", "mtia"])
def test_examples(name):
    module = importlib.import_module(f"facula.{name}")
    assert docstrings.failures(module)[0] == ""
    public = [name for name in getattr(module, "__all__", []) if not name.startswith("_")]
    assert docstrings.undocumented(module, public) == []
