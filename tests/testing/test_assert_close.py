"""torch.testing: the same verdicts in the same words, the same random tensors."""

import re
import warnings

import numpy as np
import pytest

import facula

nan, inf = float("nan"), float("inf")
# actual, expected, options: as Python says them, with `T` for a tensor, `t` for its library.
CASES = """
T([1., 2.]), T([1., 2.1])
T([1., 2.]), T([1., 2.0000001])
T(1.), T(2.)
T(1), T(2)
1.0, 2.0
1, 2
True, False
1, 1.0
1., 1, check_dtype=False
1., 2, check_dtype=False
1j, 2j
0.0, 1e-9
nan, nan
nan, nan, equal_nan=True
complex(1, nan), complex(1, nan), equal_nan=True
inf, inf
inf, -inf
1e300, inf
0, 1
1, 0
2**70, 2**70 + 1
None, None
None, 1
1, None
np.bool_(True), np.bool_(False)
np.float32(1), np.float32(2)
np.float64(1), 1.0
T([1, 2, 3]), T([1, 5, 9])
T([[1, 2], [3, 4]]), T([[1, 5], [9, 4]])
T([1.]), T([1.], dtype=t.float64)
T([1.]), T([1.], dtype=t.float64), check_dtype=False
T([1.]), T([1]), check_dtype=False
T([1.], dtype=t.float16), T([1.01]), check_dtype=False
T([1.], dtype=t.bfloat16), T([1.01]), check_dtype=False
T([1.]), T([1., 2.])
T([1.]), T([1, 2], dtype=t.int8)
T([1.]), 1.0
T(1.), 1.0
T([1.]), [1.]
np.array([1.]), T([1.])
np.array([1., 3.]), np.array([1., 2.])
np.array(["a"]), np.array(["a"])
[1., 2.], [1., 3.]
[1., 2.], [1.]
(1,), [1]
[1], {"a": 1}
[1, "a"], [2, "a"]
["a", 1], ["a", 2]
{"k": ["a"]}, {"k": ["b"]}
{"a": 1.}, {"a": 2.}
{"a": 1.}, {"b": 2.}
{"a": 1., "c": 1}, {"b": 2., "a": 1}
{"b": 1, "a": 1}, {"a": 2, "b": 2}
{1: T([1.])}, {1: T([2.])}
[T([1.]), {"x": T([2., 3.])}], [T([1.]), {"x": T([2., 4.])}]
[[1, 2], [3]], [[1, 2], [4]]
{"x": [1]}, {"x": [1, 2]}
[], []
{}, {}
"a", "b"
"a", "a"
{1}, {1}
object(), object()
t.float32, t.float32
t.Size([1]), t.Size([2])
T([nan]), T([nan])
T([nan]), T([nan]), equal_nan=True
T([inf]), T([inf])
T([inf]), T([-inf])
T([inf, 1.]), T([1., 1.])
T([[nan, 1.], [2., 3.]]), T([[nan, 2.], [2., 5.]]), equal_nan=True
T([[nan, 1.], [2., 3.]]), T([[nan, 2.], [2., 5.]])
T([1.]), T([2.]), rtol=.1
T([1.]), T([2.]), atol=.1
T([1.]), T([2.]), rtol=.1, atol=0.
T([1.]), T([1.05]), rtol=.1, atol=0.
T([1.]), T([2.]), rtol=0, atol=0
T([1, 2]), T([1, 3]), rtol=0, atol=.5
T([1, 2]), T([1, 3]), rtol=0, atol=1
1., 2., rtol=0, atol=.5
T([1.]), T([2.]), msg="mine"
{"a": T([1.])}, {"a": T([2.])}, msg="mine"
T([1.]), T([2.]), msg=lambda m: f"[{m}]"
{"a": T([1.])}, {"a": T([2.])}, msg=lambda m: f"[{m}]"
[1], [1, 2], msg=lambda m: f"[{m}]"
T([True]), T([False])
T([1j]), T([2j])
t.zeros(0), t.zeros(0)
t.zeros(0), t.zeros(1)
t.zeros(2, 3), t.zeros(3, 2).t()
t.zeros(2, 3), t.zeros(3, 2).t(), check_stride=True
T([1, 2], dtype=t.int8), T([1, 100], dtype=t.int8)
T([0, 2], dtype=t.uint8), T([255, 2], dtype=t.uint8)
T([2**62]), T([2**62 + 1])
t.zeros(2, device="meta"), t.zeros(2, device="meta")
t.zeros(2, device="meta"), t.zeros(2)
t.zeros(2, device="meta"), t.zeros(2), check_device=False
T([1.], dtype=t.bfloat16), T([1.02], dtype=t.bfloat16)
T([1.], dtype=t.float16), T([1.002], dtype=t.float16)
t.nn.Parameter(T([1.])), T([1.])
t.nn.Parameter(T([1.])), T([2.])
t.nn.Parameter(T([1.])), T([1.]), allow_subclasses=False
T([[1., 2.], [3., 4.]]), T([[1., 2.], [3., 400.]])
T([1e-8]), T([0.])
T([1., 2., 3.]), T([0., 2., 3.])
T([1e30, 1.]), T([1., 1.])
T([[[1.]]]), T([[[2.]]])
T([1.]), T([2.]).requires_grad_()
""".strip().splitlines()
OLD = ["T([1.]), T([2.])", "T([1.]), T([1])", "[1.], [1.1]", "1., 2.", "T([1.]), np.array([2.])",
       'T([1.]), 2., msg="x"', "T([1]), T([2])", "T([1.], dtype=t.float64), T([2.], dtype=t.float64)"]
