"""Plans: tables, temporaries, host steps between native ones, many threads, re-entry."""

import sys
import threading
import types

import numpy as np
import pytest

from facula import dtypes
from facula.engine.compiler.plan import HostOperand, HostStep, PlanSpec
from facula.engine.graph.node import BUFFER, CALL, PICK, SUM, Node
from facula.engine.runtime import buffer
from facula.engine.runtime.cpu.plan import Plan
from runtime_kernels import count, scale

pytestmark = pytest.mark.compiled
SIZE = 96


def leaf(values):
    return buffer.adopt(np.ascontiguousarray(values, np.float64))


def fresh():
    return buffer.allocate(SIZE * 8)


def values(b):
    return b.array((SIZE,), dtypes.float64).copy()


X = np.linspace(-3, 5, SIZE)


def test_numbers_and_slots():
    plan = Plan(PlanSpec([scale(0, 2, 0, 12, 8, 1.0), scale(1, 3, 2, 12, 8)], 2, 2, [], ["d", "", "d"]))
    a, b = fresh(), fresh()
    plan.run([leaf(X), leaf(-X)], [2.0, 3 + 4j, 5], [a, b])  # the complex number is nobody's
    assert (values(a) == X * 2 + 1).all() and (values(b) == -X * 5).all()
    plan.run([leaf(X), leaf(-X)], [0.5, None, -1.0, "more"], [a, b])
    assert (values(a) == X * 0.5 + 1).all() and (values(b) == X).all()


@pytest.mark.parametrize("size", [SIZE * 8, 3 << 20], ids=["kept", "released"])
def test_temporaries(size):
    steps = [scale(0, 2, 0, 12, 8, 1.0), scale(2, 3, 0, 12, 8, 2.0), scale(3, 1, 0, 12, 8)]
    plan = Plan(PlanSpec(steps, 1, 1, [size, size], ["d"]))
    for number in (2.0, 3.0):
        out = fresh()
        plan.run([leaf(X)], [number], [out])
        assert (values(out) == ((X * number + 1) * number + 2) * number).all()
    assert bool(plan._spare) == (size == SIZE * 8)


def node(values=None):
    made = Node(SUM if values is None else BUFFER, (), ("attrs",), (1.0,), (SIZE,), dtypes.float64)
    made.buffer = None if values is None else leaf(values)
    return made


@pytest.mark.parametrize("temporaries", [0, 1])
def test_execute_does_what_run_does(temporaries):
    steps = [scale(0, 2, 0, 12, 8, 1.0), scale(1, 3, 2, 12, 8)]
    if temporaries:
        steps = [scale(0, 4, 0, 12, 8, 1.0), scale(4, 2, 2, 12, 8), scale(1, 3, 2, 12, 8)]
    plan = Plan(PlanSpec(steps, 2, 2, [SIZE * 8] * temporaries, ["d", "", "d"]))
    recipe = plan.recipe([2, 0], [1, 3], [4, 1, 0, 2])
    if recipe is None:
        pytest.skip("this Python takes no builtins")
    leaves, numbers = [node(-X), node(), node(X)], [-5.0, 3 + 4j, "nobody's", None, 2]
    for _ in range(3):
        nodes = [node() for _ in range(4)]
        by_run, by_execute = [fresh(), fresh()], [fresh(), fresh()]
        plan.run([leaves[2].buffer, leaves[0].buffer], [2, 3 + 4j, -5.0], by_run)
        plan.execute(recipe, nodes, leaves, numbers, by_execute)
        for one, two, k in zip(by_run, by_execute, (1, 3), strict=True):
            assert (values(one) == values(two)).all()
            assert nodes[k].buffer is two and nodes[k].op is BUFFER and nodes[k].inputs == ()
            assert nodes[k].attrs is None and nodes[k].scalars is None
        assert nodes[0].op is SUM and nodes[0].buffer is None
    del nodes
    watched = (BUFFER, SUM, None, by_execute[0])
    counts = [sys.getrefcount(x) for x in watched]
    for _ in range(100):  # a reference lost or kept in each run would show
        plan.execute(recipe, [node() for _ in range(4)], leaves, numbers, by_execute)
    assert all(abs(sys.getrefcount(x) - n) < 50 for x, n in zip(watched, counts, strict=True))


def test_execute_refuses_what_it_cannot_read():
    plan = Plan(PlanSpec([scale(0, 1, 0, 12, 8)], 1, 1, [], ["d"]))
    recipe = plan.recipe([0], [0], [0])
    if recipe is None:
        pytest.skip("this Python takes no builtins")
    with pytest.raises(SystemError):  # a leaf without memory
        plan.execute(recipe, [node()], [node()], [1.0], [fresh()])
    with pytest.raises(IndexError):
        plan.execute(recipe, [node()], [], [1.0], [fresh()])
    with pytest.raises(IndexError):
        plan.execute(recipe, [node()], [node(X)], [1.0], [])
    with pytest.raises(TypeError):
        plan.execute(recipe, [node()], [node(X)], ["one"], [fresh()])
    with pytest.raises(OverflowError):
        plan.execute(recipe, [node()], [node(X)], [10 ** 400], [fresh()])
    target = node()
    plan.execute(recipe, [target], [node(X)], [-1.0], [fresh()])  # the error marker's value is a number like others
    assert (values(target.buffer) == -X).all()


