"""Exceptions that come in between: what was pending stays computable, modes are put back, nothing is lost twice.

`tools/soak.py interrupts` has many more."""

import contextlib
import random
import signal

import numpy as np
import pytest

import children
import facula
import interrupted_modes
import interrupting
from facula.engine import realize
from facula.engine.session import session
from facula.testing import backends
from facula.undisturbed import reentrant_lock

WAYS = {"compiled": None, "interpreter": backends.interpreter, "eager": backends.eager}

pytestmark = pytest.mark.usefixtures("heap_of_its_own")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Exception], ids=["interrupt", "exception"])
@pytest.mark.parametrize("name", ["sgd", "adam", "hooks", "writing", "saving", *interrupted_modes.programs()])
def test_the_next_step_works_wherever_the_last_was_interrupted(name, kind, tmp_path, monkeypatch):
    _run(name, kind, tmp_path, monkeypatch, 8 if name in interrupted_modes.programs() else 25)


@pytest.mark.parametrize("way", ["interpreter", "eager"])
@pytest.mark.parametrize("name", ["adam", "writing"])
def test_so_on_other_ways(name, way, tmp_path, monkeypatch):
    with WAYS[way]():
        _run(name, KeyboardInterrupt, tmp_path, monkeypatch, 15)


def _run(name, kind, tmp_path, monkeypatch, count):
    monkeypatch.setattr(interrupting, "Stop", type("Stop", (kind,), {}))
    makers = {**interrupting.programs(str(tmp_path)), **interrupted_modes.programs()}
    one = interrupting.Interrupted(makers[name]())
    generator = random.Random(name)
    for k in range(count):
        place = generator.randrange(one.places)
        one.once(lambda step, place=place: interrupting.at(place, step)[::2], restore=k % 2 == 0)
    one.program.close()
    assert not one.wrong


def test_what_was_pending_is_pending_again():
    x = facula.arange(5.0)
    x.tolist()
    y = x.exp() + 1
    kept = list(session.pending)

    def stop(*_):
        raise interrupting.Stop

    before, realize.run = realize.run, stop
    try:
        with pytest.raises(interrupting.Stop):
            y.tolist()
    finally:
        realize.run = before
    if kept:  # not under FACULA_EAGER
        assert list(map(id, session.pending)) == list(map(id, kept))
    del kept
    np.testing.assert_allclose(y.numpy(), np.exp(np.arange(5.0)) + 1, rtol=1e-6)


def test_an_error_of_one_value_is_not_raised_at_the_cost_of_others():
    """What fails is asked for by who wants it; the rest is computed without."""
    x = facula.arange(5.0)
    x.tolist()
    y = x * 2
    before, realize.run = realize.run, lambda *_: 1 / 0
    try:
        if session.pending:
            with pytest.raises(ZeroDivisionError):
                y.tolist()
    finally:
        realize.run = before
    z = y + 1
    assert z.tolist() == [1, 3, 5, 7, 9]
    assert y.tolist() == [0, 2, 4, 6, 8]


@pytest.mark.compiled
@pytest.mark.parametrize("place", ["compute", "store"])
def test_what_has_overwritten_memory_goes_on_where_it_was(place, monkeypatch):
    """Before and after a step of NumPy's, in one plan: what was doubled in its own memory is not doubled again."""
    from facula.engine.runtime.cpu import plan
    large, small = facula.ones(1 << 19), facula.tensor([3.0, 1.0, 2.0])
    method = getattr(plan._Host, place)
    for k in range(4):
        large.mul_(2.0)
        order = small.sort(stable=True).values
        if k == 2 and session.pending:
            calls = []

            def stop(self, *args, calls=calls):
                found = method(self, *args)
                calls.append(place)
                if len(calls) == 1:
                    raise interrupting.Stop
                return found

            monkeypatch.setattr(plan._Host, place, stop)
            with pytest.raises(interrupting.Stop):
                order.tolist()
            assert calls == [place] * 2
        assert order.tolist() == [1.0, 2.0, 3.0]
        monkeypatch.setattr(plan._Host, place, method)
        assert large[:2].tolist() == [2.0 ** (k + 1)] * 2


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")
def test_a_timer_interrupts_training():
    program = interrupting.Interrupted(interrupting.Training("Adam"))
    alarm = interrupting.Alarm()
    generator = random.Random(5)
    try:
        hits = sum(program.once(lambda step: (alarm.during(generator.uniform(1e-4, 1e-3),
                                                           lambda: [step() for _ in range(20)]), "timer"),
                                restore=False) for _ in range(40))
    finally:
        alarm.close()
    assert not program.wrong
    assert hits


def test_nothing_is_raised_where_it_would_be_lost():
    """A finalizer's exceptions are printed and forgotten; a mode's end must not be cut off."""
    text = """
import signal, sys, time
import facula
from facula.engine.runtime.buffer import Buffer, allocate
class Stop(BaseException): pass
def ring(*_):
    raise Stop
signal.signal(signal.SIGALRM, ring)
printed = []
sys.unraisablehook = lambda found: printed.append(found.exc_value)
hits = 0
for k in range(400):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + k * 1e-6)
        while True:
            with facula.no_grad():
                allocate(64), allocate(64), allocate(128)
    except Stop:
        hits += 1
    assert facula.is_grad_enabled()
assert hits == 400 and not printed, (hits, printed)
"""
    children.printed(text)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")
def test_no_interrupt_leaves_a_lock_taken():
    """Python 3.14 looks for signals between the `__enter__` of threading's locks and the block."""
    for lock in (session.lock, reentrant_lock()):
        alarm, hits = interrupting.Alarm(), 0

        def take(lock=lock):
            while True:
                with lock:
                    pass

        try:
            for k in range(300):
                hits += alarm.during(1e-4 + k * 1e-6, take)
                assert not lock._is_owned()
        finally:
            alarm.close()
        assert hits == 300


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_a_graph_that_was_half_looked_at_is_looked_at_again(kind, monkeypatch):
    """In the middle of telling what is alive, where constants and leaves are numbered."""
    from facula.engine.trace.work import Work
    w = facula.rand(5, 3)
    w.tolist()
    for k in range(4):
        y = (w * (2.0 + k)).sum(0) * w.mean() + k
        calls = iter([False] * k + [True])
        with monkeypatch.context() as patch:
            def stop(self, node, calls=calls, number=Work._number):
                if next(calls, False):
                    raise kind
                return number(self, node)

            patch.setattr(Work, "_number", stop)
            with contextlib.suppress(kind):
                y.tolist()
        wanted = (w.numpy() * (2.0 + k)).sum(0) * w.numpy().mean() + k
        np.testing.assert_allclose(((w * (2.0 + k)).sum(0) * w.mean() + k).numpy(), wanted, rtol=1e-6)
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-6)
