"""Facula imported by a program that has threads already, as in a notebook: what is alive is known there too."""

import pytest

import children
from facula import config
from facula.engine.cpython import liveness

PROGRAM = """
import threading
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
try:
    import facula
    from facula.engine.cpython import liveness
    from facula.engine.threads import others
    assert others, "its thread has not been seen"
    print(liveness.known())
finally:
    stop.set()
    thread.join()
"""


@pytest.mark.processes
def test_counts_are_measured_beside_other_threads():
    assert children.printed(PROGRAM) == "True\n"


@pytest.mark.skipif(not liveness._counts(), reason="counts are switched off, or this Python has none that tell")
def test_counts_are_known_in_these_tests():
    """Else all of them would run on the safe road, and none would see memory that is taken too early."""
    assert config.LIVENESS.value != "off" and liveness.known()
