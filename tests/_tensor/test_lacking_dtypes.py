"""Types that torch has and Facula lacks: names to compare with, of which nobody can make elements."""

import pickle

import pytest

import facula
from facula import dtypes


@pytest.mark.parametrize("name", dtypes.LACKING)
def test_a_name_to_compare_with(name):
    of = getattr(facula, name)
    assert isinstance(of, facula.dtype) and repr(of) == f"torch.{name}" and of not in dtypes.ALL
    assert {of: 1}[of] == 1 and pickle.loads(pickle.dumps(of)) is of
    assert of.is_floating_point == name.startswith("float") and of.is_complex == name.startswith("complex")
    assert of.is_signed != name.startswith(("uint", "quint", "float8_e8m0"))


@pytest.mark.parametrize("call", [
    lambda of: facula.zeros(2, dtype=of), lambda of: facula.empty(2, dtype=of), lambda of: facula.rand(2, dtype=of),
    lambda of: facula.tensor([1.0], dtype=of), lambda of: facula.ones(2).to(of), lambda of: facula.randn(2).to(of),
    lambda of: facula.ones(2).type(of), lambda of: facula.arange(3, dtype=of), lambda of: facula.ones(2).sum(dtype=of),
    lambda of: facula.zeros_like(facula.ones(2), dtype=of), lambda of: facula.ones(2).new_empty(2, dtype=of),
    lambda of: facula.nn.Linear(2, 2, dtype=of), lambda of: facula.softmax(facula.ones(2), 0, dtype=of),
    lambda of: facula.promote_types(of, facula.float32), lambda of: facula.can_cast(of, facula.float32),
    lambda of: facula.frombuffer(b"abcdefgh", dtype=of)])
@pytest.mark.parametrize("name", ["float8_e4m3fn", "uint16", "qint8"])
def test_whatever_would_make_elements_is_refused(name, call):
    with pytest.raises(NotImplementedError, match=f"torch.{name}: elements of this type are not in Facula yet"):
        call(getattr(facula, name))


@pytest.mark.parametrize(("name", "text"), [
    ("float8_e4m3fn", "resolution=1, min=-448, max=448, eps=0.125, smallest_normal=0.015625, tiny=0.015625"),
    ("float8_e5m2", "resolution=1, min=-57344, max=57344, eps=0.25, smallest_normal=6.10352e-05, tiny=6.10352e-05"),
    ("float8_e4m3fnuz", "resolution=1, min=-240, max=240, eps=0.125, smallest_normal=0.0078125, tiny=0.0078125"),
    ("float8_e5m2fnuz", "resolution=1, min=-57344, max=57344, eps=0.25, smallest_normal=3.05176e-05, tiny=3.05176e-05"),
    ("float8_e8m0fnu", "resolution=1, min=5.87747e-39, max=1.70141e+38, eps=1, smallest_normal=5.87747e-39, "
                       "tiny=5.87747e-39")])
def test_limits_of_eight_bits(name, text):
    assert repr(facula.finfo(getattr(facula, name))) == f"finfo({text}, dtype={name})"


def test_limits_of_unsigned_integers():
    assert [facula.iinfo(getattr(facula, f"uint{bits}")).max for bits in (16, 32, 64)] == [65535, 2**32 - 1, 2**64 - 1]
    assert facula.finfo(facula.complex32).dtype == "float16"


def test_limits_and_defaults_are_refused_too():
    for of in (facula.qint8, facula.float4_e2m1fn_x2):
        with pytest.raises(NotImplementedError):
            (facula.finfo if of.is_floating_point else facula.iinfo)(of)
    with pytest.raises(NotImplementedError):
        facula.set_default_dtype(facula.float8_e5m2)
    assert facula.get_default_dtype() is facula.float32
