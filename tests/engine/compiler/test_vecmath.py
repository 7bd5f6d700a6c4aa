"""The emitted math functions against high precision, in ulp (units in the last place), and special values.

float32 is measured against float64 (NumPy, SciPy), float64 against mpmath at a few hundred points a region.
The bounds in `FUNCTIONS` are what was measured on far more points, rounded up a little: a bound that has to
be raised means that a function has become worse.
"""

import ctypes
import math

import mpmath
import numpy as np
import pytest

from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.emit.vecmath import MATH_FUNCTIONS, emit_math
from facula.engine.compiler.instructions import COMMON
from facula.engine.targets.processors import instructions

pytestmark = pytest.mark.compiled
mp = mpmath.mp
INF, NAN = math.inf, math.nan
TWO_ARGUMENTS = {"pow", "atan2", "hypot", "fmod", "remainder", "nextafter", "random_bits"}

# name -> (largest error in ulp: float32, float64)
FUNCTIONS = {
    "exp": (1.1, 1.0), "exp2": (1.0, 1.0), "expm1": (1.5, 1.8), "log": (0.9, 0.8), "log2": (1.0, 0.8),
    "log10": (0.9, 0.7), "log1p": (1.7, 1.4), "sin": (1.9, 1.8), "cos": (1.9, 1.8), "tan": (2.1, 2.1),
    "tanh": (1.9, 1.9), "erf": (1.2, 1.2), "erfc": (2.1, 1.7), "erfinv": (2.5, 2.4), "sinh": (1.9, 2.0),
    "cosh": (1.9, 1.4), "asin": (1.3, 1.3), "acos": (1.3, 1.2), "atan": (1.4, 2.1), "asinh": (1.9, 1.6),
    "acosh": (1.8, 1.4), "atanh": (1.9, 1.5), "lgamma": (0.6, 3.0), "digamma": (0.6, 4.5),
    "rsqrt": (1.5, 1.5),
}
ODD = {"expm1", "log1p", "sin", "tan", "tanh", "erf", "erfinv", "sinh", "asin", "atan", "asinh", "atanh"}
# where a function's values are interesting, besides the whole range of exponents
REGIONS = {
    "exp": [(-110, 90), (-750, 710)], "exp2": [(-151, 129), (-1080, 1025)], "expm1": [(-1, 1), (-50, 90)],
    "log1p": [(-0.999, 1), (0, 50)], "sin": [(-1e5, 1e5), (-1e9, 1e9)], "cos": [(-1e5, 1e5), (-1e9, 1e9)],
    "tan": [(-1e5, 1e5), (-1e9, 1e9)], "tanh": [(-1, 1), (-22, 22)], "erf": [(-1, 1), (-6, 6)],
    "erfc": [(0, 3), (0, 11), (0, 28)],
    "erfinv": [(-1, 1), (0.99, 1)], "sinh": [(-1, 1), (-720, 720)],
    "cosh": [(-1, 1), (-720, 720)], "acosh": [(1, 1.1), (1, 10)], "lgamma": [(0, 3), (0, 100)],
    "digamma": [(0, 3), (0, 100)],
}


@pytest.fixture(scope="module")
def run():
    """`run(name, *arrays)`: the function over float32 or float64 arrays, compiled once. `vector_bytes` 0: with what
    every machine has."""
    from facula.engine.runtime.cpu import jit, target

    compiled = {}

    def kernel(fn, element, lanes, count, vector_bytes):
        vector = element if lanes == 1 else f"<{lanes} x {element}>"
        narrowed = target.narrowed(target.host(), vector_bytes)
        code = Code(Module(instructions(narrowed) if vector_bytes else COMMON))
        args = []
        for j in range(count):
            place = code.op(f"getelementptr {element}, ptr %in{j}, i64 %i")
            args.append(code.op(f"load {vector}, ptr {place}, align 4"))
        result = emit_math(code, fn, element, lanes, args)
        place = code.op(f"getelementptr {element}, ptr %out, i64 %i")
        code.do(f"store {vector} {result}, ptr {place}, align 4")
        name = f"apply_{fn}_{element}_{lanes}"
        parameters = "".join(f", ptr %in{j}" for j in range(count))
        code.module.declare(name, "\n".join([
            f"define void @{name}(ptr %out, i64 %n{parameters}) {target.host().attributes} {{",
            "start:", "  br label %entry", "entry:", "  %i = phi i64 [0, %start], [%next, %last]",
            *code.lines,
            "  br label %last", "last:", f"  %next = add i64 %i, {lanes}", "  %more = icmp ult i64 %next, %n",
            "  br i1 %more, label %entry, label %done", "done:", "  ret void", "}"]))
        address = jit.module(code.module.text(), (name,))[name]
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * count)(address)

    def apply(fn, *arrays, lanes=None, vector_bytes=None):
        arrays = [np.ascontiguousarray(x).ravel() for x in np.broadcast_arrays(*arrays)]
        element = {"float32": "float", "float64": "double", "int64": "i64"}[arrays[0].dtype.name]
        lanes = lanes or (16 if element == "float" else 8)
        if vector_bytes is None:
            vector_bytes = target.host().vector_bytes
        key = fn, element, lanes, vector_bytes
        if key not in compiled:
            compiled[key] = kernel(fn, element, lanes, len(arrays), vector_bytes)
        size = arrays[0].size
        padded = [np.concatenate([x, np.ones(-size % lanes, x.dtype)]) for x in arrays]
        out = np.empty_like(padded[0])
        compiled[key](out.ctypes.data, out.size, *[x.ctypes.data for x in padded])
        return out[:size]

    return apply


