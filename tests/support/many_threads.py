"""Functions that run in several threads, which are switched as often as can be."""

import sys
import threading

import pytest


@pytest.fixture(autouse=True)
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(functions, seconds=120):
    """Run them in a thread each; the results in order."""
    results, errors = [None] * len(functions), []

    def call(k):
        try:
            results[k] = functions[k]()
        except BaseException as error:  # shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=call, args=(k,), daemon=True) for k in range(len(functions))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(seconds)
    assert not any(t.is_alive() for t in threads), "threads wait for each other"
    assert errors == []
    return results
