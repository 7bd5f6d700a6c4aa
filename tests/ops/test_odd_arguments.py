"""Calls that programs come to by accident or by another library's habits, a line each in tests/support/calls:

sequences.txt    tensors of nested sequences, numbers, arrays, buffers
sizes.txt        sizes that are negative, zero or too large
no_elements.txt  layers and losses of no elements, or of mixed dtypes
names.txt        the names of arguments that torch's parser takes, and results given as `out=`
writes.txt       what shares memory with what, what may be written where, and what is told of it

Each gives the value that torch gives, or the type of its error.
"""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import facula

FOLDER = Path(__file__).parents[1] / "support" / "calls"
CALLS = [(path.stem, line) for path in sorted(FOLDER.glob("*.txt")) for line in path.read_text().splitlines()]


def answer(library, call):
    names = {
        "t": library,
        "T": library.tensor,
        "F": library.nn.functional,
        "nn": library.nn,
        "L": library.linalg,
        "np": np,
        "nan": math.nan,
        "inf": math.inf,
    }
    library.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, _, last = call.rpartition(";")
        try:
            exec(before, names)  # lines of those files
            found = repr(eval(last.strip(), names)) if _is_expression(last) else str(exec(last.strip(), names))
        except Exception as error:
            found = type(error).__name__
    return found.replace("facula.", "torch.")


def _is_expression(text):
    try:
        compile(text.strip(), "", "eval")
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize(("kind", "call"), CALLS, ids=[f"{kind}-{k}" for k, (kind, _) in enumerate(CALLS)])
def test_calls(oracle, kind, call):
    assert answer(facula, call) == oracle(lambda torch: answer(torch, call), call)


def test_a_tensor_among_numbers_is_a_number():
    x = facula.tensor([facula.tensor([1.5]), facula.tensor([[2.0]]), 3])
    assert x.shape == (3,)
    assert x.tolist() == [1.5, 2.0, 3.0]
    with pytest.raises(ValueError, match="only one element"):
        facula.tensor([facula.tensor([1.0, 2.0])])


def test_negative_sizes_reach_no_memory():
    x = facula.arange(6.0)
    for call in (x.as_strided, x.as_strided_, lambda *a: facula.as_strided_copy(x, *a)):
        with pytest.raises(RuntimeError, match="overflowed"):
            call((-2,), (1,))
    with pytest.raises(RuntimeError, match="overflowed"):
        facula.empty_strided((2,), (-1,))
    assert x.tolist() == [0, 1, 2, 3, 4, 5]


def test_memory_by_dlpack():
    class Lender:
        def __init__(self):
            self.array = np.arange(3, dtype=np.float32)

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    lender = Lender()
    for make in (facula.asarray, facula.as_tensor, facula.from_dlpack):
        make(lender)[0] += 1
    assert lender.array[0] == 3
    copy = facula.tensor(lender)
    copy[0] = 9
    assert lender.array[0] == 3
    assert copy.tolist() == [9, 1, 2]
