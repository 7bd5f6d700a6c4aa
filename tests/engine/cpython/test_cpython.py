"""What leans on CPython: counts of references that are measured, and what happens where they say nothing."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest

import facula
from facula import config
from facula.engine import realize
from facula.engine.cpython import liveness
from facula.engine.graph import node as graph
from facula.engine.targets import host
from facula.engine.trace import work
from facula.errors import CompileError
from fresh import nothing_seen

PROGRAMS = textwrap.dedent("""
    import gc, sys
    import numpy as np
    import facula
    from facula.engine.trace import step, work
    from facula.engine.cpython import liveness

    def seen_through_views():
        base = facula.arange(12.0)
        rows = base.view(3, 4)
        before = rows * 1
        rows[1].mul_(10)
        base[0] = -1
        del base
        rows.add_(1)
        assert before.tolist() == np.arange(12.0).reshape(3, 4).tolist()
        expected = np.arange(12.0).reshape(3, 4)
        expected[1] *= 10
        expected[0, 0] = -1
        assert rows.tolist() == (expected + 1).tolist()

    def aliases():
        a = facula.arange(4.0)
        b = a.detach()
        c = a.view(2, 2)
        a.add_(1)
        assert b.tolist() == [1, 2, 3, 4] and c.tolist() == [[1, 2], [3, 4]]
        del b
        a.mul_(2)
        assert c.tolist() == [[2, 4], [6, 8]]
        c[0, 0] = 7
        assert a.tolist() == [7, 4, 6, 8]

    def shared_with_numpy():
        a = facula.arange(6.0) + 1
        array = a.numpy()
        copy = a.clone()
        array[2] = 50
        assert a.tolist() == [1, 2, 50, 4, 5, 6] and copy[2].item() == 3
        doubled = a * 2
        array[0] = -9  # after the call: it must have been read by then
        assert doubled[0].item() == 2
        a.add_(1)
        assert array.tolist() == [-8, 3, 51, 5, 6, 7]
        given = np.zeros(3, np.float32)
        t = facula.from_numpy(given)
        given[1] = 4
        assert t.tolist() == [0, 4, 0]
        t.add_(1)
        assert given.tolist() == [1, 5, 1]

    def large_updates():
        n = (1 << 18) + 16
        w = facula.nn.Parameter(facula.ones(n))
        optimizer = facula.optim.Adam([w], lr=0.5)
        reference, m, v = np.ones(n), np.zeros(n), np.zeros(n)
        held = []
        for turn in range(6):
            optimizer.zero_grad()
            (w * w).sum().backward()
            if turn == 2:
                held.append((w.detach().clone(), reference.copy()))
                held.append((w.data * 1, reference.copy()))
            optimizer.step()
            g = 2 * reference
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            t = turn + 1
            reference = reference - 0.5 * (m / (1 - 0.9 ** t)) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
            w[3].item()
        # roundings to float32 of numbers below 1: a dozen an update, each of 6e-8 at most
        assert np.allclose(w.detach().numpy(), reference, rtol=0, atol=1e-6)
        for kept, expected in held:
            assert np.allclose(kept.numpy(), expected, rtol=0, atol=1e-6)

    def memory_that_numpy_holds_while_updates_run():
        x = facula.ones(1 << 19)
        x.add_(1)
        view = x.numpy()
        for _ in range(3):
            y = x * 2
            y.sum().item()
            x.add_(1)
        assert (view == 5).all()

    def meta_ends():
        from facula.engine.graph.node import elsewhere
        m = facula.empty(3, device="meta") + 1
        assert m.shape == (3,)
        del m
        gc.collect()
        assert (facula.ones(2) + 1).tolist() == [2, 2]
        assert not elsewhere

    for program in (seen_through_views, aliases, shared_with_numpy, large_updates,
                    memory_that_numpy_holds_while_updates_run, meta_ends):
        program()
        program()
    print(liveness.known(), work._LONE_NODE, step._LONE_LEAF, step._LONE_MEMORY)