def whole_range(dtype, count, seed=0):
    """Random bit patterns: every exponent, both signs, denormals, some NaN."""
    bits = np.dtype(dtype).itemsize * 8
    unsigned = np.dtype(f"u{bits // 8}")
    return np.random.default_rng(seed).integers(0, 2 ** bits, count, dtype=unsigned).view(dtype)


def specials(dtype):
    f = np.finfo(dtype)
    positive = [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, INF, f.smallest_subnormal, f.tiny / 4, f.tiny, f.max, 1e30,
                2.0 ** 60]
    near_one = [np.nextafter(dtype(1), dtype(0)), np.nextafter(dtype(1), dtype(2))]
    values = np.array([*positive, *near_one, 88.8, 709.8, 103.9, 745.2, 0.99999, 170.5], dtype)
    return np.concatenate([values, -values, [dtype(NAN)]])


def points(fn, dtype, count):
    rng = np.random.default_rng(1)
    parts = [whole_range(dtype, 2 * count), specials(dtype), rng.uniform(-10, 10, count),
             rng.normal(0, 1, count), 1 + rng.normal(0, 1e-3, count), -1 + rng.normal(0, 1e-3, count),
             np.exp(rng.uniform(-60, 60, count))]
    parts += [rng.uniform(low, high, count) for low, high in REGIONS.get(fn, [])]
    x = np.concatenate([p.astype(dtype) for p in parts])
    if fn in ("sin", "cos", "tan"):  # floats nearest to multiples of pi/2 lose the most in the reduction
        n = rng.integers(1, 2 ** 40, count)
        x = np.concatenate([x, (n * (np.pi / 2)).astype(dtype), (n % 4096 * (np.pi / 2)).astype(dtype)])
    if fn in ("lgamma", "digamma"):
        # near their negative zeros these are accurate beside the terms that cancel, not beside the result
        x = x[~((x < -1e-3) & (x > -1e15))]
    return x


def float64_reference(fn, x):
    needs_scipy = fn in ("erf", "erfc", "erfinv", "lgamma", "digamma")
    special = pytest.importorskip("scipy.special") if needs_scipy else None
    table = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh,
             "acosh": np.arccosh, "atanh": np.arctanh, "lgamma": getattr(special, "gammaln", None),
             "rsqrt": lambda v: 1 / np.sqrt(v)}
    function = table.get(fn) or getattr(special, fn, None) or getattr(np, fn)
    result = function(x.astype(np.float64))
    if fn == "lgamma":
        result[np.isinf(x)] = INF
    if fn == "digamma":
        result[x == -INF] = NAN
    return result


