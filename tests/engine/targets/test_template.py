"""Plans of one structure are made once, and had for other sizes by arithmetic (targets/template.py).

FACULA_VERIFY has every such plan made by the passes, too, and compared: steps, words, tiles, memory.
"""

import random

import numpy as np
import pytest

import facula
from facula import config, nn
from facula.engine import recorder
from facula.engine.compiler import pipeline, symbols
from facula.engine.compiler.fixed import fixed
from facula.engine.session import session
from facula.engine.targets import template
from facula.engine.trace import structure
from facula.engine.trace.kept import Kept
from fresh import nothing_seen

pytestmark = [pytest.mark.compiled,
              pytest.mark.skipif(bool(config.THRESHOLD.value) or recorder.LIMIT == 0, reason="counts by the defaults")]


@pytest.fixture
def passes(monkeypatch):
    """How often the passes have run, of nodes and of symbols; what was seen before is forgotten."""
    nothing_seen(monkeypatch)
    monkeypatch.setattr(template, "known", Kept(1 << 24, 8))
    monkeypatch.setattr(structure, "credits", {})
    monkeypatch.setattr(config.VERIFY, "value", True)
    counts = {"plans": 0, "checks": 0, "templates": 0}
    compiled, compare = pipeline.compile_plan, template._compare

    def count(*given):
        counts["templates" if symbols.tracing else "plans"] += 1
        return compiled(*given)

    def check(mine, fresh):
        counts["checks"] += 1
        compare(mine, fresh)
    monkeypatch.setattr(pipeline, "compile_plan", count)
    monkeypatch.setattr(template, "_compare", check)
    return counts


def batch(n):
    x = facula.arange(n * 6.0).reshape(n, 6) / n
    w = facula.ones(5, 6) / 3
    y = (x.tanh() @ w.t() + facula.arange(5.0)).softmax(-1)
    return (y * 2).sum(0), y.max(), x.t().flip(0).cumsum(1)[:, 1:]


def test_sizes_that_are_new_need_no_passes(passes):
    sizes = random.Random(0).sample(range(20, 60), 30)
    made = []
    for n in sizes:
        made.append([t.numpy().tobytes() for t in batch(n)])
    # each plan that was had at once is compared with one that the passes make for the test's sake
    own = passes["plans"] - (passes["checks"] - passes["templates"])
    assert passes["templates"] <= 6 and own <= 8 and passes["checks"] >= 20
    session.seen.clear()
    template.known.clear()
    for n, seen in zip(sizes, made, strict=True):
        session.seen.clear()
        template.known.clear()
        assert [t.numpy().tobytes() for t in batch(n)] == seen


def test_training_with_random_batch_sizes(passes):
    net = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.LayerNorm(32), nn.Linear(32, 10))
    optimizer = facula.optim.AdamW(net.parameters(), lr=1e-3)
    draw = random.Random(1)
    for _ in range(40):
        n = draw.randint(17, 120)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(facula.randn(n, 20)), facula.randint(0, 10, (n,))).backward()
        optimizer.step()
    own = passes["plans"] - (passes["checks"] - passes["templates"])
    assert own <= 40 and passes["templates"] <= 16 < passes["checks"]


def test_equal_sizes_may_be_different_and_different_ones_equal(passes):
    """Lengths that have nothing to do with each other are told apart, even where they happen to be the same."""
    def joined(a, b, c):
        rows = []
        for n in (a, b, c):
            x = facula.zeros(40)
            x[1:1 + n] = facula.arange(float(n))
            rows.append(x)
        return facula.stack(rows).sum(1).tolist()
    wanted = [[n * (n - 1) / 2 for n in row] for row in [(5, 5, 5), (5, 6, 7), (9, 9, 8), (30, 7, 7), (11, 12, 11)]]
    assert [joined(*row) for row in [(5, 5, 5), (5, 6, 7), (9, 9, 8), (30, 7, 7), (11, 12, 11)]] == wanted
    assert passes["checks"] >= 3 and passes["templates"] <= 2


def test_sizes_that_become_those_of_others(passes):
    """A length that runs through the sizes that stay: what is the same by chance is told from what always is."""
    w = facula.arange(32 * 6.0).reshape(32, 6) / 100
    for n in (5, 7, 6, 32, 12, 3, 192, 2, 64, 16, 33):
        x = facula.arange(n * 32.0).reshape(n, 32) / (32 * n)
        y = x @ w
        turned = y.reshape(n, 2, 3).transpose(0, 1).reshape(2 * n, 3)
        z = facula.cat([y.t().reshape(6, n).sum(1)[None], turned.repeat(1, 2)])
        wanted = np.arange(n * 32.0).reshape(n, 32) / (32 * n) @ w.numpy().astype(float)
        turned = np.tile(wanted.reshape(n, 2, 3).transpose(1, 0, 2).reshape(2 * n, 3), (1, 2))
        assert np.allclose(z.numpy(), np.concatenate([wanted.sum(0)[None], turned]), rtol=1e-4, atol=1e-4)
    assert passes["checks"] >= 5 and passes["templates"] <= 6


def test_large_graphs_have_templates_too(passes, monkeypatch):
    """Of a step of training more than one plan is made, and few are made by the passes."""
    large = []
    compare = template._compare
    monkeypatch.setattr(template, "_compare", lambda mine, fresh: (large.append(len(mine.steps)), compare(mine, fresh)))
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    optimizer = facula.optim.SGD(net.parameters(), lr=1e-3)
    for n in (5, 5, 5, 5, 6, 7, 9, 10, 11, 5, 13):
        optimizer.zero_grad()
        net(facula.randn(3, n, 8)).pow(2).mean().backward()
        optimizer.step()
    assert passes["templates"] <= 12 and sum(count > 100 for count in large) >= 4


