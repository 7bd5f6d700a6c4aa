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
from sweep import OPERATIONS, ask, assert_same, plain, tensors_of

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
    ("nn.functional.upsample_bilinear", "uint8"),
}
# What PyTorch computes in 16 bits and overflows in; see docs/differences.md.
OVERFLOWS = {("matrix_exp", "float16"), ("matrix_exp", "bfloat16")}


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


def check(torch, name, sample, what, *dtypes):
    call = name, sample.args, sample.kwargs, sample.of
    theirs = ask(torch, *call, place=of_dtypes(*dtypes))
    if not isinstance(theirs, Exception):
        assert_same(ask(facula, *call, place=of_dtypes(*dtypes)), theirs, f"{name}{sample} {what}")


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_dtype(name, torch):
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
                check(torch, name, sample, of, of, of)


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
def test_mixed_dtypes(name, sample, torch):
    for first, rest in MIXED:
        for scalar in (False, True):
            check(torch, name, sample, f"{first}, {rest}", first, rest, scalar)