def exact(fn, x):
    """fn(x) for one float, as an mpf (or inf, nan)."""
    if math.isnan(x):
        return mp.nan
    v = mp.mpf(x)
    if fn in ("sin", "cos", "tan"):
        if math.isinf(x):
            return mp.nan
        with mp.workdps(360 if abs(x) > 1e15 else 60):
            return +getattr(mp, fn)(v)
    steep = {"exp": (mp.mpf(0), mp.inf), "exp2": (mp.mpf(0), mp.inf), "expm1": (mp.mpf(-1), mp.inf),
             "sinh": (-mp.inf, mp.inf), "cosh": (mp.inf, mp.inf), "tanh": (mp.mpf(-1), mp.mpf(1)),
             "erf": (mp.mpf(-1), mp.mpf(1)), "erfc": (mp.mpf(2), mp.mpf(0))}
    if fn in steep and abs(x) > (40 if fn in ("erf", "erfc") else 2000):
        return steep[fn][x > 0]
    if fn == "exp2":
        return mp.mpf(2) ** v
    if fn.startswith("log"):
        argument = 1 + x if fn == "log1p" else x
        if argument < 0:
            return mp.nan
        if argument == 0 and x in (0, -1):
            return -mp.inf
        return mp.log1p(v) if fn == "log1p" else {"log": mp.log, "log2": lambda t: mp.log(t, 2),
                                                 "log10": mp.log10}[fn](v)
    if fn == "rsqrt":
        return math.copysign(1, x) * mp.inf if x == 0 else mp.nan if x < 0 else 1 / mp.sqrt(v)
    domain = {"asin": 1, "acos": 1, "atanh": 1, "erfinv": 1}.get(fn, INF)
    if abs(x) > domain or (fn == "acosh" and x < 1):
        return mp.nan
    if fn in ("atanh", "erfinv"):
        return mp.sign(v) * mp.inf if abs(x) == 1 else v if x == 0 else getattr(mp, fn)(v)
    if fn == "asinh":
        return mp.sign(v) * mp.asinh(abs(v))
    if fn in ("lgamma", "digamma"):
        whole = x <= 0 and math.isfinite(x) and x == math.floor(x)
        if fn == "lgamma":
            return mp.inf if math.isinf(x) or whole or x > 3e305 else mp.re(mp.loggamma(v))
        if whole or x == -INF:
            return mp.nan if x else -mp.inf if math.copysign(1, x) > 0 else mp.inf
        return mp.inf if x == INF else mp.digamma(v)
    return getattr(mp, fn)(v)


def ulp_single(y, reference):
    """Error of float32 `y` in ulp, against float64; inf where one is NaN or infinite and the other is not."""
    rounded = reference.astype(np.float32)
    spacing = np.spacing(np.minimum(np.abs(rounded), np.finfo(np.float32).max)).astype(np.float64)
    error = np.abs(y.astype(np.float64) - reference) / spacing
    agree = (y == rounded) | (np.isnan(y) & np.isnan(reference))
    error[agree & ~np.isfinite(error)] = 0
    error[np.isnan(error)] = INF
    return error


def ulp_double(y, reference):
    """Error of one float64 in ulp, against an mpf."""
    y = float(y)
    if mp.isnan(reference) or math.isnan(y):
        return 0.0 if mp.isnan(reference) and math.isnan(y) else INF
    if mp.isinf(reference):
        return 0.0 if y == float(reference) else INF
    if math.isinf(y):
        return 0.0 if abs(reference) >= mp.mpf(2) ** 1024 * (1 - mp.mpf(2) ** -54) else INF
    exponent = max(int(mpmath.frexp(abs(reference))[1]), -1021) if reference else -1021
    return float(abs(mp.mpf(y) - reference) / mp.mpf(2) ** (exponent - 53))


def assert_close(fn, x, y, errors, bound):
    worst = int(np.argmax(errors))
    assert errors[worst] <= bound, f"{fn}({x[worst]!r}) = {y[worst]!r} is {errors[worst]:.2f} ulp off"


def test_every_function_is_measured():
    assert MATH_FUNCTIONS == set(FUNCTIONS) | TWO_ARGUMENTS


@pytest.mark.parametrize("fn", FUNCTIONS)
@np.errstate(all="ignore")
def test_float32(run, fn):
    x = points(fn, np.float32, 60_000)
    y = run(fn, x)
    reference = float64_reference(fn, x)
    assert_close(fn, x, y, ulp_single(y, reference), FUNCTIONS[fn][0])
    zero = (x == 0) & (fn in ODD)
    assert (np.signbit(y[zero]) == np.signbit(x[zero])).all(), "sign of zero"


