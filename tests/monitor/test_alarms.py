"""Alarms: each rule on series made for it; what is said, kept and told; and that a program is never disturbed."""

import json
import sqlite3
import sys
import threading

import numpy as np
import pytest

import docstrings
from facula import monitor
from facula.monitor import alarms, rules, schema


@pytest.fixture(autouse=True)
def nothing_running():
    yield
    monitor.finish()


def judged(rule, values, row=lambda k: {}):
    """What a rule says of each value, as a list of line or None."""
    judging = rule.judge()
    next(judging)
    return [judging.send((value, row(k))) for k, value in enumerate(values)]


def wrong(*arguments, **options):
    """Where a rule says something."""
    return [k for k, said in enumerate(judged(*arguments, **options)) if said is not None]


def started(tmp_path, **options):
    return monitor.init(dir=tmp_path, system=None, **options)


@pytest.mark.parametrize("module", [alarms, rules], ids=lambda m: m.__name__)
def test_examples_run_and_names_have_docstrings(module):
    docstrings.check(module)


# ---- rules ----

def test_not_finite():
    said = judged(monitor.NotFinite(), [1.0, float("nan"), 0.0, float("inf"), -float("inf"), 1e308])
    assert said == [None, "is nan", None, "is inf", "is -inf", None]


def test_exploding_by_threshold_and_by_change():
    assert wrong(monitor.Exploding(above=10, times=None), [1, 10, 10.5, 3, 1e9]) == [2, 4]
    steady = [1.0, 1.2, 0.9, 1.1, 1.0] * 4
    assert wrong(monitor.Exploding(above=None, times=50), [*steady, 45.0, 1.0, 90.0]) == [22]
    assert wrong(monitor.Exploding(above=None, times=50, after=30), [*steady, 60.0]) == []  # nothing is usual yet
    assert "55 times what is usual (1)" in judged(monitor.Exploding(times=50), [1.0] * 20 + [55.0])[-1]
    slowly = np.exp(np.arange(200) * 0.02)  # grows 50 times, never suddenly
    assert wrong(monitor.Exploding(above=None, times=10), slowly) == []
    assert wrong(monitor.Exploding(above=None, times=10), [0.0] * 50 + [1.0]) == []  # zeros are no usual norm


def test_vanishing_by_threshold_and_by_change():
    rule = monitor.Vanishing(below=1e-6, times=None, patience=3)
    assert wrong(rule, [1, 1e-7, 1e-7, 1, 1e-7, 0.0, 1e-9, 1e-9, 1]) == [6, 7]
    rule = monitor.Vanishing(below=None, times=100, patience=2)
    assert wrong(rule, [1.0] * 20 + [0.02, 0.02, 0.005, 0.005, 0.005]) == [23, 24]
    assert wrong(monitor.Vanishing(below=None, times=100, patience=2), [1e-9] * 50) == []  # small, and always was


def test_dead_units_and_plateau():
    assert wrong(monitor.DeadUnits(above=0.3), [0.0, 0.3, 0.31]) == [2]
    assert wrong(monitor.Plateau("x", patience=3), [3, 2, 2, 2, 2, 2, 1, 1]) == [4, 5]
    assert wrong(monitor.Plateau("x", patience=2, mode="max"), [1, 2, 3, 3, 2.9, 4]) == [4]
    assert wrong(monitor.Plateau("x", patience=2, min_delta=0.5), [3, 2.9, 2.8, 2.4, 2.3, 2.2]) == [2, 5]


def test_stalled_loader():
    rule = monitor.StalledLoader(above=0.45, window=4)
    waits = [0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9]
    assert wrong(rule, waits, row=lambda k: {"time/step": 1.0}) == [3, 6, 7]
    assert wrong(rule, waits, row=lambda k: {"time/step": 1.0 if k < 4 else 10.0}) == [3]
    assert wrong(rule, waits, row=lambda k: {}) == wrong(rule, waits, row=lambda k: {"time/step": "x"}) == []


def test_memory_growth():
    rule = monitor.MemoryGrowth(window=9, by=0.1, least=10)
    assert wrong(rule, [100 + 5 * k for k in range(9)]) == [8]
    assert wrong(rule, [100, 200, 300] * 6) == []  # goes up, and down again
    assert wrong(rule, [100 + k for k in range(30)]) == []  # by less than a tenth
    assert wrong(rule, [10 + k for k in range(9)]) == []  # by less than 10 bytes
    assert wrong(rule, [100] * 3 + [500] * 30) == []  # once, and for good
    said = judged(monitor.MemoryGrowth(window=3), [1e9, 1.5e9, 2e9])[2]
    assert said == "has grown from 1.00 GB to 2.00 GB in 3 values"


