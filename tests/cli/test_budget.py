"""`set_budget` and `--cores`: threads and places to run, and power that goes by a pretend tree of RAPL's counters."""

import os
import subprocess
import sys
import threading
import time

import pytest

import facula
from facula import budget

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")


@pytest.fixture
def restored():
    before, name = sorted(os.sched_getaffinity(0)), "FACULA_NUM_THREADS"
    threads, variable = facula.get_num_threads(), os.environ.get(name)
    yield before
    facula.set_budget()
    facula.set_num_threads(threads)
    if variable is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = variable
    assert sorted(os.sched_getaffinity(0)) == before


def test_cores(restored):
    """All threads that there are, those that come, and processes that are started."""
    gate, seen = threading.Event(), []
    old = threading.Thread(target=lambda: (gate.wait(), seen.append(os.sched_getaffinity(0))))
    old.start()
    try:
        facula.set_budget(cores=1)
    finally:
        gate.set()
        old.join()
    assert seen == [{restored[-1]}] and facula.get_num_threads() == 1
    said = subprocess.run([sys.executable, "-c", "import facula, os; print(facula.get_num_threads(), "
                                                 "len(os.sched_getaffinity(0)))"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert said.stdout.split() == ["1", "1"], said.stderr
    assert facula.ones(1000, 1000).sum() == 10 ** 6
    facula.set_budget()
    assert sorted(os.sched_getaffinity(0)) == restored
    facula.set_budget(cores=10 ** 6)
    assert sorted(os.sched_getaffinity(0)) == restored


@pytest.mark.parametrize("given, error", [
    ({"cores": 0}, ValueError), ({"cores": -1}, ValueError), ({"cores": 1.5}, TypeError), ({"cores": True}, TypeError),
    ({"watts": 0}, ValueError), ({"watts": float("inf")}, ValueError), ({"watts": float("nan")}, ValueError),
    ({"watts": "1"}, TypeError)])
def test_what_is_no_budget(given, error):
    with pytest.raises(error, match="set_budget"):
        facula.set_budget(**given)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two packages, and what they have within (which is counted with them)."""
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("1000000")
        (tmp_path / name / "max_energy_range_uj").write_text("9999999")
    monkeypatch.setattr(budget, "POWERCAP", tmp_path)
    return tmp_path


def test_a_meter(tree):
    meter = budget.Meter()
    assert meter.joules() == 0
    (tree / "intel-rapl:0" / "energy_uj").write_text("3000000")
    (tree / "intel-rapl:1" / "energy_uj").write_text("500000")  # it has begun anew: 9 J and half a joule
    assert meter.joules() == pytest.approx(2 + 9.5)
    os.remove(tree / "intel-rapl:1" / "energy_uj")
    with pytest.raises(RuntimeError, match="cannot be read"):
        meter.joules()


def test_cores_follow_the_power(tree, monkeypatch):
    ran_on = []
    monkeypatch.setattr(budget, "_run_on", ran_on.append)
    governor = budget.Governor(budget.Meter(), 10.0, 4)
    for power in (9, 11, 12, 7, 7, 5, 11, 13):
        governor.look(power)
    assert ran_on == [3, 2, 3, 2, 1]  # at 7 W of 2 cores the third would make it 10.5
    with pytest.warns(UserWarning, match="on one core"):
        governor.look(15)
    governor.look(16)
    assert governor.cores == 1


def test_watts(tree, restored):
    """By the thread itself: what is drawn grows, so cores are given up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "EVERY", 0.01)
        facula.set_budget(watts=5)
        governor, path, drawn = budget._governor, tree / "intel-rapl:0" / "energy_uj", 1_000_000
        end = time.monotonic() + 30
        try:
            while governor.cores > 1:
                assert time.monotonic() < end
                drawn = (drawn + 1_000_000) % 9_000_000
                (tree / "next").write_text(str(drawn))
                os.replace(tree / "next", path)  # as a counter is: never empty
                time.sleep(0.005)
            assert os.sched_getaffinity(0) == {restored[-1]}
        finally:
            facula.set_budget()
        assert budget._governor is None and not governor.is_alive()
    os.rename(tree / "intel-rapl:0", tree / "gone")
    os.rename(tree / "intel-rapl:1", tree / "gone too")
    with pytest.raises(RuntimeError, match="tells no power"):
        facula.set_budget(watts=5)


def test_counters_that_cannot_be_read_for_once(tree, monkeypatch):
    """The thread goes on, and says so once."""
    monkeypatch.setattr(budget, "EVERY", 0.001)
    ran_on, path = [], tree / "intel-rapl:0" / "energy_uj"
    monkeypatch.setattr(budget, "_run_on", ran_on.append)
    governor = budget.Governor(budget.Meter(), 1e-6, 2)
    path.write_text("")
    looks = []

    def joules(read=governor.meter.joules):
        looks.append(None)
        if len(looks) == 3:
            path.write_text("2000000")
        if len(looks) == 5:
            governor.ended.set()
        return read()
    monkeypatch.setattr(governor.meter, "joules", joules)
    with pytest.warns(UserWarning) as said:
        governor.run()
    assert ran_on == [1, 2] and sum("invalid literal" in str(one.message) for one in said) == 1


TRAIN = """
import os, time
import facula as torch
net = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Tanh(), torch.nn.Linear(256, 10))
optimizer = torch.optim.Adam(net.parameters())
x = torch.randn(512, 256)
def step():
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()
for _ in range(3):
    step()
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(50):
    step()
net[0].weight.sum().item()
print((time.process_time() - cpu) / (time.perf_counter() - wall), len(os.sched_getaffinity(0)))
"""


@pytest.mark.processes
def test_a_program_on_one_core(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-m", "facula", "run", "--cores", "1", "train.py"], cwd=tmp_path, env=env,
                          capture_output=True, text=True)
    share, cores = said.stdout.split()
    assert float(share) <= 1.05 and cores == "1", said.stderr
    for wrong, words in ((["--cores", "0"], "--cores"), (["--watts", "-1"], "watts")):
        said = subprocess.run([sys.executable, "-m", "facula", "run", *wrong, "train.py"], cwd=tmp_path, env=env,
                              capture_output=True, text=True)
        assert said.returncode == 2 and words in said.stderr and "Traceback" not in said.stderr