@pytest.mark.parametrize("fn", FUNCTIONS)
@np.errstate(all="ignore")
def test_float64(run, fn):
    slow = fn in ("lgamma", "digamma", "erfinv", "erfc")
    with mp.workdps(40):
        x = points(fn, np.float64, 150 if slow else 500)
        y = run(fn, x)
        errors = np.array([ulp_double(b, exact(fn, float(a))) for a, b in zip(x, y, strict=True)])
    assert_close(fn, x, y, errors, FUNCTIONS[fn][1])
    if fn in ODD:
        zeros = run(fn, np.array([0.0, -0.0]))
        assert (zeros == 0).all() and np.signbit(zeros).tolist() == [False, True]


@pytest.mark.parametrize("fn", ["lgamma", "digamma"])
@np.errstate(all="ignore")
def test_gamma_by_reflection(run, fn):
    """At negative arguments the error is that of the terms that are added: more, beside a small result."""
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(-30, 0, 150), -np.exp(rng.uniform(0, 25, 50)), [-1e-20, -1e-300]])
    with mp.workdps(40):
        for a, b in zip(x, run(fn, x), strict=True):
            reference = exact(fn, float(a))
            terms = abs(mp.loggamma(-a)) if fn == "lgamma" else mp.log(1 - a)
            assert abs(mp.mpf(float(b)) - reference) <= 1e-15 * (abs(reference) + terms + 1), (a, b)


# --- two arguments

def pairs(dtype, count, seed=2):
    rng = np.random.default_rng(seed)
    s = specials(dtype)
    a, b = (v.ravel() for v in np.meshgrid(s, s))
    a = np.concatenate([a, whole_range(dtype, count, seed), rng.normal(0, 10, count).astype(dtype)])
    b = np.concatenate([b, whole_range(dtype, count, seed + 1), rng.normal(0, 1, count).astype(dtype)])
    return a, b


def assert_same(fn, a, b, y, reference):
    same = ((y == reference) & (np.signbit(y) == np.signbit(reference))) | (np.isnan(y) & np.isnan(reference))
    i = int(np.argmin(same))
    assert same.all(), f"{fn}({a[i]!r}, {b[i]!r}) = {y[i]!r}, expected {reference[i]!r}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fn", ["fmod", "nextafter"])
