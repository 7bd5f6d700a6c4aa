"""The time line: what a clock of the test's own says is what is logged."""

import threading

import pytest

import docstrings
import facula
from facula import monitor, nn
from facula.autograd.backward import passes
from facula.autograd.profiler import listeners, record_function
from facula.monitor import timing
from facula.utils.data import DataLoader


class Clock:
    """Says what it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def nothing_running():
    yield
    monitor.finish()
    assert passes == [] and listeners == []


@pytest.fixture
def line(tmp_path):
    return timing.TimeLine(monitor.init(dir=tmp_path, system=None), Clock())


def rows(run):
    run.finish()
    found = monitor.Folder(run.path.parent.parent).get(run.id)
    keys = ("step", *timing.PHASES)
    columns = [found.series(f"time/{key}") for key in keys]
    return columns[0].steps.tolist(), {key: [round(float(v), 9) for v in column.values]
                                       for key, column in zip(keys, columns, strict=True)}


def spend(line, seconds, phase=None):
    if phase:
        line.begin(phase)
    line._clock.now += seconds
    if phase:
        line.end(phase)


def test_examples_run_and_names_have_docstrings():
    docstrings.check(timing)


def test_phases_of_a_step(line):
    for k in range(2):
        spend(line, 0.25, "data")
        spend(line, 0.5, "forward")
        spend(line, 0.125)
        spend(line, 1.0, "backward")
        spend(line, 1.0 + k, "backward")  # twice: added up
        spend(line, 2.0, "optimizer")
    assert rows(line.run) == ([0, 1], {"step": [4.875, 5.875], "data": [0.25] * 2, "forward": [0.5] * 2,
                                       "backward": [2.0, 3.0], "optimizer": [2.0] * 2})


def test_phases_within_others_count_once(line):
    line.enter("Optimizer.step#LBFGS.step")  # whose closure goes forward and backward
    spend(line, 1.0)
    line.begin("forward")
    spend(line, 2.0)
    spend(line, 4.0, "forward")  # a model within a model
    line.end("forward")
    line.begun()
    spend(line, 8.0)
    line.ended()
    line.leave("Optimizer.step#LBFGS.step")
    assert rows(line.run)[1] == {"step": [15.0], "data": [0.0], "forward": [6.0], "backward": [8.0], "optimizer": [1.0]}


def test_what_an_exception_has_left_open_is_forgotten(line):
    line.begin("backward")  # raised
    spend(line, 1.0)
    spend(line, 2.0, "optimizer")
    spend(line, 4.0, "backward")
    line.end("forward")  # never begun
    spend(line, 8.0, "optimizer")
    assert rows(line.run)[1] == {"step": [3.0, 12.0], "data": [0.0] * 2, "forward": [0.0] * 2,
                                 "backward": [0.0, 4.0], "optimizer": [2.0, 8.0]}


def test_short_steps_are_logged_together(line):
    for _ in range(7):
        spend(line, 1 / 128, "data")
        spend(line, 3 / 128, "optimizer")  # 1/32 s: four of them are more than LEAST
        line.run.log({"loss": 1.0})
    steps, found = rows(line.run)
    assert steps == [3, 6] and found["step"] == [1 / 32] * 2 and found["data"] == [1 / 128] * 2  # the rest at the end


def test_other_threads_and_ranges_are_left_out(line):
    line.begun()
    line.ended()
    thread = threading.Thread(target=lambda: (line.begin("data"), line.end("data"), line.end("backward")))
    with record_function("enumerate(DataLoader)#x"):
        thread.start()
        thread.join()
        with record_function("mine"):
            spend(line, 1.0)
    spend(line, 1.0, "optimizer")
    assert rows(line.run)[1]["data"] == [1.0]


def test_a_training_has_one(tmp_path, monkeypatch):
    told = []
    begin, end = timing.TimeLine.begin, timing.TimeLine.end
    monkeypatch.setattr(timing.TimeLine, "begin", lambda self, phase: (told.append(phase), begin(self, phase))[1])
    monkeypatch.setattr(timing.TimeLine, "end", lambda self, phase: (told.append("-" + phase), end(self, phase))[1])
    monkeypatch.setattr(timing, "LEAST", 0.0)
    model = nn.Linear(2, 1)
    optimizer = facula.optim.SGD(model.parameters(), lr=0.1)
    run = monitor.init(dir=tmp_path, system=None)
    monitor.watch(model)
    for batch in DataLoader(facula.ones(4, 2), batch_size=2):
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()
    once = ["data", "-data", "forward", "-forward", "backward", "-backward", "optimizer", "-optimizer"]
    assert told == [*once, *once, "data", "-data"]
    steps, found = rows(run)
    assert steps == [0, 1]
    for k in range(2):
        parts = [found[phase][k] for phase in timing.PHASES]
        assert min(parts) > 0 and sum(parts) <= found["step"][k] + 1e-6


def test_it_is_begun_and_ended_by_whom(tmp_path):
    run, model = monitor.init(dir=tmp_path, system=None), nn.Linear(2, 1)
    monitor.watch(model, timed=False)
    assert listeners == []
    monitor.unwatch()
    monitor.watch(model)
    assert len(listeners) == 1
    monitor.unwatch()
    assert listeners == [] and run.observers == []
    mine = monitor.time_line()
    monitor.watch(model)
    assert monitor.time_line() is mine
    monitor.unwatch()
    assert listeners == [mine]
    mine.stop()
    assert listeners == []
    monitor.init(mode="disabled")
    assert monitor.time_line() is None


def test_a_rank_that_is_late(line):
    for _ in range(20):
        line.arrived(1, {0: -0.5, 2: 0.25, 3: 0.0})  # a collective, as rank 1 sees it; the middle is 0
        line.arrived(1, {0: -0.5, 2: 0.25, 3: 0.25})
        spend(line, 1.0, "optimizer")
    run = line.run
    run.finish()
    found = monitor.Folder(run.path.parent.parent).get(run.id)
    lags = {rank: found.series(f"lag/rank {rank}").values.tolist() for rank in range(4)}
    assert lags == {0: [0.0] * 20, 1: [0.0] * 20, 2: [0.5] * 20, 3: [0.25] * 20}
    only, = run.alarms
    assert (only.name, only.level) == ("lagging rank", "WARN")
    assert only.text == "lag/rank 2 is 50% of the time of 20 steps (and 1 more: lag/rank 3)"


def test_of_two_ranks_the_later_one_is_late(line, monkeypatch):
    line.arrived(0, {1: 0.5})
    spend(line, 1.0, "optimizer")
    line.arrived(0, {1: -0.5})
    spend(line, 1.0, "optimizer")
    monkeypatch.setattr(timing, "RANKS", 3)
    line.arrived(0, {rank: float(rank) for rank in range(1, 100)})
    spend(line, 1.0, "optimizer")
    line.run.finish()
    found = monitor.Folder(line.run.path.parent.parent).get(line.run.id)
    assert found.series("lag/rank 1").values.tolist() == [0.5, 0.0]
    assert found.series("lag/rank 0").values.tolist() == [0.0, 0.5]
    assert sorted(k for k in found.keys() if k.startswith("lag")) == [f"lag/rank {k}" for k in (0, 1, 97, 98, 99)]


def test_a_stalled_loader_is_said(line):
    for _ in range(20):
        spend(line, 0.75, "data")
        spend(line, 0.25, "optimizer")
    line.run.flush()
    alarm, = line.run.alarms
    assert (alarm.name, alarm.text) == ("stalled loader", "time/data is 75% of the time of 20 steps")