def test_what_makes_no_rule_is_refused():
    for make in (lambda: monitor.Exploding(level="LOUD"), lambda: monitor.Plateau("x", mode="best"),
                 lambda: monitor.StalledLoader(window=0), lambda: monitor.MemoryGrowth(window=2),
                 lambda: monitor.Exploding(times=0.5), lambda: monitor.NotFinite(again=0)):
        with pytest.raises(ValueError):
            make()
    for make in (lambda: monitor.When("x", 3), lambda: monitor.init(mode="disabled", alarms=["nan"]),
                 lambda: monitor.init(mode="disabled", on_alarm=3)):
        with pytest.raises(TypeError):
            make()


def test_keys_are_names_and_patterns():
    rule = monitor.Exploding(keys=["a/*", "b"])
    assert [rule.concerns(key) for key in ("a/x", "a/x/y", "b", "bb", "xa/x", "a\n/x")] == [
        True, True, True, False, False, False]
    usual = monitor.Exploding()
    assert usual.concerns("train/grad_norm") and usual.concerns("gradient_norms/0.weight")
    assert not usual.concerns("loss")


# ---- a run ----

def test_an_alarm_is_said_kept_and_told(tmp_path, capsys):
    told = []
    with started(tmp_path, on_alarm=told.append) as r:
        r.log({"train/loss": 1.0})
        r.log({"train/loss": float("nan"), "acc": 1.0})
        assert r.flush()
        found, = r.alarms
    assert (found.name, found.key, found.step, found.level, found.text) == (
        "not finite", "train/loss", 1, "ERROR", "train/loss is nan")
    assert told == [found]
    assert capsys.readouterr().err == "facula.monitor: error: not finite: train/loss is nan (step 1)\n"
    kept, = monitor.Folder(tmp_path).get(r.id).alerts()
    assert (kept["title"], kept["key"], kept["step"], kept["level"], kept["text"]) == (
        "not finite", "train/loss", 1, "ERROR", "train/loss is nan")
    assert monitor.Folder(tmp_path).get(r.id).series("train/loss").length == 2


def test_an_alarm_is_said_once_until_all_has_been_right_for_a_while(tmp_path):
    with started(tmp_path, alarms=[monitor.NotFinite(again=3)]) as r:
        for value in (np.nan, np.nan, 1, 1, np.nan, 1, 1, 1, np.nan, 1):
            r.log({"x": value})
    assert [a.step for a in r.alarms] == [0, 8]


def test_many_series_that_go_wrong_at_once_are_one_line(tmp_path):
    with started(tmp_path) as r:
        r.log({f"gradient_norms/{k}": float("inf") for k in range(50)})
    only, = r.alarms
    assert only.key == "gradient_norms/0" and "is inf (and 49 more: gradient_norms/1, gradient_norms/2" in only.text


def test_lines_are_lines_and_are_bounded(tmp_path, capsys):
    with started(tmp_path) as r:
        r.log({"a\n\x1b[31m\ud800" + "x" * 10_000: float("nan")})
        r.alert("first\nsecond\x07")
    said = capsys.readouterr().err
    assert len(said) < 800 and said.count("\n") == 2 and "\x1b" not in said and "\x07" not in said
    assert "a\\n\\x1b[31m" in said and "first\\nsecond" in said
    assert len(monitor.Folder(tmp_path).get(r.id).alerts()) == 2


