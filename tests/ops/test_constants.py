"""A constant (`full`, a 0-d tensor) converts as the same elements in memory do, and as PyTorch's."""

import pytest

import facula

inf, nan = float("inf"), float("nan")
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
          "complex128")
VALUES = [0, 1, -1, 300, 2**40, True, 0.0, -0.0, 1.5, -1.5, 1e-50, 1e30, 0.1, nan, inf, -inf, 0j, 1j, 1 + 2j,
          complex(-1.5, 0), complex(nan, 0), complex(0, nan), complex(0, inf), 1e-50j, complex(300.7, 1)]
# what is filled in here becomes infinite, see docs/differences.md
REFUSED = {("float16", 2**40), ("float16", 1e30)}


def converted(library, made):
    return [str(made.to(getattr(library, name)).tolist()) for name in DTYPES]


@pytest.mark.parametrize("source", DTYPES)
def test_constants_of_every_type_become_every_other(oracle, source):
    def answers(library):
        found = []
        for value in VALUES:
            try:
                found.append(converted(library, library.full((2,), value, dtype=getattr(library, source))))
            except (RuntimeError, TypeError) as error:
                found.append(type(error).__name__)
        return found

    for value, ours, theirs in zip(VALUES, answers(facula), oracle(answers, source), strict=True):
        if (source, value) not in REFUSED:
            assert ours == theirs, value
        if isinstance(ours, list):
            constant = facula.full((2,), value, dtype=getattr(facula, source))
            in_memory = facula.tensor(constant.tolist(), dtype=constant.dtype)
            assert converted(facula, in_memory) == ours, value
            single = converted(facula, facula.full((), value, dtype=constant.dtype))
            assert [f"[{text}, {text}]" for text in single] == ours, value
