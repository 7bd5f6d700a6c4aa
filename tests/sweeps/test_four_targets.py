"""Random programs, with views, writes, indexing and gradients, on four targets: what machine code computes is what
each operation on its own (FACULA_EAGER=1), the NumPy interpreter and an accelerator compute (the pretend one, unless
FACULA_TEST_TARGET names another)."""

from contextlib import contextmanager, nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facula
from facula.engine import recorder
from facula.testing import backends
from placed_programs import announced
from random_programs import Drawn
from test_random_programs import LIMITS, MORE, RECORDED, STEPS, Machine, Recording


@contextmanager
def accelerator():
    with announced() as place, backends._anew():
        yield place


TARGETS = {"eager": backends.eager, "interpreter": backends.interpreter, "accelerator": accelerator}


class On:
    """Library 0 is what the target computes, library 1 what machine code does."""

    target, place = nullcontext, "cpu"

    def both(self, name, step):
        def placed(k):
            with (self.target if k == 0 else nullcontext)(), facula.device(self.place if k == 0 else "cpu"):
                return step(k)
        return super().both(name, placed)


class OnMachine(On, Machine):
    pass


class OnRecording(On, Recording):
    pass


@contextmanager
def machine_on(kind, name, data):
    machine = kind(facula, Drawn(data))
    if name == "accelerator":
        with accelerator() as machine.place:
            yield machine
    else:
        machine.target = TARGETS[name]
        yield machine


@pytest.mark.parametrize("name", TARGETS)
@settings(LIMITS, max_examples=MORE or 25)
@given(data=st.data())
def test_values_agree(name, data):
    with machine_on(OnMachine, name, data) as machine:
        machine.create()
        for _ in range(machine.drawn.between(3, 20)):
            step = machine.drawn.one_of([s for s in STEPS if "numpy" not in s and "array" not in s])
            getattr(machine, step)()
            if not machine.live:
                machine.create()
        machine.compare_all()
        assert all(ours.device == facula.device(machine.place) for ours, _ in machine.live)


@pytest.mark.parametrize("name", TARGETS)
@settings(LIMITS, max_examples=MORE or 25)
@given(data=st.data())
def test_gradients_agree(name, data):
    with machine_on(OnRecording, name, data) as machine:
        machine.leaves = []
        machine.leaf()
        machine.rebase()
        for _ in range(machine.drawn.between(2, 12)):
            getattr(machine, machine.drawn.one_of(RECORDED))()
        machine.compare_all()
        machine.same_flags()
        machine.backward()


def test_eager_is_eager():
    before = recorder.LIMIT
    with backends.eager():
        x = facula.ones(3) + 1
        assert not recorder.pending and (x * 2).tolist() == [4, 4, 4]
    assert recorder.LIMIT == before
    if before:
        y = facula.ones(3) + 2
        assert recorder.pending and y.tolist() == [3, 3, 3]