def test_a_run_says_a_bounded_number(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(alarms, "MOST", 3)
    with started(tmp_path) as r:
        for k in range(10):
            r.log({f"x{k}": float("nan")})
    assert [a.key for a in r.alarms] == ["x0", "x1", "x2"] and "no more alarms" in r.alarms[-1].text
    assert capsys.readouterr().err.count("\n") == 3


def test_rules_are_chosen_added_and_replaced(tmp_path):
    with started(tmp_path, alarms=False) as r:
        r.log({"x": float("nan")})
    assert r.alarms == ()
    with started(tmp_path) as r:
        monitor.alarm(monitor.When("lr", lambda value: value > 1))
        monitor.alarm(monitor.Exploding(above=5, name="exploding gradient"))  # in the place of the usual one
        monitor.alarm(monitor.Plateau("val*", patience=1))
        for k in range(3):
            monitor.log({"lr": float(k), "grad_norm": 4.0 + k, "val/acc": 1})
    assert sorted((a.name, a.key, a.step) for a in r.alarms) == [
        ("condition", "lr", 2), ("exploding gradient", "grad_norm", 2), ("plateau", "val/acc", 1)]
    with pytest.raises(TypeError, match="expected a rule"):
        r.alarm("nan")


def test_nothing_that_goes_wrong_reaches_the_program(tmp_path, capsys):
    class Broken(monitor.Rule):
        def judge(self):
            raise RuntimeError("no judge")

    def raising(alarm):
        raise RuntimeError("no listener")

    told = []
    with started(tmp_path, on_alarm=raising) as r:
        r.on_alarm(told.append)
        r.alarm(Broken("*", name="broken"))
        r.alarm(monitor.When("*", lambda value: 1 / 0, name="zero"))
        r.alarm(monitor.When("y", lambda value: (_ for _ in ()).throw(StopIteration), name="ended"))
        for step in range(3):
            r.log({"x": float("nan"), "y": float(step), "text": "a", "pic": monitor.Histogram([1.0])})
            r.log({"z": 10 ** 400})
        assert r.flush()
    found = monitor.Folder(tmp_path).get(r.id)
    assert found.series("y").values.tolist() == [0, 1, 2] and len(found.things("text")) == 3
    assert [a.key for a in r.alarms] == [a.key for a in told] == ["x", "z"]
    said = capsys.readouterr().err
    for line in ("no judge; it is not asked again", "division by zero; it is not asked again",
                 "no listener; this function is not called again"):
        assert said.count(line) == 1, said


def test_who_ends_the_thread_that_writes_is_not_called_again(tmp_path, capsys):
    """`sys.exit()` in a listener ends no program, and no writing."""
    class Leaving(monitor.Rule):
        def judge(self):
            raise SystemExit(3)

    told = []
    with started(tmp_path, on_alarm=lambda alarm: sys.exit(4)) as r:
        r.on_alarm(told.append)
        r.alarm(Leaving("*", name="leaving"))
        r.alarm(monitor.When("x", lambda value: sys.exit(5), name="function"))
        for _ in range(2):
            r.log({"x": 1.0})
        r.log({"y": float("nan")})
        assert r.flush()
        r.log({"y": 1.0})
        assert r.flush() and r.writer.thread.is_alive()
        assert [alarm.key for alarm in r.alarms] == [alarm.key for alarm in told] == ["y"]
    said = capsys.readouterr().err
    assert [said.count(f"SystemExit: {k};") for k in (3, 4, 5)] == [1, 1, 1]


def test_a_listener_may_log_and_cannot_wait_for_itself(tmp_path):
    waited = []

    def told(alarm):
        r.log({"seen": 1.0}, step=alarm.step)
        waited.append((r.flush(), threading.current_thread() is r.writer.thread))

    with started(tmp_path, on_alarm=told) as r:
        r.log({"x": float("nan")})
        assert r.flush()
    assert waited == [(False, True)]
    assert monitor.Folder(tmp_path).get(r.id).series("seen").length == 1


def test_alarms_outlive_a_file_that_cannot_be_written(tmp_path, capsys):
    with started(tmp_path) as r:
        holder = sqlite3.connect(r.path, isolation_level=None)
        r.flush()
        r.writer._connection.execute("PRAGMA busy_timeout=10")
        holder.execute("BEGIN IMMEDIATE")
        r.log({"x": float("nan")})
        assert not r.flush(0.6)  # tried several times
        assert [a.key for a in r.alarms] == ["x"]
        holder.execute("ROLLBACK")
        holder.close()
        assert r.flush()
    assert len(monitor.Folder(tmp_path).get(r.id).alerts()) == 1
    assert capsys.readouterr().err.count("x is nan") == 1


def test_files_of_the_first_layout_are_read_and_gone_on_with(tmp_path):
    with started(tmp_path, id="old") as r:
        r.alert("before")
    with sqlite3.connect(r.path) as connection:
        connection.execute("ALTER TABLE alerts DROP COLUMN key")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    before, = monitor.Folder(tmp_path).get("old").alerts()
    assert (before["title"], before["key"]) == ("before", None)
    with started(tmp_path, id="old", resume=True) as r:
        r.log({"x": float("nan")})
    assert [(a["title"], a["key"]) for a in monitor.Folder(tmp_path).get("old").alerts()] == [
        ("before", None), ("not finite", "x")]
    assert [a["title"] for a in monitor.Folder(tmp_path).get("old").alerts(last=1)] == ["not finite"]
    assert schema.connect(r.path).execute("PRAGMA user_version").fetchone()[0] == schema.VERSION


def test_disabled_runs_have_none():
    r = monitor.init(mode="disabled", on_alarm=print)
    r.alarm(monitor.NotFinite())
    r.on_alarm(print)
    r.log({"x": float("nan")})
    assert r.alarms == ()


def test_the_page_is_told(tmp_path):
    pytest.importorskip("starlette")
    from facula.monitor import server
    with started(tmp_path, id="r") as r:
        r.log({"<b>x</b>": float("nan")})
    folder = monitor.Folder(tmp_path)
    described = server.described(folder.get("r"))
    assert described["alerts"] == 1 and json.dumps(described)
