"""Progress bars: what is said, and that loops are what they were."""

import importlib
import sys

import pytest

import docstrings
from facula import monitor
from facula.autograd.profiler import listeners
from facula.monitor import progressing, timing


class Clock:
    """A second later each time it is asked."""

    def __init__(self, by=1.0):
        self.now, self.by = 0.0, by

    def __call__(self):
        self.now += self.by
        return self.now


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


def test_examples_run_and_names_have_docstrings():
    docstrings.check(progressing)


def test_lines(without_tqdm, capsys):
    bar = progressing.Progress(range(30), "epoch\n1", None, "batches", False, Clock())
    seen = []
    for k in bar:
        seen.append(k)
        bar.set_postfix({"loss": 0.123456}, step=k)
    assert seen == list(range(30)) and len(bar) == 30
    assert capsys.readouterr().err.splitlines() == [
        "epoch\\n1: 2/30 (7%) batches, 1 a second, 28.0 s left, loss=0.1235, step=1",
        "epoch\\n1: 12/30 (40%) batches, 1 a second, 18.0 s left, loss=0.1235, step=11",
        "epoch\\n1: 22/30 (73%) batches, 1 a second, 8.0 s left, loss=0.1235, step=21",
        "epoch\\n1: 30/30 (100%) batches, 0.968 a second, in 31.0 s, loss=0.1235, step=29"]


def test_a_short_loop_says_nothing(without_tqdm, capsys):
    assert list(progressing.Progress(range(100), "", None, "it", False, Clock(1e-3))) == list(range(100))
    assert capsys.readouterr().err == ""


def test_where_nobody_knows_the_length(without_tqdm, capsys):
    bar = progressing.Progress(iter(range(5)), "", None, "it", False, Clock(4000.0))
    assert list(bar) == list(range(5))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "1 it, 0.00025 a second" and said[-1] == "5 it, 0.000208 a second, in 6:40 h"
    with pytest.raises(TypeError, match="total="):
        len(bar)
    assert len(monitor.progress(iter("ab"), total=2)) == 2


def test_by_tqdm_where_it_is(monkeypatch):
    made = []

    class Bar:
        def __init__(self, **options):
            self.options, self.n, self.said, self.closed = options, 0, "", False
            made.append(self)

        def update(self, n):
            self.n += n

        def set_postfix_str(self, text):
            self.said = text

        def close(self):
            self.closed = True

    monkeypatch.setitem(sys.modules, "tqdm", type(sys)("tqdm"))
    sys.modules["tqdm"].tqdm = Bar
    bar = monitor.progress([1, 2, 3], "fit", unit="batch")
    for k in bar:
        bar.set_postfix(k=k)
        if k == 2:
            break  # the generator ends with the loop
    only, = made
    assert only.options == {"total": 3, "desc": "fit", "unit": "batch"}
    assert (only.n, only.said, only.closed) == (1, "k=2", True)
    assert list(bar) == [1, 2, 3] and made[1].n == 3


def test_with_tqdm_itself(capsys):
    pytest.importorskip("tqdm")
    importlib.import_module("tqdm")
    assert list(monitor.progress(range(4), "real")) == [0, 1, 2, 3]
    assert "real" in capsys.readouterr().err


@pytest.mark.parametrize("disable", [True, None])
def test_disabled(disable, capsys):
    bar = monitor.progress(range(3), "x", disable=disable)  # None: there is no terminal here
    for _ in bar:
        bar.set_postfix(loss=1.0)
    assert capsys.readouterr().err == ""


def test_a_closed_stderr_disturbs_nobody(without_tqdm, monkeypatch):
    for stream in (None, open("/dev/null")):
        if stream is not None:
            stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progressing.Progress(range(9), "", None, "it", False, Clock())) == list(range(9))
        assert list(progressing.Progress(range(9), "", None, "it", None, Clock())) == list(range(9))


def test_waiting_is_the_time_lines_data(tmp_path):
    run = monitor.init(dir=tmp_path, system=None)
    clock = Clock(0.0)
    line = timing.TimeLine(run, clock)

    def batches():
        for _ in range(2):
            clock.now += 0.5
            yield 1

    for _ in monitor.progress(batches(), disable=True):
        line.begin("optimizer")
        clock.now += 0.25
        line.end("optimizer")
    monitor.finish()
    assert listeners == []
    found = monitor.Folder(tmp_path).get(run.id)
    assert found.series("time/data").values.tolist() == [0.5, 0.5]
    assert found.series("time/step").values.tolist() == [0.75, 0.75]


def test_a_tqdm_that_fails_is_done_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", type(sys)("tqdm"))
    sys.modules["tqdm"].tqdm = lambda **options: 1 / 0
    assert list(monitor.progress("abc")) == ["a", "b", "c"]


def test_what_the_iterable_raises_is_raised(without_tqdm):
    def broken():
        yield 1
        raise ValueError("no more")

    seen = []
    with pytest.raises(ValueError, match="no more"):
        for k in monitor.progress(broken()):
            seen.append(k)
    assert seen == [1]
