"""Numbers that remember what they were computed from, and what was asked of them."""

import operator
import random

import pytest

from facula.engine.compiler.symbols import Trace, text_of

TWO = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod]
ASKED = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def named(values):
    trace = Trace()
    return [trace.symbol(k, n, 0) for k, n in enumerate(values)], trace


def finished(trace, count, result=()):
    return trace.finished(count, text_of(tuple(result), trace.constants))


def grown(q, draw):
    """Something computed of `q`: the same for the same draws."""
    made = list(q)
    for _ in range(8):
        a, b = draw.choice(made), draw.choice([*made, draw.randint(-3, 9)])
        a, b = (a, b) if draw.random() < 0.7 else (b, a)
        of = draw.choice(TWO)
        made.append(-a if draw.random() < 0.1 else abs(a) if draw.random() < 0.1 else of(a, b or 5))
    return made[-3:]


@pytest.mark.parametrize("seed", range(200))
def test_words_follow_from_the_integers(seed):
    rng = random.Random(seed)
    values, others = ([rng.randint(1, 60) for _ in range(4)] for _ in range(2))
    q, trace = named(values)
    try:
        wanted, plain = grown(q, random.Random(seed)), grown(values, random.Random(seed))
        there = grown(others, random.Random(seed))
    except ZeroDivisionError:
        return
    at = finished(trace, 4, wanted)
    assert at(values) == tuple(plain)
    assert at(others) in (tuple(there), None)  # `b or 5` has asked


@pytest.mark.parametrize("asked", ASKED)
def test_what_was_asked_is_a_condition(asked):
    for a in range(-2, 3):
        for b in range(-2, 3):
            (x, y), trace = named([a, b])
            answer = asked(x, y)
            assert answer is asked(a, b)
            at = finished(trace, 2)
            for c in range(-2, 3):
                for d in range(-2, 3):
                    assert (at([c, d]) is not None) is (asked(c, d) is answer)


def test_truth_and_extrema_ask_too():
    (x, y), trace = named([3, 4])
    assert x and min(x, y) is x and max(2, x) is x
    at = finished(trace, 2)
    assert at([3, 4]) == at([5, 6]) == ()
    assert at([5, 4]) is at([2, 1]) is at([0, 4]) is None


def test_what_is_known_leaves_no_condition():
    trace = Trace()
    stride = trace.symbol(0, 7, 2)
    assert stride != 1 and stride and not trace.asked
    assert stride == 7 and trace.asked == {"q0 == 7"}
    assert stride * 1 is stride and stride + 0 is stride and stride * 0 == 0


@pytest.mark.parametrize("use", [str, "{}".format, range, "abcdefgh".__getitem__, int, float],
                         ids=["str", "format", "range", "item", "int", "float"])
def test_whoever_takes_the_value_gets_one_size_alone(use):
    (x,), trace = named([7])
    assert use(x) == use(7)
    at = finished(trace, 1)
    assert at([7]) == () and at([8]) is None
