"""The order of every sum belongs to the program, not to the register or to the threads: the same bits for vectors of
64, 32 and 16 bytes, for one thread and for two, fused or one by one.
`tools/digests.py` has the results, and takes other machines' too."""

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.compiled, pytest.mark.processes, pytest.mark.slow]
TOOL = pathlib.Path(__file__).parent.parent.parent.parent / "tools" / "digests.py"
# One thread more for whatever there is to do. (Both count nanoseconds: no order of a sum follows them.)
EAGER_THREADS = {"FACULA_NUM_THREADS": "2", "FACULA_THRESHOLDS": "thread_ns=1,wake_ns=0"}
OTHERS = [{"FACULA_VECTOR_BYTES": "32"}, {"FACULA_VECTOR_BYTES": "16"}, EAGER_THREADS, {"FACULA_EAGER": "1"}]


def digests(environment, *arguments):
    found = subprocess.run([sys.executable, TOOL, *arguments], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    lines = [line for line in found.stdout.splitlines() if not line.startswith("#")]
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


@pytest.fixture(scope="module")
def environment():
    sources = [str(TOOL.parent.parent / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sources)), "FACULA_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def widest(environment):
    return digests(environment)


@pytest.mark.parametrize("settings", OTHERS, ids=lambda s: "-".join(s.values()))
def test_results_have_the_same_bits(environment, widest, settings):
    found = digests({**environment, **settings})
    assert len(found) >= 100
    assert [name for name in widest if found.get(name) != widest[name]] == []


@pytest.mark.parametrize("part", ["3/12"])  # all of them by hand: tools/digests.py --sweep
def test_operations_have_the_same_bits(environment, part):
    widest = digests(environment, "--sweep", "--part", part)
    assert len(widest) > 20
    for settings in OTHERS[:2]:
        found = digests({**environment, **settings}, "--sweep", "--part", part)
        assert [name for name in widest if found.get(name) != widest[name]] == [], settings