@np.errstate(all="ignore")
def test_exact_functions(run, fn, dtype):
    a, b = pairs(dtype, 20_000)
    assert_same(fn, a, b, run(fn, a, b), getattr(np, fn)(a, b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@np.errstate(all="ignore")
def test_remainder(run, dtype):
    a, b = pairs(dtype, 20_000)
    reference = np.fmod(a, b)
    moved = (reference != 0) & ((reference < 0) != (b < 0))
    reference[moved] += b[moved]
    assert_same("remainder", a, b, run("remainder", a, b), reference)


@np.errstate(all="ignore")
def test_remainder_as_torch(run, oracle):
    values = np.array([0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 7.25, -7.25, -1e-20, 1e-20, INF, -INF, NAN])
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    reference = oracle(lambda torch: torch.remainder(torch.from_numpy(a), torch.from_numpy(b)).numpy())
    assert_same("remainder", a, b, run("remainder", a, b), reference)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fn", ["pow", "atan2", "hypot"])
@np.errstate(all="ignore")
def test_special_pairs(run, fn, dtype):
    s = specials(dtype)
    a, b = (v.ravel() for v in np.meshgrid(np.concatenate([s, [-2.0, -3.0]]).astype(dtype), s))
    y, reference = run(fn, a, b), {"pow": np.power, "atan2": np.arctan2, "hypot": np.hypot}[fn](a, b)
    # finite non-zero results may be an ulp or two apart: put NumPy's in
    close = np.isfinite(y) & (y != 0) & (np.abs(y - reference) <= 3 * np.spacing(np.abs(reference)))
    assert_same(fn, a, b, np.where(close, reference, y), reference)


@np.errstate(all="ignore")
def test_two_arguments_float32(run):
    rng = np.random.default_rng(3)
    n = 100_000
    x = np.concatenate([np.exp(rng.uniform(-85, 85, n)), rng.uniform(0.5, 2, n), rng.uniform(0, 10, n)])
    y = (rng.uniform(-105, 90, 3 * n) / np.log(x)).astype(np.float32)
    x = x.astype(np.float32)
    z = run("pow", x, y)
    assert_close("pow", x, z, ulp_single(z, np.power(x.astype(np.float64), y.astype(np.float64))), 0.6)
    a, b = pairs(np.float32, n)
    for fn, reference, bound in (("atan2", np.arctan2, 1.6), ("hypot", np.hypot, 0.6)):
        z = run(fn, a, b)
        assert_close(fn, a, z, ulp_single(z, reference(a.astype(np.float64), b.astype(np.float64))), bound)


@np.errstate(all="ignore")
def test_two_arguments_float64(run):
    rng = np.random.default_rng(5)
    n = 400
    x = np.concatenate([np.exp(rng.uniform(-700, 700, n)), rng.uniform(0.5, 2, n),
                        1 + rng.normal(0, 1e-6, n)])
    y = rng.uniform(-745, 710, 3 * n) / np.log(x)
    a, b = (v[np.isfinite(v)][:2 * n] for v in pairs(np.float64, 2 * n))
    with mp.workdps(40):
        for fn, first, second, reference, bound in (
                ("pow", x, y, lambda u, v: u ** v, 1.0), ("atan2", a[-n:], b[-n:], mp.atan2, 1.6),
                ("atan2", rng.normal(0, 1, n), rng.normal(0, 1, n), mp.atan2, 1.6),
                ("hypot", a[-n:], b[-n:], mp.hypot, 1.0)):
            z = run(fn, first, second)
            errors = [ulp_double(r, reference(mp.mpf(float(p)), mp.mpf(float(q))))
                      for p, q, r in zip(first, second, z, strict=True)]
            assert_close(fn, first, z, np.array(errors), bound)


def test_pow_of_whole_numbers_is_exact(run):
    base = np.arange(1.0, 2000.0)
    for exponent in (1, 2, 3, 4):
        expected = np.array([float(int(v) ** exponent) for v in base])
        fits = expected < 2.0 ** 53
        got = run("pow", base, np.full_like(base, exponent))
        assert (got[fits] == expected[fits]).all()


def test_logarithms_of_powers_are_exact(run):
    k = np.arange(-1074, 1024)
    assert (run("log2", np.ldexp(1.0, k)) == k).all()
    assert (run("exp2", k.astype(np.float64)) == np.ldexp(1.0, k)).all()


# --- the same bits at every width

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fn", sorted(set(FUNCTIONS) | TWO_ARGUMENTS - {"random_bits"}))
def test_lanes_agree(run, fn, dtype):
    from facula.engine.runtime.cpu import target

    host_bytes = target.host().vector_bytes
    rng = np.random.default_rng(6)
    # ordinary lanes beside huge, denormal and special ones: one lane's branch must not change another's bits
    x = np.concatenate([whole_range(dtype, 800), specials(dtype), rng.uniform(-5, 5, 800).astype(dtype)])
    rng.shuffle(x)
    args = (x, rng.permutation(x)) if fn in TWO_ARGUMENTS else (x,)
    bits = f"u{x.itemsize}"

    def patterns(lanes, vector_bytes=None):
        y = run(fn, *args, lanes=lanes, vector_bytes=vector_bytes)
        return np.where(np.isnan(y), 0, y.view(bits))  # NaN's sign and payload are LLVM's to choose

    widest = patterns(16)
    assert (patterns(32) == widest).all()
    assert (patterns(8) == widest).all()
    assert (patterns(1) == widest).all()
    for vector_bytes in (32, 16, 0):  # other instructions, for targets that lack the widest
        if vector_bytes < host_bytes and {fn} & {"erf", "exp", "exp2", "erfinv"}:
            for lanes in (32, 8, 1):
                assert (patterns(lanes, vector_bytes) == widest).all(), vector_bytes


def philox(counter, key):
    """Philox4x32-10 in Python's integers."""
    mask = 2 ** 32 - 1
    x, (k0, k1) = [counter & mask, counter >> 32, 0, 0], (key & mask, key >> 32)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(p1 >> 32) ^ x[1] ^ k0, p1 & mask, (p0 >> 32) ^ x[3] ^ k1, p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return x[0]


def test_random_bits(run):
    rng = np.random.default_rng(7)
    counter = np.concatenate([[0, 1, -1], rng.integers(-2 ** 63, 2 ** 63 - 1, 200)])
    key = np.concatenate([[0, -1, 5], rng.integers(-2 ** 63, 2 ** 63 - 1, 200)])
    expected = [philox(int(c) % 2 ** 64, int(k) % 2 ** 64) for c, k in zip(counter, key, strict=True)]
    assert expected[0] == 0x6627E8D5  # the known answer published with Random123
    for lanes in (1, 8):
        assert run("random_bits", counter, key, lanes=lanes).tolist() == expected
