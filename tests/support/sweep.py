"""What the sweeps (test_sweep_*.py) share: asking a library for a sample, and comparing two
answers."""

import inspect
import math
import warnings

import numpy as np

import facula
from facula.ops import registry
from facula.ops.op import plain_of
from facula.testing.samples import SAMPLES, Dtype, operations
from facula.testing.samples.arrays import Fixed
from recorded import snapshot

OPERATIONS = sorted(name for name in operations() if name in SAMPLES)
# Of what the other library refuses too. A KeyboardInterrupt or a MemoryError is no answer.
REFUSALS = (
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
    NotImplementedError,
    AttributeError,
    AssertionError,
)
PRECISION = {
    "float64": 1e-9,
    "complex128": 1e-9,
    "float32": 2e-5,
    "complex64": 2e-5,
    "float16": 4e-3,
    "bfloat16": 4e-2,
}


def look_up(library, name):
    found = library
    for part in name.split("."):
        found = getattr(found, part)
    return found


def tensors_of(value):
    """Every array among the arguments of a sample."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_of(part)
    elif isinstance(value, dict):
        yield from tensors_of(list(value.values()))


def is_variable(array):
    """Is there a gradient to ask for?"""
    return array.dtype == np.float64 and not isinstance(array, Fixed)


def changed(value, change):
    """The arguments with every array replaced by `change(array)`."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(changed(part, change) for part in value)
    if isinstance(value, dict):
        return {key: changed(part, change) for key, part in value.items()}
    return value


def given(library, value, place=None):
    """The arguments as `library` takes them; `place(library, array)` makes its tensors."""
    if isinstance(value, np.ndarray):
        return (place or plain)(library, value)
    if isinstance(value, Dtype):
        return getattr(library, value)
    if isinstance(value, (list, tuple)):
        return type(value)(given(library, part, place) for part in value)
    if isinstance(value, dict):
        return {key: given(library, part, place) for key, part in value.items()}
    return value


def plain(library, array):
    if not array.size:  # NumPy has strides of its own for these
        return library.zeros(array.shape, dtype=getattr(library, array.dtype.name))
    return library.from_numpy(np.array(array))


def single(library, array):
    """As `plain`, but floats are float32, the dtype of everyday programs."""
    of = {"float64": "float32", "complex128": "complex64"}.get(array.dtype.name, array.dtype.name)
    return plain(library, array.astype(of))


def expanded(library, array):
    """The first row, seen once for every row."""
    return single(library, array[:1]).expand(*array.shape) if array.ndim else single(library, array)


def flat(result):
    """All tensors of a result."""
    if isinstance(result, facula.Tensor):
        return (result,)
    if isinstance(result, (tuple, list)):
        return tuple(t for part in result for t in flat(part))
    return ()


def ask(library, name, args, kwargs, of=None, place=single):
    """What `library` answers: a result, or the exception it refuses with."""
    library.manual_seed(5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = look_up(library, name)
            args, kwargs = given(library, args, place), given(library, kwargs, place)
            result = function(*args, **kwargs)
            if result is None:  # __setitem__
                result = args[0]
            return snapshot(library, of(result) if of else result)
    except REFUSALS as refusal:
        return refusal


def expected(oracle, name, args, kwargs, of=None, place=single):
    """What PyTorch answers."""
    return oracle(lambda torch: ask(torch, name, args, kwargs, of, place), name, args, kwargs)


def assert_same(ours, theirs, what, factor=1.0):
    """Two answers of `ask` agree: in structure, dtype, shape and, to the dtype's precision, in
    value."""
    if isinstance(ours, Exception) and not isinstance(theirs, Exception):
        raise AssertionError(f"{what}: refused: {ours!r}") from ours
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"{what}: answers {ours}, where {theirs!r} was expected"
    elif isinstance(theirs, tuple) and len(theirs) == 2 and isinstance(theirs[1], np.ndarray):
        assert isinstance(ours, tuple) and isinstance(ours[1], np.ndarray), (
            f"{what}: {ours} is no tensor"
        )
        assert ours[0] == theirs[0], f"{what}: dtype {ours[0]}, not {theirs[0]}"
        assert ours[1].shape == theirs[1].shape, (
            f"{what}: shape {ours[1].shape}, not {theirs[1].shape}"
        )
        close = PRECISION.get(ours[0], 0.0) * factor
        sizes = np.abs(theirs[1]) if close else np.zeros(0)
        scale = sizes[sizes < 1e4].max(initial=0)  # what a sum of such elements is rounded to
        np.testing.assert_allclose(ours[1], theirs[1], rtol=close, atol=close * scale, err_msg=what)
    elif isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs), (
            f"{what}: {ours} is not {theirs}"
        )
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{what}, result {k}", factor)
    elif isinstance(theirs, float):
        assert math.isclose(ours, theirs, rel_tol=1e-5) or ours != ours and theirs != theirs, (
            f"{what}: {ours}, {theirs}"
        )
    else:
        assert ours == theirs and type(ours) is type(theirs), f"{what}: {ours!r}, not {theirs!r}"


def in_place_form(name):
    """The name of the method that does the same in place, or None."""
    plain_name = name.removeprefix("Tensor.")
    return (
        f"Tensor.{plain_name}_"
        if f"{plain_name}_" in registry.METHODS and "." not in plain_name
        else None
    )


def has_out(name):
    function = plain_of(look_up(facula, name))  # while somebody listens forms have other code, which takes anything
    return "out" in inspect.signature(function, follow_wrapped=False).parameters
