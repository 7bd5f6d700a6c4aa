"""Every operation with every kind of dtype, and with mixed ones: result dtypes and values as
PyTorch's.

Where PyTorch refuses a dtype (no half on the CPU, no complex), Facula may do more: that is not
compared.
"""

import itertools

import numpy as np
import pytest

import facula
from facula.testing.samples import SAMPLES, pointwise
from sweep import OPERATIONS, ask, assert_same, expected, plain, tensors_of

DTYPES = ["float64", "float16", "bfloat16", "int32", "uint8", "bool", "complex64"]
MIXED = [
    *itertools.permutations(("float32", "bfloat16", "int64", "uint8", "bool"), 2),
    ("float16", "bfloat16"),
    ("int8", "uint8"),
    ("uint8", "int8"),
    ("float32", "complex64"),
    ("complex64", "float64"),
]
# What Facula lacks: asked for, it says so.
UNSUPPORTED = {
    ("logcumsumexp", "complex64"),
}
# What PyTorch computes in 16 bits and overflows in; see docs/differences.md.
OVERFLOWS = {
    (name, of) for name in ("matrix_exp", "linalg.matrix_exp") for of in ("float16", "bfloat16")
}


def as_dtype(library, array, of):
    """The float array in another dtype, its elements still far from each other."""
    if of == "bool":
        array = array > 0
    elif of == "uint8":
        array = np.round((array - array.min(initial=0)) * 3)
    elif "int" in of:
        array = np.round(array * 3)
    return plain(library, np.asarray(array)).to(getattr(library, of))


def of_dtypes(first, rest, scalar=False):
    """A `place` for `ask`: the first float array in one dtype, the others in another, perhaps as
    0-d tensors."""
    count = itertools.count()

    def place(library, array):
        if array.dtype != np.float64:
            return plain(library, array)
        k = next(count)
        return as_dtype(
            library, array.reshape(-1)[0] if k and scalar else array, rest if k else first
        )

    return place


def check(oracle, name, sample, what, *dtypes):
    call = name, sample.args, sample.kwargs, sample.of
    theirs = expected(oracle, *call, place=of_dtypes(*dtypes))
    if not isinstance(theirs, Exception):
        assert_same(ask(facula, *call, place=of_dtypes(*dtypes)), theirs, f"{name}{sample} {what}")


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_dtype(name, oracle):
    for of in DTYPES:
        if (name, of) in OVERFLOWS:
            continue
        for sample in SAMPLES[name][:2]:
            if (name, of) in UNSUPPORTED:
                ours = ask(facula, name, sample.args, sample.kwargs, place=of_dtypes(of, of))
                assert isinstance(ours, NotImplementedError), f"{name}{sample}: {ours}"
            elif any(
                array.dtype == np.float64 for array in tensors_of([sample.args, sample.kwargs])
            ):
                check(oracle, name, sample, of, of, of)


def mixable():
    """Pointwise operations of several tensors, with a sample of each that has two float arrays."""
    for name, samples in pointwise.SAMPLES.items():
        for sample in samples:
            if (
                name in OPERATIONS
                and sum(a.dtype == np.float64 for a in tensors_of(sample.args)) > 1
            ):
                yield name, sample
                break


@pytest.mark.parametrize("name, sample", [pytest.param(*pair, id=pair[0]) for pair in mixable()])
def test_mixed_dtypes(name, sample, oracle):
    for first, rest in MIXED:
        for scalar in (False, True):
            check(oracle, name, sample, f"{first}, {rest}", first, rest, scalar)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_a_constant_is_as_exact_as_its_type(kind):
    of = getattr(facula, kind)
    stored = facula.tensor([0.1], dtype=of).double()
    assert (facula.full((1,), 0.1, dtype=of).double() == stored).all()
    assert facula.tensor(0.1, dtype=of).double() == stored
    assert facula.full((1,), 0.1, dtype=of).to(facula.complex128).real == stored
    assert facula.full((1,), 16777217.0, dtype=of).long() == facula.tensor([16777217.0], dtype=of).long()
    assert facula.tensor(1e-50, dtype=of).bool().item() is False
    assert facula.tensor(1e39, dtype=of).double().item() == float("inf")


@pytest.mark.parametrize("to", ["uint8", "int8", "int16", "int32", "int64"])
def test_constants_that_no_integer_holds_are_converted_like_other_elements(to):
    of = getattr(facula, to)
    for value in (float("nan"), float("inf"), -float("inf"), 1e20, -1e20, 3e9, -1.5, 300.5):
        assert facula.tensor(value).to(of).item() == facula.tensor([value, 0.0]).to(of)[0].item()


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_numbers_are_compared_in_the_type_of_the_tensor(kind):
    for x in facula.tensor([0.1], dtype=getattr(facula, kind)), facula.tensor(0.1, dtype=getattr(facula, kind)):
        assert (x == 0.1).all() and (x <= 0.1).all() and (x >= 0.1).all() and (0.1 == x).all()
        assert not ((x != 0.1).any() or (x < 0.1).any() or (x > 0.1).any())
