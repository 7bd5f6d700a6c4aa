"""Sizes that are left open: what is recorded of them, and what is said where a program does not hold for all."""

from __future__ import annotations

import pytest

import facula
from facula._dynamo.exc import UserError
from facula.export import Dim, ShapesCollection, dims, export
from facula.symbolic_expressions import Expression, Relation
from sample_calls import Calling

b, c = Dim("b"), Dim("c", min=2, max=64)


def captured(function, *args, shapes):
    return export(Calling(function), args, dynamic_shapes=(tuple(shapes),))


def x(rows=8, columns=4):
    return facula.arange(float(rows * columns)).reshape(rows, columns)


def complaint(function, *args, shapes):
    with pytest.raises(UserError, match="Constraints violated") as raised:
        captured(function, *args, shapes=shapes)
    return str(raised.value)


def test_sizes_that_must_be_equal():
    text = complaint(lambda x, y: x + y, x(), x(), shapes=({0: b}, {0: c}))
    assert "The values of c = L['args'][1].size()[0] and b = L['args'][0].size()[0] must always be equal" in text
    assert "Suggested fixes:\n  c = b" in text and "test_export_sizes.py" in text
    program = captured(lambda x, y: x + y, x(), x(), shapes=({0: b}, {0: b}))
    with pytest.raises(AssertionError, match=r"Guard failed: args_1.size\(\)\[0\] == 5"):
        program.module()(x(5), x(6))


@pytest.mark.parametrize("function", [
    lambda x: x.view(8, 2, 2), lambda x: x * int(x.shape[0]), lambda x: facula.stack(list(x)),
    lambda x: sum(x[k] for k in range(x.shape[0])), lambda x: x + facula.ones(8, 1)])
def test_a_size_that_is_fixed_by_the_program(function):
    text = complaint(function, x(), shapes=({0: b},))
    assert "You marked b as dynamic but your code specialized it to be a constant (8)" in text and "b = 8" in text
    complaint(function, x(), shapes=({0: Dim.DYNAMIC},))
    program = captured(function, x(), shapes=({0: Dim.AUTO},))
    assert program.range_constraints == {}
    assert facula.equal(program.module()(x()), function(x()))
    with pytest.raises(AssertionError, match=r"Guard failed: args_0.size\(\)\[0\] == 8"):
        program.module()(x(9))


def test_a_question_that_not_all_sizes_answer_alike():
    text = complaint(lambda x: x * 2 if x.shape[0] > 4 else x, x(), shapes=({0: b},))
    assert "satisfy the generated guard L['args'][0].size()[0] > 4" in text and "b = Dim('b', min=5)" in text
    assert "lambda x: x * 2 if x.shape[0] > 4 else x" in text
    text = complaint(lambda x: x * 2 if x.shape[0] < 1000 else x, x(), shapes=({0: b},))
    assert "b = Dim('b', max=999)" in text
    program = captured(lambda x: x * 2 if x.shape[0] > 4 else x, x(), shapes=({0: Dim.AUTO},))
    assert [(found.lower, found.upper) for found in program.range_constraints.values()] == [(5, None)]
    with pytest.raises(AssertionError, match=r"Guard failed: args_0.size\(\)\[0\] >= 5"):
        program.module()(x(4))
    program = captured(lambda x: x * 2 if x.shape[0] < 100 else x, x(), shapes=({0: c},))  # true of all
    assert facula.equal(program.module()(x(64)), x(64) * 2)


def test_multiples():
    text = complaint(lambda x: x.view(-1, 2, 4), x(), shapes=({0: b},))
    assert "_b = Dim('_b')\n  b = 2*_b" in text
    program = captured(lambda x: x.view(-1, 2, 4), x(), shapes=({0: 2 * b},))
    assert program.module()(x(6)).shape == (3, 2, 4)
    with pytest.raises(AssertionError, match=r"Guard failed: args_0.size\(\)\[0\] == 2\*s0"):
        program.module()(x(7))
    assert "== 0" in complaint(lambda x: x if x.shape[0] % 2 == 0 else x * 2, x(), shapes=({0: b},))


def test_derived_sizes():
    program = captured(lambda x, y: x[1:] + y, x(), x(7), shapes=({0: b + 1}, {0: b}))
    assert program.module()(x(4), x(3)).shape == (3, 4)
    with pytest.raises(AssertionError, match="Guard failed"):
        program.module()(x(4), x(2))
    assert str(2 * b + 1) == "2*b + 1"
    with pytest.raises(NotImplementedError, match="Only increasing linear operations"):
        b * -1
    with pytest.raises(UserError, match=r"of the form 2\*b"):
        captured(lambda x: x, x(7), shapes=({0: 2 * b},))


def test_ranges_are_checked():
    program = captured(lambda x: x * x.shape[0], x(), shapes=({0: c},))
    assert str(program.range_constraints) == "{s0: VR[2, 64]}"
    assert facula.equal(program.module()(x(5)), x(5) * 5)
    for wrong, told in ((x(1), r"size\(\)\[0\] >= 2"),
                        (x(65), r"size\(\)\[0\] <= 64"), (x(8, 5), r"size\(\)\[1\] == 4"),
                        (x(8).double(), "dtype"), (facula.ones(4), "len")):
        with pytest.raises(AssertionError, match="Guard failed.*" + told):
            program.module()(wrong)
    assert program.module(check_guards=False)(x(65)).shape == (65, 4)
    with pytest.raises(UserError, match="in the range"):
        captured(lambda x: x, x(65), shapes=({0: c},))


