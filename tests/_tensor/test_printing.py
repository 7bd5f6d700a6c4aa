"""Printing: torch's text to the letter, for random arrays (on record are digests of the texts) and for some cases."""

import hashlib
import math
import types

import numpy as np
import pytest

from facula import dtypes
from facula._tensor import printing
from facula._tensor.printing import format_array, printoptions
from facula.defaults import set_default_dtype
from facula.devices import device
from facula.rng.rounding import to_bfloat16

SHAPES = [(), (1,), (3,), (6,), (7,), (25,), (1, 1), (2, 3), (3, 1), (4, 21), (2, 3, 4), (1, 2, 1, 3),
          (2, 2, 2, 2, 2), (1001,), (40, 30), (5, 6, 7, 8), (2, 600), (600, 2), (3, 7, 60), (6, 6, 30),
          (1, 1, 2000)]
OPTIONS = [{}, {"precision": 2}, {"precision": 8}, {"precision": 0}, {"threshold": 5},
           {"threshold": 5, "edgeitems": 1}, {"threshold": 3, "edgeitems": 5}, {"linewidth": 40},
           {"linewidth": 10}, {"linewidth": 200}, {"sci_mode": True}, {"sci_mode": False},
           {"profile": "short"}, {"profile": "full"}, {"threshold": 4, "edgeitems": 0}, {"threshold": 0},
           {"sci_mode": True, "precision": 1, "linewidth": 33}]
MAGNITUDES = ["unit", "whole", "wide", "tiny", "huge", "special", "zeros", "nonfinite", "large_whole",
              "mixed_sign"]


def sample(rng, shape, dtype, magnitude):
    """A random array of a magnitude, as float64 or complex128."""
    def real():
        x = rng.standard_normal(shape)
        match magnitude:
            case "whole":
                return np.round(x * 20)
            case "wide":
                return x * 10.0 ** rng.integers(-6, 6, shape)
            case "tiny":
                return x * 1e-6
            case "huge":
                return x * 1e4 * 10.0 ** rng.integers(0, 8)
            case "special":
                odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], shape)
                return np.where(rng.random(shape) < 0.4, odd, x)
            case "zeros":
                return np.where(rng.random(shape) < 0.5, 0.0, -0.0)
            case "nonfinite":
                return rng.choice([np.nan, np.inf, -np.inf], shape)
            case "large_whole":
                return np.round(x * 10.0 ** rng.integers(1, 12))
            case "mixed_sign":
                return np.round(x * 3) + rng.choice([0.0, 0.5], shape)
        return x
    return real() + 1j * real() if dtype.is_complex else real()


def pair(rng, shape, dtype, magnitude):
    """The same elements as what becomes a torch tensor, and as the array that carries them here."""
    with np.errstate(all="ignore"):
        x = np.asarray(sample(rng, shape, dtype, magnitude))
        if dtype is dtypes.bool_:
            x = x > 0
        elif not (dtype.is_floating_point or dtype.is_complex):
            limit = 2.0 ** (8 * dtype.itemsize - 1) - 1
            x = np.clip(np.nan_to_num(x), 0 if not dtype.is_signed else -limit, min(limit, 2.0**62))
        ours = np.asarray(x.astype(np.float32 if dtype is dtypes.bfloat16 else dtype.numpy))
    return ours, to_bfloat16(ours) if dtype is dtypes.bfloat16 else ours


def printed(torch, array, dtype=None, **options):
    """What torch prints."""
    tensor = torch.from_numpy(array)
    torch.set_printoptions(profile="default")
    torch.set_printoptions(**options)
    try:
        return repr(tensor.bfloat16() if dtype is dtypes.bfloat16 else tensor)
    finally:
        torch.set_printoptions(profile="default")


def brief(text):
    """The text if it is short, else its start and a digest."""
    return text if len(text) < 50 else f"{text[:20]} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def fake(array, dtype, **fields):
    """What printing asks of a tensor, without a tensor."""
    tensor = types.SimpleNamespace(dtype=dtype, shape=array.shape, device=device("cpu"), requires_grad=False,
                                   grad_fn=None, array=array)
    vars(tensor).update(fields)
    return tensor


@pytest.fixture
def repr_of(monkeypatch):
    monkeypatch.setattr(printing, "_array", lambda tensor: tensor.array)
    monkeypatch.setattr(printing, "_is_plain", lambda cls: True)
    return printing.tensor_repr


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_random_arrays_print_as_in_torch(dtype, magnitude, repr_of, oracle):
    rng = np.random.default_rng([dtype.index, MAGNITUDES.index(magnitude)])
    ours, theirs = [], []  # all of them at once: one record
    for number, shape in enumerate(SHAPES):
        chosen = OPTIONS[(number + dtype.index) % len(OPTIONS)], OPTIONS[rng.integers(len(OPTIONS))]
        for options in ({}, *chosen):
            given, carried = pair(rng, shape, dtype, magnitude)
            theirs.append((given, options))
            with printoptions(**options):
                ours.append(repr_of(fake(carried, dtype)))
    expected = oracle(lambda torch: [brief(printed(torch, given, dtype, **options)) for given, options in theirs])
    for text, wanted, (given, options) in zip(ours, expected, theirs, strict=True):
        assert brief(text) == wanted, (given.shape, options, text)


