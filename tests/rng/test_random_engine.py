"""The random engine against PyTorch: numbers and states, bit for bit. Recorded digests do without torch."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from facula import dtypes
from facula.ops.random import values as random_values
from facula.rng import Engine, native
from facula.rng.rounding import fma, from_bfloat16, to_bfloat16
from recorded import torch_or_none

torch = torch_or_none()
needs_torch = pytest.mark.torch

SEEDS = (0, 1, 42, 2**31, 2**40 + 7, -5)
SIZES = (0, 1, 2, 5, 15, 16, 17, 31, 32, 100, 1000, 4097, 100000)
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")


class Pair:
    """The same generator twice: ours and torch's. `check` notes what both drew and both states, `compare` compares.

    Of torch's draws, which are made at the check, only digests are looked at, so that records can stand for them.
    """

    def __init__(self, seed):
        self.ours = Engine(seed)
        self.theirs = torch and torch.Generator().manual_seed(seed)
        self.notes, self.their_notes = [], []

    def empty(self, count, name):
        return torch.empty(count, dtype=getattr(torch, name))

    def check(self, ours, draw):
        self.notes.append(note(ours, self.ours.get_state()))
        if torch is not None:
            theirs = draw()
            array = theirs.view(torch.uint16).numpy() if theirs.dtype == torch.bfloat16 else theirs.numpy()
            self.their_notes.append(note(array, self.theirs.get_state().numpy()))

    def compare(self, oracle):
        for k, (ours, theirs) in enumerate(zip(self.notes, oracle(lambda _: self.their_notes), strict=True)):
            assert ours == theirs, f"check {k}"


def note(array, state):
    """Dtype, shape, and a digest of the elements and of the state afterwards."""
    return f"{array.dtype}{list(array.shape)} {hashlib.sha256(array.tobytes() + state.tobytes()).hexdigest()[:10]}"


def facula_dtype(name):
    return getattr(dtypes, "bool_" if name == "bool" else name)


@pytest.fixture(params=SEEDS)
def pair(request, oracle):
    made = Pair(request.param)
    yield made
    made.compare(oracle)


@pytest.mark.parametrize("name", FLOATS)
def test_continuous(pair, name):
    """Different calls one after another: a left-over normal number must survive the calls between."""
    ours, g, t = pair.ours, pair.theirs, facula_dtype(name)
    for n in SIZES:
        def new(n=n):
            return pair.empty(n, name)
        pair.check(ours.uniform(n, t), lambda: torch.rand(n, dtype=new().dtype, generator=g))
        for low, high in ((-1.0, 1.0), (-0.3, 1.4), (0.0, 1000.0), (2.5, 2.5)):
            pair.check(ours.uniform(n, t, low, high), lambda: new().uniform_(low, high, generator=g))
        pair.check(ours.normal(n, t), lambda: torch.randn(n, dtype=new().dtype, generator=g))
        for mean, std in ((0.0, 0.02), (1.7, 2.3), (-3.0, 0.0)):
            pair.check(ours.normal(n, t, mean, std), lambda: new().normal_(mean, std, generator=g))
        pair.check(ours.normal(n, t, 1.7, 2.3, contiguous=n < 2), lambda: pair.empty(2 * n, name)[::2].normal_(
            1.7, 2.3, generator=g).contiguous())
        pair.check(ours.exponential(n, t), lambda: new().exponential_(generator=g))
        pair.check(ours.exponential(n, t, 0.37), lambda: new().exponential_(0.37, generator=g))
        pair.check(ours.log_normal(n, t), lambda: new().log_normal_(generator=g))
        pair.check(ours.log_normal(n, t, 0.3, 0.7), lambda: new().log_normal_(0.3, 0.7, generator=g))
        pair.check(ours.cauchy(n, t), lambda: new().cauchy_(generator=g))
        pair.check(ours.cauchy(n, t, 1.3, 2.7), lambda: new().cauchy_(1.3, 2.7, generator=g))


@pytest.mark.parametrize("name", (*FLOATS, *INTEGERS, "bool"))
def test_discrete(pair, name):
    ours, g, t = pair.ours, pair.theirs, facula_dtype(name)
    for n in SIZES:
        def new(n=n):
            return pair.empty(n, name)
        pair.check(ours.random_fill(n, t), lambda: new().random_(generator=g))
        pair.check(ours.bernoulli(n, t, 0.3), lambda: new().bernoulli_(0.3, generator=g))
        pair.check(ours.integers(n, t, 0, 2), lambda: new().random_(0, 2, generator=g))
        if name != "bool":
            pair.check(ours.integers(n, t, 3, 120), lambda: new().random_(3, 120, generator=g))
            pair.check(ours.geometric(n, t, 0.3), lambda: new().geometric_(0.3, generator=g))
        if name in FLOATS:
            p = ours.uniform(n, t)
            wide = from_bfloat16(p) if name == "bfloat16" else p if name == "float64" else p.astype(np.float32)
            pair.check(ours.bernoulli(n, t, wide), lambda: torch.bernoulli(new().uniform_(generator=g), generator=g))


@pytest.mark.parametrize("low, high", [(0, 2**28 - 1), (0, 2**28), (-5, 2**31), (0, 2**32), (-2**40, 2**61)])
def test_ranges(pair, low, high):
    """32 bits a number below a range of 2**28, 64 bits from there."""
    for n in SIZES:
        pair.check(pair.ours.integers(n, dtypes.int64, low, high),
                   lambda: torch.randint(low, high, (n,), generator=pair.theirs))
        pair.check(pair.ours.integers(n, dtypes.int64, -2**63, 2**63),
                   lambda: pair.empty(n, "int64").random_(-2**63, None, generator=pair.theirs))


BOUNDS = [
    (0, 1), (0, 2**11 + 1), (0, 5000), (-5000, -4001), (2049, 2050), (2049, 2052), (0, 65504), (0, 65521),
    (0, 70000), (-70000, 2), (255, 259), (0, 257), (0, 258), (-300, -257), (2**24 - 3, 2**24 + 5),
    (0, 2**25 + 1), (0, 2**53 + 3), (-2**63, 2**63 - 1), (0, 2**63 - 1), (5, 5), (0, 256), (-129, 2),
    (0, 128), (0, 129), (0, 3), (-2**63, None), (3, None), (-1, None), (127, None), (128, None),
    (2**62, None),
]


@pytest.mark.filterwarnings("ignore:.*is out of bounds")
@pytest.mark.parametrize("name", (*FLOATS, *INTEGERS, "bool", "complex64"))
def test_bounds(name, oracle):
    """What rounds to the bound must not be drawn; what does not fit is refused in torch's words."""
    refusals = RuntimeError, NotImplementedError
    t = facula_dtype(name)

    def ours(low, high):
        engine = Engine(3)
        try:
            return note(random_values.integers(9, t, low, high, engine), engine.get_state())
        except refusals as error:
            return f"{type(error).__name__}: {error}"

    def theirs(torch, low, high):
        pair = Pair(3)
        try:
            pair.check(np.zeros(0), lambda: pair.empty(9, name).random_(low, high, generator=pair.theirs))
        except refusals as error:
            return f"{type(error).__name__}: {error}"
        return pair.their_notes[0]

    expected = oracle(lambda torch: [theirs(torch, *bounds) for bounds in BOUNDS])
    for bounds, answer in zip(BOUNDS, expected, strict=True):
        assert ours(*bounds) == answer, bounds


