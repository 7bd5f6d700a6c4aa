"""Every operation under autocast: of what dtypes its results are for operands of each, in bfloat16
and in float16, as PyTorch's. Of the operations that are converted for, also the values.

Where PyTorch refuses (`cat` of a 16-bit type that autocast is not set to, LAPACK in float16 within a composition),
Facula may answer: that is not compared.
"""

import itertools

import numpy as np
import pytest

import facula
from facula.ops.autocast_rules import rule_of
from facula.testing.samples import SAMPLES, operations
from sweep import OPERATIONS, REFUSALS, ask, assert_same, given, look_up, plain, single, tensors_of

# The first float operand's dtype, the others', and that of autocast.
CASES = [
    *((of, of, "bfloat16") for of in ("float32", "bfloat16", "float16", "float64")),
    ("float32", "float32", "float16"),
    ("bfloat16", "bfloat16", "float16"),
    ("float32", "bfloat16", "bfloat16"),
    ("bfloat16", "float32", "bfloat16"),
]
MADE_OF_OTHERS = {
    "chain_matmul", "corrcoef", "cov", "einsum", "inner", "linalg.matrix_power", "linalg.multi_dot", "linalg.pinv",
    "nn.functional.affine_grid", "nn.functional.bilinear", "nn.functional.local_response_norm",
    "nn.functional.lp_pool3d", "nn.functional.multi_head_attention_forward", "tensordot"}  # fmt: skip
# Whose values 16-bit rounding leaves no digit of, and what draws numbers.
VAGUE = {"svd_lowrank", "pca_lowrank", "linalg.eig", "linalg.eigvals"}
LACKS = {"complex"}  # of float16: complex32
CONVERTED = [name for name in OPERATIONS
             if name not in VAGUE and (name in MADE_OF_OTHERS or rule_of(operations()[name]) is not None)]


def of_dtypes(first, rest):
    count = itertools.count()

    def place(library, array):
        if array.dtype == np.complex128:
            return single(library, array)
        if array.dtype != np.float64:
            return plain(library, array)
        return plain(library, np.asarray(array)).to(getattr(library, rest if next(count) else first))

    return place


def dtypes_of(library, result):
    if isinstance(result, library.Tensor):
        return str(result.dtype).rpartition(".")[2]
    if isinstance(result, (list, tuple)) and type(result).__name__ != "Size":
        return [dtypes_of(library, part) for part in result]
    return type(result).__name__


def dtypes(library, name):
    """By number of the sample, and dtypes: those of the result, or None where the library refuses."""
    found = {}
    for (number, sample), case in itertools.product(enumerate(SAMPLES[name][:2]), CASES):
        library.manual_seed(5)
        try:
            args, kwargs = (given(library, x, of_dtypes(*case[:2])) for x in (sample.args, sample.kwargs))
            with library.autocast("cpu", dtype=getattr(library, case[2])):
                result = look_up(library, name)(*args, **kwargs)
            found[" ".join((str(number), *case))] = dtypes_of(library, args[0] if result is None else result)
        except REFUSALS:
            found[" ".join((str(number), *case))] = None
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in LACKS and any(
    a.dtype == np.float64 for s in SAMPLES[n][:2] for a in tensors_of([s.args, s.kwargs]))])
def test_dtypes(name, oracle):
    theirs = oracle(lambda torch: dtypes(torch, name), [(s.args, s.kwargs) for s in SAMPLES[name][:2]])
    ours = dtypes(facula, name)
    assert {k: v for k, v in ours.items() if theirs[k] is not None} == {
        k: v for k, v in theirs.items() if v is not None}


@pytest.mark.parametrize("name", CONVERTED)
def test_values(name, oracle):
    for sample in SAMPLES[name][:2]:
        for to in ("bfloat16", "float16"):
            call = name, sample.args, sample.kwargs, sample.of

            def run(library, call=call, to=to):
                with library.autocast("cpu", dtype=getattr(library, to)):
                    return ask(library, *call)

            theirs = oracle(run, name, sample.args, sample.kwargs, to)
            if not isinstance(theirs, Exception):
                assert_same(run(facula), theirs, f"{name}{sample} {to}")