@pytest.mark.parametrize("default", ["float16", "bfloat16", "float32", "float64"])
def test_the_default_dtype_is_not_shown(default, repr_of, oracle):
    cases = [(dtype, shape) for dtype in dtypes.ALL for shape in ((), (2,), (0,), (0, 3), (2, 0, 1))]

    def texts(torch):
        torch.set_default_dtype(getattr(torch, default))
        try:
            return [repr(torch.zeros(shape, dtype=getattr(torch, dtype.name))) for dtype, shape in cases]
        finally:
            torch.set_default_dtype(torch.float32)

    set_default_dtype(getattr(dtypes, default))
    try:
        assert [repr_of(fake(np.zeros(shape, dtype.numpy), dtype)) for dtype, shape in cases] == oracle(texts)
    finally:
        set_default_dtype(dtypes.float32)


def test_non_contiguous_arrays(repr_of, oracle):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 40)).astype(np.float32)
    for view in (x.T, x[::2, ::3], x[:, 5], x[3:4].T, x.reshape(10, 5, 40).transpose(2, 0, 1)):
        expected = oracle(lambda torch, view=view: brief(printed(torch, view)))
        assert brief(repr_of(fake(view, dtypes.float32))) == expected


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80])
@pytest.mark.parametrize("shape", [(), (2,), (6,), (2, 3), (1, 0)])
def test_suffixes_wrap_as_in_torch(width, shape, repr_of, oracle):
    x = np.ones(shape, np.float16)

    def texts(torch):
        plain = torch.from_numpy(x)
        leaf = plain.clone().requires_grad_()
        torch.set_printoptions(linewidth=width)
        try:
            return [repr(plain), repr(leaf), repr(leaf * 2)]
        finally:
            torch.set_printoptions(profile="default")

    named = type("MulBackward0", (), {})()
    ours = [fake(x, dtypes.float16), fake(x, dtypes.float16, requires_grad=True),
            fake(x * 2, dtypes.float16, requires_grad=True, grad_fn=named)]
    with printoptions(linewidth=width):
        assert [repr_of(one) for one in ours] == oracle(texts)


RECORDED = [  # from torch 2.13
    (np.array(1.5, np.float32), dtypes.float32, "1.5000"),
    (np.array([1.0, 2.0], np.float32), dtypes.float32, "[1., 2.]"),
    (np.array([1.0, np.nan, -np.inf], np.float32), dtypes.float32, "[1., nan, -inf]"),
    (np.array([1e-5, 1.0], np.float32), dtypes.float32, "[1.0000e-05, 1.0000e+00]"),
    (np.array([1e9], np.float32), dtypes.float32, "[1.0000e+09]"),
    (np.array([True, False]), dtypes.bool_, "[ True, False]"),
    (np.array([-1, 10]), dtypes.int64, "[-1, 10]"),
    (np.array([1 + 2j, -0.5j], np.complex64), dtypes.complex64, "[1.+2.0000j, -0.-0.5000j]"),
    (np.array([0x3FC0, 0x4000], np.uint16), dtypes.bfloat16, "[1.5000, 2.0000]"),
    (np.zeros((0, 3), np.float32), dtypes.float32, "[]"),
    (np.arange(2000), dtypes.int64, "[   0,    1,    2,  ..., 1997, 1998, 1999]"),
    (np.zeros((2, 2, 2), np.float32), dtypes.float32,
     "[[[0., 0.],\n  [0., 0.]],\n\n [[0., 0.],\n  [0., 0.]]]"),
]


@pytest.mark.parametrize(("array", "dtype", "text"), RECORDED, ids=[case[2][:20] for case in RECORDED])
def test_recorded(array, dtype, text):
    assert format_array(array, dtype) == text


def test_recorded_suffixes(repr_of):
    x = np.zeros((2,), np.float32)
    assert repr_of(fake(x, dtypes.float32)) == "tensor([0., 0.])"
    assert repr_of(fake(x, dtypes.float32, requires_grad=True)) == "tensor([0., 0.], requires_grad=True)"
    assert repr_of(fake(np.zeros((0, 3)), dtypes.float64)) == "tensor([], size=(0, 3), dtype=torch.float64)"
    meta = fake(x, dtypes.float32, device=device("meta"))
    assert repr_of(meta) == "tensor(..., device='meta', size=(2,))"


def test_only_the_edges_of_a_large_array_are_converted(monkeypatch):
    seen = []
    readable = printing._readable
    monkeypatch.setattr(printing, "_readable",
                        lambda array, of: seen.append(array.size) or readable(array, of))
    format_array(np.zeros((100, 100, 100), np.float32), dtypes.float32)
    assert seen == [6 * 6 * 6]


def test_printoptions_are_restored():
    before = printing.get_printoptions()
    with pytest.raises(ZeroDivisionError), printoptions(precision=1, profile="full", sci_mode=True):
        assert printing.get_printoptions()["threshold"] == math.inf
        raise ZeroDivisionError
    assert printing.get_printoptions() == before