def test_permutation(pair):
    for n in SIZES:
        pair.check(pair.ours.permutation(n), lambda: torch.randperm(n, generator=pair.theirs))


@pytest.mark.parametrize("name", ("float32", "float64"))
def test_multinomial(pair, name):
    weights = Engine(1)  # not any: of equal keys torch's topk may take either first
    for n in (2, 5, 17, 1000):
        w = weights.uniform(3 * n, facula_dtype(name)).reshape(3, n)
        for k in (1, 2, n):
            ours = pair.ours.multinomial(w, k, False, facula_dtype(name))
            pair.check(ours, lambda: torch.multinomial(torch.from_numpy(w), k, generator=pair.theirs))
            ours = pair.ours.multinomial(w, 50 * k, True, facula_dtype(name))
            pair.check(ours, lambda: torch.multinomial(torch.from_numpy(w), 50 * k, True, generator=pair.theirs))


def test_poisson(pair):
    rates = Engine(1).uniform(1000, dtypes.float64) * 30
    ours = pair.ours.poisson(rates).astype(np.float64)
    pair.check(ours, lambda: torch.poisson(torch.from_numpy(rates), generator=pair.theirs))


@needs_torch
def test_state_goes_both_ways():
    for draws in (0, 1, 5, 623, 624, 625, 5000):
        pair = Pair(7)
        pair.ours.normal(draws, dtypes.float32, contiguous=False)
        pair.theirs.set_state(torch.from_numpy(pair.ours.get_state()))
        pair.check(pair.ours.normal(3, dtypes.float32), lambda: torch.randn(3, generator=pair.theirs))
        torch.rand(draws, generator=pair.theirs)
        pair.ours.set_state(pair.theirs.get_state().numpy())
        pair.check(pair.ours.normal(33, dtypes.float32), lambda: torch.randn(33, generator=pair.theirs))
        assert pair.ours.initial_seed == pair.theirs.initial_seed()
        assert pair.notes == pair.their_notes