MADE = [
    *(f"{shape}, dtype=t.{of}, device='cpu'{more}" for of in ("float32", "float64", "float16", "bfloat16", "int64",
                                                            "int8", "uint8", "bool", "complex64")
      for shape, more in (("(2, 3)", ""), ("3, 4", ", low=0, high=5"), ("(4, 3)", ", noncontiguous=True"), ("[]", ""))),
    *(f"(2,), dtype=t.{of}, device='cpu', {more}" for of, more in [
        ("float32", "low=3, high=2"), ("float32", "low=2, high=2"), ("int8", "low=-200, high=300"),
        ("float32", "requires_grad=True"), ("int32", "requires_grad=True"), ("float32", "low=nan, high=2"),
        ("float32", "noncontiguous=True, memory_format=t.channels_last"), ("int32", "low=1.5, high=3.5"),
        ("bool", "low=0, high=1"), ("uint8", "low=-3, high=1"), ("float32", "low=-inf, high=1"), ("int32", "low=1e30"),
        ("float32", "low=1e300"), ("bool", "exclude_zero=True"), ("int8", "low=0, high=2, exclude_zero=True"),
        ("float32", "low=5, high=None"), ("complex64", "low=0, high=0"), ("int64", "low=0, high=0"),
        ("int8", "low=5, high=200"), ("uint8", "low=-5, high=-2"), ("float16", "low=1e6, high=1e7"),
        ("float32", "low=T(1.), high=2")]),
]


def said(library, function, arguments):
    """What comes of it: a text."""
    names = {"t": library, "T": library.tensor, "np": np, "nan": nan, "inf": inf, "function": function}
    library.manual_seed(3)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            found = eval(f"function({arguments})", names)  # texts of this file
            found = found if found is None else (str(found), found.stride(), found.requires_grad)
        except Exception as error:
            kinds = re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", str(error))
            found = type(error).__name__, re.sub(r" object at 0x\w+", "", kinds)
    return str(found), [str(w.message) for w in seen if w.category is FutureWarning]


@pytest.mark.parametrize("case", CASES)
def test_assert_close(oracle, case):
    theirs = oracle(lambda torch: said(torch, torch.testing.assert_close, case), case)
    assert said(facula, facula.testing.assert_close, case) == theirs


@pytest.mark.parametrize("case", OLD)
def test_assert_allclose(oracle, case):
    theirs = oracle(lambda torch: said(torch, torch.testing.assert_allclose, case), case)
    assert said(facula, facula.testing.assert_allclose, case) == theirs


@pytest.mark.parametrize("case", MADE)
def test_make_tensor(oracle, case):
    theirs = oracle(lambda torch: said(torch, torch.testing.make_tensor, case), case)
    assert said(facula, facula.testing.make_tensor, case) == theirs


def test_a_bool_is_no_number_and_tolerances_are_not_negative():
    with pytest.raises(TypeError, match="bool and <class 'int'>|<class 'bool'> and <class 'int'>"):
        facula.testing.assert_close(True, 1)
    with pytest.raises(ValueError, match="greater than or equal to zero, but got -1"):
        facula.testing.assert_close(1.0, 1.0, rtol=-1, atol=0)


def test_integers_far_apart_are_not_close():
    for of in (facula.int8, facula.int16, facula.int32, facula.int64):
        limits = facula.iinfo(of)
        a, b = facula.tensor([limits.max], dtype=of), facula.tensor([limits.min], dtype=of)
        for tolerances in ({}, {"rtol": 0, "atol": 0}, {"rtol": 0.1, "atol": 5}):
            assert not facula.isclose(a, b, **tolerances)
            assert not facula.allclose(b, a, **tolerances)
        with pytest.raises(AssertionError, match="Tensor-likes are not equal"):
            facula.testing.assert_close(a, b)
    a, b = (facula.tensor(values, dtype=facula.uint8) for values in ([0, 1, 255], [1, 0, 0]))
    near = facula.isclose(a, b, rtol=0, atol=1)
    assert near.tolist() == [True, True, False]
    inf = float("inf")
    found = facula.isclose(facula.tensor([inf, inf, 1e38]), facula.tensor([3e38, inf, 1.0]), rtol=10, atol=inf)
    assert found.tolist() == [False, True, True]


def test_bytes_are_sequences():
    facula.testing.assert_close(b"ab", b"ab")
    with pytest.raises(AssertionError, match=r"Expected 99 but got 98(?s:.*)The failure occurred for item \[1\]"):
        facula.testing.assert_close(b"ab", b"ac")
    with pytest.raises(TypeError, match="No comparison pair"):
        facula.testing.assert_close("ab", "ab")


def test_ranges_of_made_tensors():
    made = facula.testing.make_tensor(200, dtype=facula.float16, device="cpu", low=-1e40, high=1e40)
    assert made.isfinite().all()
    assert made.min() < -30000 < 30000 < made.max()
    with pytest.raises(ValueError, match="`low` must be less than `high`, but got -9 >= -20"):
        facula.testing.make_tensor(2, dtype=facula.uint8, device="cpu", high=-20)
    assert facula.testing.make_tensor(200, dtype=facula.uint8, device="cpu").max() <= 9
    for wrong in ("float32", facula.quint8, None):
        with pytest.raises(TypeError, match="is not supported by torch.testing.make_tensor"):
            facula.testing.make_tensor(2, dtype=wrong, device="cpu")