def test_one_is_another_case_where_the_program_says_so():
    program = captured(lambda x: x.squeeze() * 2, x(), shapes=({0: b},))
    assert program.module()(x(2)).shape == (2, 4)
    with pytest.raises(AssertionError, match="Guard failed: b >= 2"):
        program.module()(x(1))
    program = captured(lambda x: x.relu(), x(), shapes=({0: b},))
    assert program.module()(x(1)).shape == (1, 4)


def test_a_size_that_is_bounded_stays_open():
    program = captured(lambda x: x * x[:5].shape[0], x(), shapes=({0: b},))
    for rows in (2, 5, 9):
        assert facula.equal(program.module()(x(rows)), x(rows) * min(rows, 5))


def test_arithmetic_of_sizes_becomes_part_of_the_graph():
    def function(t):
        n = t.shape[0]
        scale = (n + 1) * 2 - n // 3 + n % 5 + n ** 2 + facula.sym_max(n, 6) + 1 / n + n ** -0.5 + facula.sym_sqrt(n)
        return t.reshape(t.numel()) * scale, n, t.shape, n / 2, n > 4, -n, facula.sym_int(n / 3), facula.sym_float(n)

    program = captured(function, x(), shapes=({0: b, 1: c},))
    for rows in (2, 7, 12):
        ours, theirs = program.module()(x(rows)), function(x(rows))
        assert facula.equal(ours[0], theirs[0]) and ours[1:] == theirs[1:]
        assert [type(part) for part in ours[1:]] == [type(part) for part in theirs[1:]]


def test_shapes_in_the_text():
    class Two(facula.nn.Module):
        def forward(self, t):
            conv = facula.nn.functional.conv2d(t, facula.ones(2, 1, 3, 3), stride=2)
            return conv, facula.cat([t, t]), t.flatten(), facula.nn.functional.pad(t, (1, 2))

    h = Dim("h", min=3)
    text = export(Two(), (facula.ones(4, 1, 9, 9),), dynamic_shapes=({0: b, 2: h},)).print_readable(False)
    for shown in ('t: "f32[s0, 1, s1, 9]"', 'conv2d: "f32[s0, 2, (s1 + 1)//2 - 1, 4]"', 'cat: "f32[2*s0, 1, s1, 9]"',
                  'flatten: "f32[9*s0*s1]"', 'pad: "f32[s0, 1, s1, 12]"'):
        assert shown in text, text


def test_how_open_sizes_are_given():
    two = export(facula.nn.Bilinear(4, 4, 2), (x(), x()), dynamic_shapes=[{0: b}, (b, None)])
    assert two.module()(x(3), x(3)).shape == (3, 2)
    shapes, t = ShapesCollection(), x()
    shapes[t] = {0: Dim.DYNAMIC}
    assert export(facula.nn.ReLU(), (t,), dynamic_shapes=shapes).module()(x(2)).shape == (2, 4)
    for wrong, told in (({"y": {0: b}}, "top-level keys"), ((), None), (({9: b},), "Unexpected dimension"),
                        (([b],), "same length"), (({0: 7},), "Static shape constraint of 7"),
                        (({0: "b"},), "Unexpected dimension"), ((None, None), "mismatch")):
        if told is None:
            export(facula.nn.ReLU(), (t,), dynamic_shapes=wrong)
        else:
            with pytest.raises(UserError, match=told):
                export(facula.nn.ReLU(), (t,), dynamic_shapes=wrong)
    with pytest.raises(AssertionError, match="inconsistent"):
        Dim("b", min=3, max=2)
    assert [repr(d) for d in dims("p", "q", min=1)] == ["Dim('p', min=1)", "Dim('q', min=1)"]
    with pytest.raises(UserError, match="must always be equal"):
        captured(lambda x, y: x, x(), x(9), shapes=({0: b}, {0: b}))


def test_formulas():
    s, t = Expression.symbol("s"), Expression.symbol("t")
    assert str((s + t) * (s - t)) == "s*s - t*t" and str((s * 6 + 3) // 3) == "2*s + 1" and str(s % 1) == "0"
    assert str((s * 4 + 1) % 4) == "1" and ((s + 1) * 3 - s * 3).constant == 3
    assert str(s // 2 * 2 + t) == "2*(s//2) + t" or str(s // 2 * 2 + t) == "t + 2*(s//2)"
    formula = (s * 2 + t) // (t + 1) * s % 7
    for values in ({"s": 3, "t": 4}, {"s": 10, "t": 1}):
        plain = (values["s"] * 2 + values["t"]) // (values["t"] + 1) * values["s"] % 7
        assert formula.at(values) == plain == Expression.loaded(formula.dumped()).at(values)
    assert Relation("lt", s, t).opposite().at({"s": 3, "t": 3})
    for wrong in (3, [[1]], [["1", []]], [[1, ["a b"]]], [[1, [["pow", [], []]]]]):
        with pytest.raises(ValueError):
            Expression.loaded(wrong)