def test_bad_state():
    engine = Engine(0)
    with pytest.raises(RuntimeError, match="5056"):
        engine.set_state(np.zeros(10, np.uint8))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        engine.set_state(np.zeros(5056, np.uint8))
    with pytest.raises(TypeError, match="ByteTensor"):
        engine.set_state(np.zeros(5056, np.int8))


@pytest.mark.parametrize("mean, std", [(0.0, 1.0), (0.0, 0.02), (1.7, 2.3), (0.0, 0.0)])
def test_native_normals(monkeypatch, mean, std, oracle):
    """Machine code and NumPy give the same bits; so does torch for large tensors."""
    if native.normal_transform() is None:
        pytest.skip("no llvmlite, or no fused multiply-add")
    n = 300_007
    ours, numpy_only = Engine(9), Engine(9)
    monkeypatch.setattr(native, "WORTHWHILE", 0)
    fast = ours.normal(n, dtypes.float32, mean, std)
    monkeypatch.setattr(native, "WORTHWHILE", 1 << 60)
    assert numpy_only.normal(n, dtypes.float32, mean, std).tobytes() == fast.tobytes()
    assert (ours.get_state() == numpy_only.get_state()).all()
    expected = oracle(lambda torch: hashlib.sha256(torch.empty(n).normal_(
        mean, std, generator=torch.Generator().manual_seed(9)).numpy().tobytes()).hexdigest())
    assert expected == hashlib.sha256(fast.tobytes()).hexdigest()


def test_native_shuffle(monkeypatch):
    if native.shuffle() is None:
        pytest.skip("no llvmlite")
    monkeypatch.setattr(native, "WORTHWHILE", 0)
    fast = Engine(9).permutation(100_000)
    monkeypatch.setattr(native, "WORTHWHILE", 1 << 60)
    assert (Engine(9).permutation(100_000) == fast).all()


def test_many_short_shuffles_are_not_worth_machine_code():
    drawn = native.Drawn(native.shuffled.call)
    assert not any(drawn.is_worthwhile(4 * 10) for _ in range(1000)) and drawn.is_worthwhile(4 * 30_000)


def test_many_small_draws_are_worth_machine_code(monkeypatch):
    """A training draws a thousand normals a step: after a while they are not NumPy's."""
    drawn = native.Drawn(native.normals.call)
    assert not any(drawn.is_worthwhile(1000) for _ in range(10)) and any(drawn.is_worthwhile(1000) for _ in range(20))
    monkeypatch.setattr(native, "normals", drawn)
    quick = Engine(5).normal(1007, dtypes.bfloat16, 0.5, 2.0)
    monkeypatch.setattr(native, "normals", native.Drawn())
    assert (Engine(5).normal(1007, dtypes.bfloat16, 0.5, 2.0) == quick).all()


def test_state_replays():
    engine = Engine(3)
    engine.normal(3, dtypes.float32)
    state = engine.get_state()
    first = engine.normal(101, dtypes.float64)
    engine.set_state(state)
    assert (engine.normal(101, dtypes.float64) == first).all()
    assert engine.initial_seed == 3


