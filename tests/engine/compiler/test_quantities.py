"""Integers that remember what they were computed from, and what was asked of them."""

import operator
import random

import pytest

from facula.engine.compiler.quantities import Quantity, condition, formula, source

TWO = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod]
ASKED = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


def named(values):
    guards = {}
    return [Quantity(n, f"q[{k}]", guards) for k, n in enumerate(values)], guards


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
    q, guards = named(values)
    try:
        wanted, plain = grown(q, random.Random(seed)), grown(values, random.Random(seed))
        there = grown(others, random.Random(seed))
    except ZeroDivisionError:
        return
    assert [int(w) for w in wanted] == plain and tuple(plain) == formula(wanted)(values)
    if condition(guards)(others):  # `b or 5` has asked
        assert formula(wanted)(others) == tuple(there)


@pytest.mark.parametrize("asked", ASKED)
def test_what_was_asked_is_a_guard(asked):
    for a in range(-2, 3):
        for b in range(-2, 3):
            (x, y), guards = named([a, b])
            answer = asked(x, y)
            assert answer is asked(a, b)
            held = condition(guards)
            for c in range(-2, 3):
                for d in range(-2, 3):
                    if held([c, d]):
                        assert asked(c, d) is answer
            assert held([a, b])


def test_truth_and_extrema_ask_too():
    (x, y), guards = named([3, 4])
    assert x and min(x, y) is x and max(2, x) is x
    held = condition(guards)
    assert held([3, 4]) and held([5, 6])
    assert not held([5, 4]) and not held([2, 1]) and not held([0, 4])


def test_what_is_known_leaves_no_guard():
    guards = {}
    stride = Quantity(7, "q[0]", guards, (0, 1))
    assert stride != 1 and stride and not guards
    assert stride == 7 and list(guards) == ["q[0] == 7"]
    assert source(stride * 1) == "q[0]" and stride * 0 == 0 and source(stride + 0) == "q[0]"


def test_no_quantity_gets_into_a_text():
    for write in (str, repr, "{}".format, lambda q: f"{q}"):
        with pytest.raises(AssertionError):
            write(Quantity(7, "q[0]", {}))
