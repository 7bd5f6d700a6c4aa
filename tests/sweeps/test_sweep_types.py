"""What an operation says of itself (its type rule, the rules of its gradient) is what its body gives."""

import inspect
import warnings

import numpy as np
import pytest

import facula
from facula.ops import listening, op
from facula.testing.samples import SAMPLES
from facula.testing.samples.arrays import Fixed
from sweep import given, is_variable, single

TYPED = [o for o in op.operations() if o.types is not None and o.name in SAMPLES]
DTYPES = ("float32", "float64", "bfloat16", "int32", "uint8", "bool", "complex64")
# Of the families elementwise/ and reduce/: whose shape depends on values, and what has other results than tensors.
WITHOUT = {"allclose", "equal", "bincount"}


def family(operation):
    module = getattr(inspect.unwrap(operation.body), "__module__", "")
    return ".ops.elementwise" in str(module) or ".ops.reduce" in str(module)


def test_all_of_these_families_have_a_rule():
    without = {o.name for o in op.operations() if family(o) and o.types is None}
    assert without == WITHOUT


def typed(result):
    if isinstance(result, (tuple, list)):
        return tuple(map(typed, result))
    return tuple(result.shape), result.dtype


@pytest.mark.parametrize("operation", TYPED, ids=lambda o: o.name)
def test_types(operation):
    """Of every sample, floats in each dtype."""
    looked = 0
    for sample in SAMPLES[operation.name]:
        for of in DTYPES:
            def place(library, array, of=of):
                if array.dtype == np.float64 and not isinstance(array, Fixed):
                    return library.from_numpy(np.array(array)).to(getattr(library, of))
                return single(library, array)

            args, kwargs = given(facula, sample.args, place), given(facula, sample.kwargs, place)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    wanted = typed(operation.form(*args, **kwargs))
            except (RuntimeError, TypeError, NotImplementedError, ValueError, IndexError):
                continue  # of a dtype that the operation refuses
            assert operation.result(*args, **kwargs) == wanted, f"{operation.name}{sample} of {of}"
            looked += 1
    assert looked


def test_shapes_meet():
    add, total = op.owner("add"), op.owner("sum")
    assert add.result(facula.ones(3, 1), facula.ones(2, dtype=facula.float64)) == ((3, 2), facula.float64)
    assert add.result(facula.ones(3, dtype=facula.int32), 1.5) == ((3,), facula.float32)
    assert total.result(facula.ones(2, 3, 4), axis=(0, -1), keepdims=True) == ((1, 3, 1), facula.float32)
    assert op.owner("max").result(facula.ones(2, 3), 1) == (((2,), facula.float32), ((2,), facula.int64))
    with pytest.raises(NotImplementedError, match="bincount has no type rule"):
        op.owner("bincount").result(facula.ones(3))


def test_whoever_listens():
    signature = op.owner("relu").signature
    with listening.listening():
        assert op.owner("relu").signature == signature and op.owner("abs").takes_out
        assert op.owner("relu").result(facula.ones(2)) == ((2,), facula.float32)


@pytest.mark.parametrize("operation", [o for o in TYPED if o.gradient], ids=lambda o: o.name)
def test_gradients(operation):
    """What hangs on the results is what the operation names."""
    def place(library, array):
        tensor = library.from_numpy(np.array(array))
        return tensor.requires_grad_() if is_variable(array) else tensor

    for sample in SAMPLES[operation.name]:
        try:
            found = operation.form(*given(facula, sample.args, place), **given(facula, sample.kwargs, place))
        except (RuntimeError, TypeError, NotImplementedError):
            continue  # of float64, which the operation refuses
        for result in found if isinstance(found, (tuple, list)) else (found,):
            if result.grad_fn is not None:
                assert result._grad_fn.rule in operation.gradient, f"{operation.name}{sample}"


def test_compositions_have_the_gradients_of_their_parts():
    without = {o.name for o in TYPED if not o.gradient and o.types is not None}
    assert {"clamp", "pow", "nanmean"} < without and not {"add", "sum", "exp", "amax", "var"} & without