def digest(x):
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:12]


# Recorded from PyTorch 2.13.0 on x86-64 with `record(...)` below.
RECORDED = {
    0: [
        "1ccf17250133", "20221bec9830", "b2de0c714431", "d27ca943bfe0", "08887e1884c2", "a846408e73d5",
        "5de1c837faa8", "c5ae09fd3cb2", "f04023bb0ec1", "110faec43128", "156f32017e89", "09a4b2869072",
        "0cfcde55e7ab", "b354bd8fc1cf", "86843c67fc3a",
    ],
    42: [
        "5feb54a46230", "80ff065ee30a", "8abc1e4df85e", "fbef757c1fdc", "f1ec92f7eebb", "db283bd01a63",
        "d229d41b1ed1", "e0b9d7a65b0d", "eac606a5d189", "efcb1a7678be", "3ce440cb5cd0", "ea503cb2dbbe",
        "c37f84337d2c", "fd2b2ee97215", "98d8c37f2d1b",
    ],
    1099511627783: [
        "08e51d64c2cb", "40cacda114f1", "f4bf9181a86e", "b698076f5b67", "06eb078066a5", "229f8d90d468",
        "8db6b85baf0c", "4d34b64d9301", "3994804afa0b", "dd5b2cb4119a", "3b3180da242c", "8bb56f7a579f",
        "05658ee9a5f1", "a22d0a74e5cf", "15e9f3700434",
    ],
    -5: [
        "a4cd3c34b98f", "61cf1b409f1c", "47873f800294", "1f86d6a60496", "044738aca28b", "adc385db5bef",
        "026905167afb", "c5a6fd04f9b0", "5ac47c857506", "a4c23b42277c", "d52e4f59f18a", "fa97480a78ab",
        "e97829cd3e0a", "d5a45877f795", "99fce943b745",
    ],
}


def record(fill):
    """What RECORDED holds: the digests of `fill`, in order, for one seed."""
    return [digest(x) for x in fill]


def drawn(engine):
    d = dtypes
    yield engine.get_state()
    yield engine.uniform(1000, d.float32)
    yield engine.uniform(1000, d.float64, -1.0, 1.0)
    yield engine.uniform(1000, d.bfloat16)
    yield engine.uniform(1000, d.float16)
    yield engine.normal(5, d.float32)
    yield engine.normal(1001, d.float32, 0.5, 2.0)
    yield engine.normal(1001, d.bfloat16)
    yield engine.normal(2, d.float64)
    yield engine.integers(1000, d.int64, 0, 1000)
    yield engine.integers(1000, d.int64, -5, 2**40)
    yield engine.permutation(1000)
    yield engine.bernoulli(1000, d.float32, 0.3)
    yield engine.exponential(1000, d.float32)
    yield engine.get_state()


@pytest.mark.parametrize("seed", sorted(RECORDED))
def test_recorded(seed):
    assert record(drawn(Engine(seed))) == RECORDED[seed]


@pytest.mark.parametrize("bits", (np.float32, np.float64))
def test_fma_rounds_once(bits):
    """Against exact rational arithmetic."""
    from fractions import Fraction
    random = np.random.default_rng(0)
    a = random.standard_normal(500).astype(bits)
    b, c = bits(random.standard_normal()), bits(random.standard_normal())
    exact = [Fraction(float(x)) * Fraction(float(b)) + Fraction(float(c)) for x in a]
    got = fma(a, float(b), float(c))
    up, down = np.nextafter(got, bits(np.inf)), np.nextafter(got, bits(-np.inf))
    for e, g, neighbours in zip(exact, got, zip(up, down, strict=True), strict=True):
        assert all(abs(e - Fraction(float(g))) <= abs(e - Fraction(float(n))) for n in neighbours)


def test_bfloat16_rounding():
    x = np.array([1.0, 1.00390625, 1.01171875, np.inf, -0.0, 3.4e38, np.nan], np.float32)
    assert to_bfloat16(x).tolist() == [0x3F80, 0x3F80, 0x3F82, 0x7F80, 0x8000, 0x7F80, 0x7FC0]
    assert from_bfloat16(np.array([0x3F80], np.uint16)).tolist() == [1.0]
