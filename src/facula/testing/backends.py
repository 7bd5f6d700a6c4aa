"""Running the same program by other means than machine code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from facula import config
from facula.engine import realize, recorder
from facula.engine.evaluator.plan import EvaluatedPlan
from facula.engine.session import MOST_KEPT, session
from facula.engine.targets import host
from facula.engine.trace.kept import Kept


@contextmanager
def interpreter() -> Iterator[None]:
    """What is recorded inside is computed by the NumPy interpreter."""
    backend = config.BACKEND.value
    with _anew():
        config.BACKEND.value = "interpreter"
        try:
            yield
            realize.flush()
        finally:
            config.BACKEND.value = backend


@contextmanager
def eager() -> Iterator[None]:
    """What is recorded inside is computed at its call, as with FACULA_EAGER=1."""
    with _anew():
        before = recorder.LIMIT
        recorder.LIMIT = 0
        recorder.on_time()
        try:
            yield
            realize.flush()
        finally:
            recorder.LIMIT = before
            recorder.on_time()


@contextmanager
def evaluator() -> Iterator[None]:
    """What is recorded inside is compiled, and computed by what the plans' steps mean."""
    with _anew():
        host.instead = EvaluatedPlan  # what a Program has, though it is none by name
        try:
            yield
            realize.flush()
        finally:
            host.instead = None


@contextmanager
def _anew() -> Iterator[None]:
    """Nothing that was met outside is known inside, nor the reverse: steps and replays come with the plan they had."""
    realize.flush()
    before = session.seen, session.plans
    session.seen, session.plans = Kept(MOST_KEPT), WeakValueDictionary()
    try:
        yield
    finally:
        session.seen, session.plans = before