def test_what_sizes_have_in_common():
    """Constants, what is a multiple of something else, products; and the pattern of later sights is narrower."""
    pattern = structure.pattern_of([[8, 5, 40, 32, 160, 25, 5, -5], [8, 7, 56, 32, 224, 49, 7, -7]])
    assert pattern.bases == [1] and pattern.kinds[1] == pattern.kinds[6]
    found = [(pattern.terms[k].number, len(pattern.terms[k].factors)) for k in pattern.kinds]
    assert found == [(8, 0), (1, 1), (8, 1), (32, 0), (32, 1), (1, 2), (1, 1), (-1, 1)]
    pattern = structure.pattern_of([[4, 6, 12], [5, 9, 15], [4, 7, 12]])
    assert pattern.bases == [0, 1] and pattern.terms[pattern.kinds[2]] == structure.Term(3, (0,))
    for sights in ([[3, 3, 4], [5, 7, 4]], [[-2, 2], [-6, 6]]):
        pattern = structure.pattern_of(sights)
        for sight in sights:
            terms = template._terms(pattern.terms)([sight[k] for k in pattern.bases])
            assert [terms[k] for k in pattern.kinds] == sight


def test_what_is_kept_is_bounded(passes, monkeypatch):
    monkeypatch.setattr(template, "known", Kept(300_000, 2))
    for k in range(40):
        for n in (3, 5):
            x = facula.arange(float(n)) + 1
            for _ in range(k % 20 + 1):
                x = x * 1.5 + 1
            x.numpy()
    assert template.known.held <= 300_000 and len(structure.credits) <= structure.MOST_KNOWN


# ---- symbols ----------------------------------------------------------------------------------------------


def traced(of, *values):
    """What `of` gives of symbols for `values`, and its function."""
    trace = symbols.Trace()
    symbols.tracing.append(trace)
    try:
        result = of(*[trace.symbol(k, n) for k, n in enumerate(values)])
        text = symbols.text_of(result, trace.constants)
        return trace.finished(len(values), text)
    finally:
        symbols.tracing.remove(trace)


@pytest.mark.parametrize("of", [
    lambda a, b: (a * b + 1, -a, a // b, a % b, divmod(7, b), 2 - a, abs(a - b), a * 0.5, 3 / b),
    lambda a, b: (max(a, b), min(a, 16), a if a > b else b, (a * b) // a, (a * b) % b, a * 0, a - 0, 1 * a),
    lambda a, b: tuple(sorted({a, b, a * b, a + 0})), lambda a, b: len({a, b, a * b, 1}),
    lambda a, b: sum(range(a)), lambda a, b: f"{a}x{b}", lambda a, b: [0] * b, lambda a, b: (a, b) == (b, a),
    lambda a, b: {(a, 1): 5, (b, 1): 6}[b, 1], lambda a, b: float(a) ** 2, lambda a, b: bool(a - b),
    lambda a, b: symbols.called(divmod, 2, a, b), lambda a, b: symbols.row_major((a, b, a)),
    lambda a, b: (a << 2, b >> 1, a & 6, a | 1, round(a * 1.5)), lambda a, b: isinstance(a, int) and a * 1.0 == a])
def test_what_a_trace_gives_is_right_or_nothing(of):
    pairs = [(a, b) for a in range(2, 9) for b in range(2, 9)]
    for sample in [(2, 3), (5, 2), (4, 4), (6, 3)]:
        at = traced(of, *sample)
        assert at(sample) == of(*sample)
        for pair in pairs:
            assert at(pair) in (None, of(*pair)) or at(pair) == of(*pair)


@pytest.mark.parametrize("of", [
    lambda a, c: tuple(sorted({a, c, 4 * a, c * c, a * c})), lambda a, c: {(a, 1): 5, (c, 1): 6}[c, 1],
    lambda a, c: len({a * c, c * c, c + 1, -c, c - 1, 2 * a}),
    lambda a, c: (c // 2 in {a, 2 * c}, divmod(c, 2), 1 << c % 3),
    lambda a, c: {c * 2: 1}.get(a + a), lambda a, c: symbols.called(divmod, 2, a, c), lambda a, c: c == a or c < a])
def test_what_is_fixed_is_compared_with_symbols(of):
    for constant in (4, 6, 8):
        for sample in range(2, 12):
            trace = symbols.Trace()
            symbols.tracing.append(trace)
            try:
                result = of(trace.symbol(0, sample), fixed(constant))
                at = trace.finished(1, symbols.text_of(result, trace.constants))
            finally:
                symbols.tracing.remove(trace)
            assert at([sample]) == of(sample, constant)
            for other in range(2, 70):
                assert at([other]) in (None, of(other, constant)) or at([other]) == of(other, constant)


def test_what_follows_from_bounds_is_no_condition():
    at = traced(lambda a, b: (a * b > a, a != 0, a * b // b == a, 4 * a >= a, a > 1, a + b > 3), 5, 7)
    assert all(at(pair) == (True,) * 6 for pair in [(2, 2), (900, 3), (5, 5)])


def test_a_symbol_is_a_number_once_its_trace_is_done():
    trace = symbols.Trace()
    a = trace.symbol(0, 6)
    trace.finished(1, "None")
    assert a + 1 == 7 and a * a == 36 and hash(a) == hash(6) and list(range(a)) == list(range(6))
    assert np.zeros(a).shape == (6,)