""")


def limits_under(**settings):
    """What the programs print, the reference counts being as the settings say."""
    environment = {k: v for k, v in os.environ.items() if k not in ("FACULA_LIVENESS", "FACULA_REFCOUNT_SHIFT")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", PROGRAMS], env=environment | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    known, *limits = done.stdout.split()
    return known == "True", [int(limit) for limit in limits]


def test_counts_that_are_shifted_are_measured_and_values_are_right():
    known, usual = limits_under()
    assert known and min(usual) > 0
    for shift in (-1, 1):
        known, limits = limits_under(FACULA_REFCOUNT_SHIFT=str(shift))
        assert known and all(limit > liveness.UNKNOWN for limit in limits)
        # a Python function counts, whose own argument may hold the object as well: not by how much, but alike
        assert len({a - b for a, b in zip(limits, usual, strict=True)}) <= 2


def test_without_counts_values_are_right_and_nothing_is_free():
    known, limits = limits_under(FACULA_LIVENESS="off")
    assert not known and set(limits) == {liveness.UNKNOWN}


def test_counts_that_do_not_move_by_one_say_nothing(monkeypatch):
    for count in (lambda what: 3, lambda what: 2 * sys.getrefcount(what)):
        monkeypatch.setattr(liveness, "_failed", False)
        namespace = {"limit": 0}

        def free(held, count=count, namespace=namespace):
            thing = object()
            other = thing if held else None
            seen = count(thing) <= namespace["limit"]
            del other
            return seen

        liveness.calibrate(namespace, "limit", free)
        assert namespace["limit"] == liveness.UNKNOWN and not liveness.known()
    monkeypatch.setattr(liveness, "_failed", False)
    namespace = {"limit": 0}
    liveness.calibrate(namespace, "limit", lambda held: 7 + held <= namespace["limit"])
    assert namespace["limit"] == 7 and liveness.known()


@pytest.mark.usefixtures("heap_of_its_own")
@pytest.mark.compiled
@pytest.mark.parametrize("holder", ["node", "memory", "view", "nobody"])
def test_an_update_takes_no_memory_over_that_somebody_holds(monkeypatch, holder):
    """Fails where a limit of `Step.donated` is one too high for the leaf, or two for its memory."""
    monkeypatch.setattr(work, "WORTH_REPLACING", 0)
    x = facula.arange(37.0) * 1.25
    realize.flush()
    gc.collect()
    for turn in range(6):  # the same step each time, so that a known one runs as well
        node = x._node
        expected = np.arange(37) * 1.25 + turn
        address, held = node.buffer.ptr, None
        if holder == "node":
            held = node
        elif holder == "memory":
            held = node.buffer
        elif holder == "view":
            held = node.buffer.array(node.shape, node.dtype)
        del node
        x = x + 1
        realize.flush()
        if holder == "nobody":
            assert x._node.buffer.ptr == address
        else:
            assert x._node.buffer.ptr != address
            memory = held.buffer if holder == "node" else held
            values = held if holder == "view" else memory.array((37,), facula.float32)
            assert values.tolist() == expected.tolist()
    assert x.tolist() == (np.arange(37) * 1.25 + 6).tolist()


def test_aliases_stay_aliases_however_often_they_are_read():
    a = facula.arange(4.0)
    b = a.detach()
    for turn in range(3):
        assert (a + 1).tolist() == (b + 1).tolist()
        a.add_(turn)
        assert (b * 1).tolist() == (a * 1).tolist()
        b.mul_(2)
        assert a.tolist() == b.tolist()
    assert a.tolist() == [((k + 0) * 2 + 1) * 2 * 2 + 4 for k in range(4)]


@pytest.mark.usefixtures("heap_of_its_own")
@pytest.mark.compiled
def test_a_compilation_leaves_no_node_in_a_circle(monkeypatch):
    """Or what the node holds is not taken over until Python's collector runs."""
    nothing_seen(monkeypatch)

    def trained():
        w = facula.ones(7, 5, requires_grad=True)
        for _ in range(3):
            (facula.rand(4, 7) @ w).relu().softmax(1).square().mean().backward()
        w.grad.sum().item()

    programs = (trained, lambda: (facula.rand(7, 5) + 1).exp().sum(0).tolist(),
                lambda: facula.rand(5, 6).sort(1).values.cumsum(0).tolist(),
                lambda: facula.rand(9, 6).index_add(0, facula.tensor([1, 2]), facula.ones(2, 6)).tolist(),
                lambda: facula.linalg.det(facula.rand(3, 3)).item())
    for program in programs:
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            program()
            gc.collect()
            left = [thing for thing in gc.garbage if isinstance(thing, graph.Node)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not left


FAILS = """
def fail(which):
    if which < 2:
        raise ValueError(f"one {which}")
    raise ValueError("two")
"""


@pytest.mark.compiled
def test_why_the_compiler_failed_is_told_once_for_each_kind(monkeypatch):
    from facula.engine.compiler import pipeline
    from facula.engine.targets import template
    engine = {"__name__": "facula.engine.compiler.pipeline"}
    exec(compile(FAILS, "pipeline.py", "exec"), engine)
    which = iter(range(3))
    monkeypatch.setitem(engine, "which", which)
    monkeypatch.setattr(template, "MOST", 0)  # the passes are not tried of symbols first
    exec("def compile_plan(*args): return fail(next(which))", engine)
    monkeypatch.setattr(pipeline, "compile_plan", engine["compile_plan"])
    monkeypatch.setattr(host, "failures", {})
    monkeypatch.setattr(config.VERIFY, "value", False)
    nothing_seen(monkeypatch)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")  # which hides what was shown for a line before
        for n in (3, 4, 5):
            assert (facula.ones(n) + facula.arange(n)).tolist() == [1.0 + k for k in range(n)]
    assert [("one" in str(w.message), "two" in str(w.message)) for w in told] == [(True, False), (False, True)]
    assert told[0].filename == "pipeline.py"
    assert list(host.failures) == ["ValueError at pipeline.py:4", "ValueError at pipeline.py:5"]
    assert "in fail" in host.failures["ValueError at pipeline.py:4"]


@pytest.mark.compiled
def test_a_failure_is_an_error_in_the_tests_on_every_road(monkeypatch):
    """Also where warnings are ignored, in other threads, and in the processes that tests start (by the environment)."""
    from facula.engine.compiler import pipeline
    assert config.VERIFY.value and os.environ["FACULA_VERIFY"] == "1"

    def fail(*args):
        raise CompileError("no")

    monkeypatch.setattr(pipeline, "compile_plan", fail)
    nothing_seen(monkeypatch)
    raised = []

    def look():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                (facula.ones(3) + facula.arange(3)).tolist()
            except CompileError as error:
                raised.append(error)

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert len(raised) == 2


@pytest.mark.compiled
def test_what_a_signal_handler_raises_while_a_graph_is_compiled_arrives(monkeypatch):
    """Whatever it is: a class of its own, or one that the compiler might raise itself."""
    from facula.engine.compiler import pipeline

    class TimeUp(Exception):
        pass

    engine = {"__name__": "facula.engine.compiler.pipeline", "signal": signal}
    exec("def compile_plan(*args): signal.raise_signal(signal.SIGUSR1)", engine)
    monkeypatch.setattr(pipeline, "compile_plan", engine["compile_plan"])
    monkeypatch.setattr(config.VERIFY, "value", False)
    nothing_seen(monkeypatch)
    for kind in (TimeUp, ValueError, KeyError):
        def up(*args, kind=kind):
            raise kind("time is up")

        before = signal.signal(signal.SIGUSR1, up)
        try:
            with pytest.raises(kind, match="time is up"):
                (facula.ones(3) + facula.arange(3)).tolist()
        finally:
            signal.signal(signal.SIGUSR1, before)


WRONG = """
    import warnings
    import facula
    from facula.engine.session import session
    from facula.engine.cpython import selftest
    from facula.engine.runtime.cpu import plan

    real, asked = selftest._holds, []
    selftest._holds = lambda agrees: (asked.append(real(agrees)), {answer})[1]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        w = facula.ones(3, requires_grad=True)
        for k in range(4):
            loss = ((w * 2.0 + 1) * w).sum()
            loss.backward()
        assert w.grad.tolist() == [20.0] * 3
    found = session.describe, session.native, plan._execute(), session.survey
    spoken = all("its twin in Python" in str(w.message) for w in told)
    print(*asked, len(told), sum(f is not None for f in found), spoken)
"""


def builtins_where(answer, cache):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "FACULA_CACHE_DIR": str(cache)}
    program = textwrap.dedent(WRONG).replace("{answer}", answer)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.compiled
def test_builtins_are_compared_with_their_twins_once(tmp_path):
    if not liveness.known():
        pytest.skip("this Python takes no builtins")
    assert builtins_where("asked[-1]", tmp_path) == [*["True"] * 4, "0", "4", "True"]
    assert builtins_where("False", tmp_path) == ["0", "4", "True"]  # that they agreed is remembered


@pytest.mark.compiled
def test_where_a_builtin_is_off_its_twin_runs_and_a_warning_says_so(tmp_path):
    if not liveness.known():
        pytest.skip("this Python takes no builtins")
    assert builtins_where("False", tmp_path) == [*["True"] * 4, "4", "0", "True"]
    assert builtins_where("asked[-1]", tmp_path) == ["4", "0", "True"]  # remembered, and told again
