"""Numbers as arguments: Python's, NumPy's and those of tensors without dimensions are one, and none wraps or has
another dtype's bits. What is expected is what PyTorch 2.13 gave."""

import numpy as np
import pytest

import facula

BASES = [facula.int64, facula.int8, facula.float32, facula.bool, facula.complex64]
FRACTIONS = [1.5, np.float64(1.5), np.float32(1.5), np.float16(1.5), "0-d"]


def of(alpha):
    return facula.tensor(1.5) if isinstance(alpha, str) else alpha


@pytest.mark.parametrize("alpha", FRACTIONS, ids=repr)
@pytest.mark.parametrize("base", BASES, ids=str)
def test_fractions_times_rows_that_are_added(base, alpha):
    """`index_add` takes them in the dtype of its elements."""
    for rows in ((), (3,)):
        x, source = facula.zeros(2, *rows, dtype=base), facula.ones(1, *rows, dtype=base)
        found = x.index_add(0, facula.tensor([0]), source, alpha=of(alpha))
        wanted = 1.5 if base in (facula.float32, facula.complex64) else 1
        assert found.dtype is base and (found[0] == wanted).all() and not found[1].any()
        assert x.index_add_(0, facula.tensor([0]), source, alpha=of(alpha)).tolist() == found.tolist()


@pytest.mark.parametrize("alpha", [*FRACTIONS, 1 + 1j], ids=repr)
def test_whole_numbers_take_no_fractions(alpha):
    x = facula.ones(2, dtype=facula.int64)
    for call in (facula.add, facula.sub):
        with pytest.raises(RuntimeError, match="must not be a floating point number"):
            call(x, x, alpha=of(alpha))
    with pytest.raises(RuntimeError, match="must not be a floating point number"):
        facula.addr(facula.ones(2, 2, dtype=facula.int64), x, x, alpha=of(alpha))


@pytest.mark.parametrize("number", [np.uint8(200), np.int16(200), np.float16(200), 200], ids=repr)
def test_numpys_small_numbers_do_not_wrap(number):
    for alpha in (2, np.uint8(2), np.int8(2), facula.tensor(2)):
        assert facula.add(facula.tensor([1.0]), number, alpha=alpha).item() == 401
        assert facula.sub(facula.tensor([1.0]), number, alpha=alpha).item() == -399
        assert facula.tensor([1.0]).add_(number, alpha=alpha).item() == 401
    assert facula.add(facula.tensor([1.0]), np.float16(60000), alpha=2).item() == 120001


def test_numbers_that_do_not_fit():
    x, whole, tiny = facula.ones(2), facula.ones(2, dtype=facula.int64), facula.ones(2, dtype=facula.int8)
    at = facula.tensor([0, 1])
    for call in (lambda: tiny.index_add(0, at, tiny, alpha=300), lambda: facula.add(tiny, tiny, alpha=300),
                 lambda: facula.addcmul(tiny, tiny, tiny, value=300), lambda: x.index_add(0, at, x, alpha=1j),
                 lambda: whole.index_add(0, at, whole, alpha=1j), lambda: facula.addcmul(x, x, x, value=1j),
                 lambda: facula.addmm(x[:, None], x[:, None], x[None, :1], alpha=1j),
                 lambda: facula.linspace(-5, 300, 4, dtype=facula.uint8)):
        with pytest.raises(RuntimeError, match="without overflow"):
            call()
    with pytest.raises(RuntimeError, match="must not be a complex number"):
        facula.add(x, x, alpha=1j)
    with pytest.raises(RuntimeError, match="Boolean alpha"):
        facula.sub(x, x[0].item(), alpha=True)


@pytest.mark.parametrize("what", [None, "False", "2", [], [1]], ids=repr)
def test_what_is_no_number(what):
    x, flags = facula.ones(2), facula.tensor([True, False])
    for call in (lambda: facula.add(x, x, alpha=what), lambda: x.index_add(0, facula.tensor([0, 1]), x, alpha=what),
                 lambda: facula.full((2,), what, dtype=facula.bool), lambda: flags.masked_fill(flags, what),
                 lambda: flags.clone().fill_(what), lambda: flags.index_fill(0, facula.tensor([0]), what),
                 lambda: facula.addcmul(x, x, x, value=what)):
        with pytest.raises(TypeError):
            call()


def test_negative_numbers_of_numpy_into_bytes():
    x = facula.zeros(2, dtype=facula.uint8)
    assert x.clone().fill_(np.int64(-3)).tolist() == [253, 253]
    assert facula.full((1,), np.int16(-3), dtype=facula.uint8).item() == 253
    assert x.masked_fill(facula.tensor([True, False]), np.int64(-3)).tolist() == [253, 0]


def test_counts_may_be_tensors():
    n = facula.tensor(3)
    assert facula.hann_window(n).tolist() == facula.hann_window(3).tolist()
    assert facula.fft.fftfreq(n).tolist() == facula.fft.fftfreq(3).tolist()
    assert facula.fft.rfftfreq(n).tolist() == facula.fft.rfftfreq(3).tolist()
    assert sorted(facula.randperm(facula.tensor(3, dtype=facula.int8)).tolist()) == [0, 1, 2]


def test_sizes_and_ends_that_are_none():
    for call in (lambda: facula.zeros(facula.tensor([2, 3])), lambda: facula.randint(3),
                 lambda: facula.randint(2.7, (2,)), lambda: facula.randint(0.5, 2.7, (2,))):
        with pytest.raises(TypeError):
            call()
    for ends in ((3, 1), (1, 3, -1), (1, 3, 0)):
        with pytest.warns(UserWarning), pytest.raises(RuntimeError):
            facula.range(*ends)


def test_results_go_to_other_dtypes():
    assert facula.normal(facula.ones(2), 0.0, out=facula.zeros(2, dtype=facula.float64)).tolist() == [1, 1]
    assert facula.bernoulli(facula.ones(2), out=facula.zeros(2, dtype=facula.float64)).tolist() == [1, 1]


def test_a_range_that_large_elements_do_not_have():
    assert facula.histc(facula.full((4,), 1e8), 4).tolist() == [0, 0, 4, 0]
    assert facula.histogram(facula.arange(10.0))[0].shape == (100,)


def test_paddings_that_a_double_does_not_hold():
    """`constant_pad_nd` takes whole numbers as they are; `pad` takes a double."""
    x, far = facula.zeros(1, dtype=facula.int64), 2**53 + 1
    assert facula.constant_pad_nd(x, (0, 1), far).tolist() == [0, far]
    assert facula.nn.functional.pad(x, (0, 1), value=far).tolist() == [0, far - 1]
    assert facula.constant_pad_nd(x.to(facula.uint8), (0, 1), -1).tolist() == [0, 255]
    with pytest.raises(RuntimeError, match="without overflow"):
        facula.nn.functional.pad(x.to(facula.uint8), (0, 1), value=-1)