def test_empty_plan_and_empty_steps():
    Plan(PlanSpec([], 1, 0, [], [])).run([leaf(X)], [], [])
    out = buffer.allocate(0)
    Plan(PlanSpec([scale(0, 1, 0, 12, 0)], 1, 1, [], ["d"])).run([leaf(X)], [1.0], [out])


@pytest.fixture
def interpreter(monkeypatch):
    """A stand-in for the real interpreter: knows SUM, and a CALL that returns two arrays."""
    def compute(node, arrays):
        assert all(i.dtype is dtypes.float64 for i in node.inputs)
        if node.op is SUM:
            return arrays[0].sum(keepdims=True) * (node.scalars[0] if node.scalars else 1)
        if node.op is CALL:
            return np.sort(arrays[0]), arrays[0][::-1]
        return arrays[0][node.attrs[0]]

    module = types.ModuleType("facula.engine.runtime.interpreter")
    module.compute = compute
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("facula.engine.runtime.interpreter", module, raising=False)


def host(op, inputs, slot, attrs=None, shape=(SIZE,), call=-1, at=-1, numbers=0):
    operands = tuple(HostOperand(s, (SIZE,), dtypes.float64, c) for s, c in inputs)
    return HostStep(op, attrs, operands, shape, dtypes.float64, slot, at, numbers, call)


def test_host_steps_between_native_ones(interpreter):
    steps = [scale(0, 2, 0, 12, 8, 1.0), host(CALL, [(2, -1)], -1, call=0),
             host(PICK, [(-1, 0)], 3, (1,)), scale(3, 1, 0, 12, 8)]
    plan = Plan(PlanSpec(steps, 1, 1, [SIZE * 8, SIZE * 8], ["d"]))
    out = fresh()
    plan.run([leaf(X)], [2.0], [out])
    assert (values(out) == (X * 2 + 1)[::-1] * 2).all()
    took = plan.run_timed([leaf(X)], [3.0], [out])
    assert len(took) == 4 and min(took) >= 0
    assert (values(out) == (X * 3 + 1)[::-1] * 3).all()


def test_host_step_numbers(interpreter):
    plan = Plan(PlanSpec([host(SUM, [(0, -1)], 1, (0,), (1,), at=1, numbers=1)], 1, 1, [], []))
    out = buffer.allocate(8)
    plan.run([leaf(np.ones(SIZE))], [7.0, 2.0], [out])
    assert out.array((1,), dtypes.float64)[0] == SIZE * 2


def test_host_step_may_write_over_what_it_reads(interpreter):
    plan = Plan(PlanSpec([host(CALL, [(1, -1)], -1, call=0), host(PICK, [(-1, 0)], 1, (1,))], 1, 1, [], []))
    out = fresh()
    out.array((SIZE,), dtypes.float64)[:] = X
    plan.run([leaf(X)], [], [out])
    assert (values(out) == X[::-1]).all()


def test_an_exception_leaves_the_plan_usable(interpreter):
    steps = [scale(0, 2, 0, 12, 8), host(PICK, [(2, -1)], 1, (slice(None),))]
    plan = Plan(PlanSpec(steps, 1, 1, [SIZE * 8], ["d"]))
    out = fresh()
    with pytest.raises(Exception, match="argument|number|float"):
        plan.run([leaf(X)], ["no number"], [out])
    plan.run([leaf(X)], [2.0], [out])
    assert (values(out) == X * 2).all()


def test_many_threads_run_one_plan():
    steps = [scale(0, 2, 0, 12, 8, 1.0), scale(2, 3, 0, 12, 8, 2.0), scale(3, 1, 0, 12, 8)]
    plan = Plan(PlanSpec(steps, 1, 1, [SIZE * 8, SIZE * 8], ["d"]))
    wrong = []

    def work(number):
        out, x = fresh(), leaf(X * number)
        for _ in range(300):
            plan.run([x], [number], [out])
            if not (values(out) == ((X * number * number + 1) * number + 2) * number).all():
                wrong.append(number)

    crowd = [threading.Thread(target=work, args=(float(k),)) for k in range(1, 9)]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join()
    assert not wrong


def test_plan_starts_the_pool_and_runs_every_tile_once():
    plan = Plan(PlanSpec([count(0, 500)] * 3, 1, 0, [], []))
    table = np.zeros(500, np.int32)
    for _ in range(20):
        plan.run([buffer.adopt(table)], [], [])
    assert (table == 60).all()


def test_plan_describes_itself():
    plan = Plan(PlanSpec([scale(0, 1, 0, 12, 8)], 1, 1, [], ["d"]))
    assert "1 steps" in repr(plan) and "scale" in repr(plan)
