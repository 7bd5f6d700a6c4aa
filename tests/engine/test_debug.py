"""FACULA_DEBUG=0..4: what each level says on stderr, on top of the one below."""

import re
import subprocess
import sys

import pytest

from fresh import nothing_seen

pytestmark = pytest.mark.compiled
PROGRAM = """
import facula as F
x = F.arange(240).reshape(4, 60).float()
for _ in range(2):
    y = (x - x.amax(1, keepdim=True)).exp()
    z = (y / y.sum(1, keepdim=True)).t().cumsum(0)
    print(round(z.sum().item(), 3))
"""


@pytest.fixture(scope="module")
def said():
    import os
    from pathlib import Path
    found = []
    for level in range(5):
        env = {**os.environ, "FACULA_DEBUG": str(level), "FACULA_BACKEND": "cpu", "FACULA_EAGER": "0",
               "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent / "src")}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
        found.append(done)
    return found


def test_results_are_the_same_and_alone_on_stdout(said):
    assert {done.stdout for done in said} == {said[0].stdout}
    assert len(said[0].stdout.split()) == 2


def test_0_is_silent(said):
    assert said[0].stderr == ""


def test_1_says_a_line_a_plan_when_it_is_compiled(said):
    lines = said[1].stderr.splitlines()
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"facula: plan {number}: \d+ steps \(\d+ on the host\), \d+ leaves, \d+ outputs, \d+ in "
                            r"donated memory, \d+ bytes moved, \d+ bytes of temporaries, compiled in [\d.]+ ms", line)
    assert lines


def test_2_says_kernels_with_times_at_every_run(said):
    text = said[2].stderr
    compiled = len(re.findall(r"compiled in", text))
    ran = re.findall(r"^facula: plan (\d+) ran in [\d.]+ us$", text, re.M)
    assert len(ran) >= 2 and set(map(int, ran)) == set(range(1, compiled + 1))
    kernels = re.findall(r"^ +\d+ +[\d.]+ us  kernel .*, \d+ tiles, \d+ bytes$", text, re.M)
    assert any("exp" in line for line in kernels)
    assert "loops of" not in text and "define " not in text


def test_3_says_what_was_fused_and_the_loops(said):
    text = said[3].stderr
    assert re.search(r"^facula: \d+ groups$", text, re.M)
    assert "(row)" in text  # the sums of softmax stand in one group with the exponentials
    loops = re.search(r"^facula: loops of \[.*exp.*\]: over 4x60\(reduced\), vectors of \d+", text, re.M)
    assert loops
    assert re.search(r"^ +r\d+ = start sum of \d+ vectors:float32$", text, re.M)
    assert re.search(r"^ +store b\d+\[.*\] = v\d+$", text, re.M)
    assert re.search(r"^ +for row tile of row in \d+s in \d+ by threads:$", text, re.M)
    assert "not fused: " in text
    assert "define " not in text


def test_4_says_the_graph_and_the_code(said):
    text = said[4].stderr
    assert re.search(r"^facula: graph of \d+ nodes over \d+ leaves$", text, re.M)
    assert re.search(r"^ +%\d+ = .*\(%\d+", text, re.M)
    assert re.search(r"IR of k[0-9a-f]+ ", text)
    assert "define " in text
    assert "loops of" in text and "compiled in" in text and " ran in " in text


def test_what_is_remembered_of_runs_is_bounded(monkeypatch):
    import facula as F
    from facula.engine import plan_log
    monkeypatch.setattr(plan_log, "records", {})
    monkeypatch.setattr(plan_log, "MOST_LOGGED", 3)
    nothing_seen(monkeypatch)
    for n in range(1, 9):
        for _ in range(2):
            (F.ones(n) + F.arange(n)).tolist()
    records = plan_log.told()
    assert len(records) == 3 and [r["runs"] for r in records] == [2, 2, 2]
