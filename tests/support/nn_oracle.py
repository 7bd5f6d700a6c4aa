"""Running the same module or function in Facula and in torch, and comparing what comes out."""

import math

import numpy as np
import pytest

import facula
from recorded import snapshot


def numbers(library, *shape, by=1.7, dtype="float64"):
    """A tensor of sines, no two alike: what `by` says keeps one tensor's from another's."""
    values = np.sin(np.arange(math.prod(shape), dtype="float64").reshape(shape) * by)
    return library.tensor(values.tolist(), dtype=getattr(library, dtype))


def arrays(*tensors):
    return [np.array(t.detach().tolist()) for t in tensors]


def close(ours, theirs, rtol=1e-9, atol=1e-9):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, np.array(b), rtol=rtol, atol=atol)


def fails_alike(oracle, run):
    """`run(library)` raises a RuntimeError of the same words."""
    def message(library):
        with pytest.raises(RuntimeError) as caught:
            run(library)
        return str(caught.value)

    assert message(facula) == oracle(message)


def to_library(library, value):
    """A NumPy array (or nested lists and tuples of them) as tensors of a library; the rest as it is."""
    if isinstance(value, np.ndarray):
        return library.from_numpy(value.copy())
    if isinstance(value, (list, tuple)):
        return type(value)(to_library(library, item) for item in value)
    return value


def to_array(value):
    """Tensors as NumPy arrays, also in tuples and dictionaries."""
    if hasattr(value, "detach"):
        return value.detach().numpy().copy()
    if isinstance(value, (list, tuple)):
        return [to_array(item) for item in value]
    if isinstance(value, dict):
        return {key: to_array(item) for key, item in value.items()}
    return value


def assert_same(got, expected, rtol=1.3e-6, atol=1e-5):
    got, expected = to_array(got), to_array(expected)
    if isinstance(expected, list):
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            assert_same(g, e, rtol, atol)
        return
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key], rtol, atol)
        return
    if isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)
        return
    assert got == expected


def state_of(library, module):
    """The state of a module as plain data."""
    return {key: snapshot(library, value) for key, value in module.state_dict().items()}


def load_state(module, state, library):
    """What `state_of` another library's module was, into this one."""
    module.load_state_dict({key: to_library(library, array) if array.ndim else library.tensor(array.item())
                            for key, (_, array) in state.items()})


def value_and_gradients(library, function, arrays, parameters=(), constant=()):
    """The result of `function(*tensors)` and the gradients of its sum for all float arrays and parameters.

    `constant` has the positions of float arrays that get no gradient.
    """
    tensors = [to_library(library, array) for array in arrays]
    for i, tensor in enumerate(tensors):
        if i in constant:
            continue
        if hasattr(tensor, "is_floating_point") and tensor.is_floating_point():
            tensor.requires_grad_(True)
    result = function(*tensors)
    # Uneven weights, so that no gradient vanishes by symmetry.
    weights = np.linspace(0.5, 1.5, max(result.numel(), 1)).astype(np.float32)[:result.numel()]
    (result.reshape(-1) * library.from_numpy(weights)).sum().backward()
    leaves = [t for t in tensors if getattr(t, "requires_grad", False)] + list(parameters)
    return result, [leaf.grad for leaf in leaves]


def error_of(function):
    """(name of the exception's type, its text), or None."""
    try:
        function()
    except Exception as error:
        return type(error).__name__, str(error)
    return None
