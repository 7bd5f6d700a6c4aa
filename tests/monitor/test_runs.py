"""Runs: what is logged is what is read, whatever ends the program."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import docstrings
import facula
from facula import monitor
from facula.monitor import encoding, machine, media, reading, rows, runs, schema, settings, values, wandb, writer


@pytest.fixture(autouse=True)
def nothing_running():
    yield
    monitor.finish()


def started(tmp_path, **options):
    return monitor.init(dir=tmp_path, system=None, **options)


@pytest.mark.parametrize("module", [monitor, encoding, machine, media, reading, rows, runs, schema, settings, values,
                                    wandb, writer], ids=lambda m: m.__name__)
def test_examples_run_and_names_have_docstrings(module):
    docstrings.check(module)


def test_scalars_come_back_equal(tmp_path):
    with started(tmp_path, name="n", project="p", tags=["a"], config={"lr": 0.1, "deep": {"k": [1, 2]}}) as r:
        r.log({"a": 1.5, "b": 2, "c": facula.tensor(3.0), "d": np.float32(4), "e": True, "f": {"g": 5, "h": {"i": 6}}})
        r.log({"a": float("nan")}, commit=False)
        r.log({"b": float("inf")})
        r.log({"a": -1.0, "none": None}, step=10)
        r.log({"z": 10 ** 400}, step=2 ** 70)
    found = monitor.Folder(tmp_path).get(r.id)
    series = found.series("a")
    assert series.steps.tolist() == [0, 1, 10] and series.values[0] == 1.5 and np.isnan(series.values[1])
    assert found.series("b").steps.tolist() == [0, 1] and found.series("b").values.tolist() == [2, np.inf]
    assert found.series("z").steps.tolist() == [2 ** 63 - 1] and found.series("z").values.tolist() == [np.inf]
    assert {k: found.series(k).values.tolist() for k in ("c", "d", "e", "f.g", "f.h.i")} == {
        "c": [3.0], "d": [4.0], "e": [1.0], "f.g": [5.0], "f.h.i": [6.0]}
    assert found.config() == {"lr": 0.1, "deep": {"k": [1, 2]}}
    about = found.about()
    assert (about["name"], about["project"], about["tags"], about["state"]) == ("n", "p", ["a"], "finished")
    assert found.keys()["a"] == "scalar" and "none" not in found.keys()
    assert found.series("nobody").length == 0


def test_steps_in_any_order_are_sorted_and_read_on(tmp_path):
    r = started(tmp_path)
    for step in (5, 1, 3):
        r.log({"x": float(step)}, step=step)
    r.flush()
    found = monitor.Folder(tmp_path).get(r.id)
    assert found.series("x").values.tolist() == [1, 3, 5]
    r.log({"x": 2.0}, step=2)
    r.flush()
    assert found.series("x").values.tolist() == [1, 2, 3, 5]
    assert found.series("x", first=2, last=3).steps.tolist() == [1, 2, 3, 5]


def test_media_come_back(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    with started(tmp_path) as r:
        r.log({"image": monitor.Image(pixels, caption="<b>"), "text": "a<script>",
               "many": [monitor.Image(pixels[:, :, 0])] * 2,
               "table": monitor.Table(["a", "b"], [[1, float("nan")], [np.float32(2), "x"]]),
               "sound": monitor.Audio(np.sin(np.arange(100)), sample_rate=8000),
               "hist": monitor.Histogram([1, 2, np.inf]),
               "array": facula.arange(10.0)})
    found = monitor.Folder(tmp_path).get(r.id)
    assert found.keys() == {"image": "image", "text": "text", "many": "image", "table": "table", "sound": "audio",
                            "hist": "histogram", "array": "histogram"}
    image, = found.things("image")
    assert image.media == "image/png" and image.facts == {"caption": "<b>", "size": [4, 2]}
    assert decoded(image.bytes).tolist() == pixels.tolist()
    assert [t.part for t in found.things("many")] == [0, 1]
    assert found.things("text")[0].bytes == b"a<script>"
    assert found.things("table")[0].bytes == b'{"columns": ["a", "b"], "data": [[1, "nan"], [2.0, "x"]]}'
    assert found.things("hist")[0].facts["lost"] == 1
    assert found.thing(found.things("sound", data=False)[0].id).bytes[:4] == b"RIFF"


def decoded(data):
    """The pixels of a PNG file without filters."""
    import struct
    import zlib
    at, parts = 8, {}
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body)
        parts[kind] = body
        at += 12 + size
    width, height, _, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, channels)


def test_images_of_every_sort():
    for given, want in ((np.array([[0.0, 1.0]]), [[0, 255]]), (np.array([[-1.0, 1.0]]), [[0, 255]]),
                        (np.array([[300.0, -5.0]]), [[255, 0]]), (np.array([[True, False]]), [[255, 0]])):
        assert decoded(monitor.Image(given).parts()[0][2]())[:, :, 0].tolist() == want
    assert monitor.Image(facula.zeros(3, 4, 5)).size == (5, 4)
    assert monitor.Image(facula.zeros(5, 1, 4, 4)).size == (16, 10)
    for wrong in (np.zeros((2, 2, 5)), np.zeros(3), np.zeros((0, 2))):
        with pytest.raises(ValueError):
            monitor.Image(wrong)
    with pytest.raises(NotImplementedError, match="boxes"):
        monitor.Image(np.zeros((2, 2)), boxes={})


def test_histograms_of_whatever_numbers():
    tiny = np.nextafter(1.0, 2.0)
    for x in ([1.0, tiny], [1e30, 1e30 * tiny], [-1e308, 1e308], [1e308, 1e308 * tiny], [0.0, 5e-324], [3.0],
              [-7.0] * 9):
        h = monitor.Histogram(x)
        assert sum(h.counts) == len(x) and h.edges[0] <= min(x) and max(x) <= h.edges[-1]
        assert h.edges == sorted(h.edges) and np.isfinite(h.edges).all()


def test_what_cannot_be_encoded_costs_nothing_else(tmp_path):
    class Broken(monitor.Text):
        def parts(self):
            raise ValueError("no parts")

    with started(tmp_path) as r:
        r.log({"broken": Broken("a"), "x": 1.0})
        assert r.flush()
    found = monitor.Folder(tmp_path).get(r.id)
    assert found.series("x").length == 1 and found.things("broken")[0].bytes == b"ValueError: no parts"


HUGE = 10 ** 5000  # Python refuses to write so many digits


class Ends(monitor.Media):
    """Whoever encodes it is told to end."""

    kind = "text"

    def parts(self):
        raise SystemExit


def of_a_mean(run):
    run.define_metric("x", summary="mean")
    run.log({"x": 10 ** 400})


@pytest.mark.parametrize("put", [
    lambda run: run.log({"x": HUGE, 1: 2.0}), of_a_mean, lambda run: run.config.update({"x": HUGE}),
    lambda run: run.summary.update({"x": -HUGE}), lambda run: run.log({"x": Ends()}),
    lambda run: run.writer.put(("points", "x", 3, 4, 5)), lambda run: run.writer.put(("about", {3: 4}))])
def test_one_thing_that_cannot_be_written_costs_no_other(tmp_path, put, capsys):
    with started(tmp_path, config={"a": 1}) as run:
        run.log({"before": 1.0})
        put(run)
        run.log({"after": 2.0})
        assert run.flush(5) and run.writer.thread.is_alive()
    found = monitor.Folder(tmp_path).get(run.id)
    assert found.series("before").values.tolist() == [1.0] and found.series("after").values.tolist() == [2.0]
    assert found.about()["state"] == "finished" and found.config()["a"] == 1
    if "x" in found.keys() and found.keys()["x"] == "scalar":
        assert found.series("x").values.tolist() == [np.inf] and found.summary()["x"] in ("inf", np.inf)
    for of in (found.config(), found.summary()):
        assert str(of.get("x", "inf")).lstrip("-").startswith(("0x", "inf"))
    assert found.series("1").values.tolist() == ([2.0] if "1" in found.keys() else [])


def test_runs_that_are_over_are_let_go(tmp_path):
    for _ in range(4):
        with started(tmp_path):
            pass
        monitor.init(mode="disabled")
        started(tmp_path)
    assert len(monitor._begun) == 1


def test_an_image_is_as_it_was_when_it_was_logged(tmp_path):
    pixels = np.zeros((2, 2), np.uint8)
    with started(tmp_path) as r:
        r.log({"i": monitor.Image(pixels)})
        pixels[:] = 9
    assert not decoded(monitor.Folder(tmp_path).get(r.id).things("i")[0].bytes).any()


def test_what_cannot_be_shown_is_refused_at_the_call(tmp_path):
    r = started(tmp_path)
    for value in (object(), 1j, [monitor.Image(np.zeros((2, 2))), monitor.Histogram([1])]):
        with pytest.raises(TypeError, match="'k'"):
            r.log({"k": value})
    with pytest.raises(ValueError, match="columns"):
        monitor.Table(["a"]).add_data(1, 2)
    with pytest.raises(RuntimeError, match=r"init first"):
        monitor.finish()
        monitor.log({"a": 1})
    with pytest.raises(RuntimeError, match="finished"):
        r.log({"a": 1})


def test_summary_and_rules(tmp_path):
    r = started(tmp_path)
    for name, rule in (("low", "min"), ("high", "max"), ("mean", "mean"), ("first", "first"), ("no", "none"),
                       ("p/*", "max")):
        r.define_metric(name, summary=rule)
    for value in (2.0, 3.0, 1.0):
        r.log(dict.fromkeys(("low", "high", "mean", "first", "no", "p/q", "last", "mine"), value))
        r.summary["mine"] = "kept"
    assert dict(r.summary) == {"low": 1, "high": 3, "mean": 2, "first": 2, "p/q": 3, "last": 1, "mine": "kept"}
    del r.summary["mine"]
    monitor.finish()
    assert "mine" not in monitor.Folder(tmp_path).get(r.id).summary()
    with pytest.raises(ValueError, match="summary"):
        r.define_metric("x", summary="median")


def test_configurations(tmp_path):
    import argparse
    r = started(tmp_path, config=argparse.Namespace(lr=0.5))
    r.config.width = 3
    r.config.update({"lr": 0.5})
    with pytest.raises(monitor.ConfigError, match="allow_val_change"):
        r.config.update(lr=1)
    r.config.update({"lr": 1}, allow_val_change=True)
    assert r.config.setdefaults({"lr": 7, "new": float("inf")}) == {"lr": 1, "width": 3, "new": "inf"}
    del r.config["width"]
    with pytest.raises(AttributeError):
        _ = r.config.width
    assert monitor.config is r.config
    monitor.finish()
    assert monitor.Folder(tmp_path).get(r.id).config() == {"lr": 1, "new": "inf"}


def test_going_on_with_a_run(tmp_path):
    with started(tmp_path, id="one", name="n", config={"a": 1}) as r:
        r.log({"x": 1.0})
    with pytest.raises(FileExistsError, match="resume"):
        started(tmp_path, id="one")
    with pytest.raises(FileNotFoundError):
        started(tmp_path, id="two", resume="must")
    with started(tmp_path, id="one", resume="allow", config={"b": 2}) as r:
        assert r.resumed and r.step == 1 and r.name == "n" and r.summary["x"] == 1
        r.log({"x": 2.0})
    found = monitor.Folder(tmp_path).get("one")
    assert found.series("x").steps.tolist() == [0, 1] and found.config() == {"a": 1, "b": 2}
    for wrong in ("../x", "", "a b", ".x"):
        with pytest.raises(ValueError, match="id="):
            started(tmp_path, id=wrong)
    assert monitor.Folder(tmp_path).get("..") is None


def test_thinning_keeps_ends_extremes_and_what_is_not_finite():
    n = 100_000
    y = np.random.default_rng(0).standard_normal(n)
    y[777], y[50_000], y[60_000] = 99, -99, np.nan
    whole = reading.Series(np.arange(n), np.arange(n) / 10, y, n)
    few = reading.thinned(whole, 400)
    assert len(few.values) <= 500 and few.length == n
    assert {0, n - 1, 777, 50_000, 60_000} <= set(few.steps.tolist())
    assert np.array_equal(y[few.steps], few.values, equal_nan=True) and (np.diff(few.steps) > 0).all()
    assert reading.thinned(reading.Series(*[np.zeros(3)] * 3, 3), 4).values.tolist() == [0, 0, 0]
    gone = reading.thinned(reading.Series(np.arange(n), np.arange(n), np.full(n, np.nan), n), 40)
    assert np.isnan(gone.values).all() and len(gone.values) <= 50


def program(text, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.processes
def test_a_killed_run_loses_at_most_the_last_second(tmp_path):
    child = program("""
        import sys, time
        from facula import monitor
        monitor.init(dir=sys.argv[1], id="killed")
        for k in range(10 ** 9):
            monitor.log({"t": time.time()})
            time.sleep(0.005)
            if k == 300: print("on", flush=True)
        """, tmp_path)
    assert child.stdout.readline() == "on\n"
    at = time.time()
    child.send_signal(signal.SIGKILL)
    child.wait()
    found = monitor.Folder(tmp_path).get("killed")
    series = found.series("t")
    assert series.steps.tolist() == list(range(len(series.steps))) and at - series.values[-1] < 1
    assert found.about()["state"] == "crashed"
    child.stdout.close(), child.stderr.close()


@pytest.mark.processes
def test_processes_write_into_one_folder_and_into_one_run(tmp_path):
    text = """
        import sys, os
        from facula import monitor
        k = int(sys.argv[2])
        mine = monitor.init(dir=sys.argv[1], system=None)
        shared = monitor.init(dir=sys.argv[1], id="shared", resume="allow", reinit="create_new", system=None)
        for step in range(2000):
            mine.log({"x": step * k, "y": 1}, step=step)
            shared.log({f"rank{k}": step, "all": k}, step=step)
        """
    children = [program(text, tmp_path, k) for k in range(4)]
    for child in children:
        _, said = child.communicate(timeout=120)
        assert child.returncode == 0 and not said, said
    folder = monitor.Folder(tmp_path)
    assert len(folder.runs()) == 5
    for found in folder:
        if found.id == "shared":
            assert [found.series(f"rank{k}").length for k in range(4)] == [2000] * 4
            assert found.series("all").length == 8000
        else:
            assert found.series("x").steps.tolist() == list(range(2000)) and found.series("y").length == 2000
        assert found.about()["state"] == "finished"


@pytest.mark.parametrize("taken", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_run_is_opened_while_another_makes_its_tables(tmp_path, taken):
    """SQLite may refuse to change its journal without waiting, where another connection writes."""
    path = tmp_path / "run.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute(f"BEGIN {taken}")
    other.execute("CREATE TABLE early(x)")
    timer = threading.Timer(0.2, other.execute, ("COMMIT",))
    timer.start()
    connection = schema.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    timer.join()
    other.close()
    connection.close()


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_children_log_too(tmp_path):
    child = program("""
        import os, sys
        from facula import monitor
        run = monitor.init(dir=sys.argv[1], id="r")
        for k in range(50):
            run.log({"parent": k})
            if k % 10 == 0:
                pid = os.fork()
                if not pid:
                    run.log({f"child{k}": 1.0})
                    assert run.flush()
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
        """, tmp_path)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said
    found = monitor.Folder(tmp_path).get("r")
    assert found.series("parent").length == 50
    assert [found.series(f"child{k}").length for k in range(0, 50, 10)] == [1] * 5


@pytest.mark.processes
def test_how_a_program_ends_is_the_runs_state(tmp_path):
    for name, end in (("ok", "pass"), ("raised", "raise ValueError(1)"), ("exit", "raise SystemExit(0)")):
        child = program(f"""
            import sys
            from facula import monitor
            run = monitor.init(dir=sys.argv[1], id="{name}", system=None)
            run.log({{"x": 1.0}})
            {end}
            """, tmp_path)
        child.communicate(timeout=60)
    folder = monitor.Folder(tmp_path)
    assert [folder.get(n).about()["state"] for n in ("ok", "raised", "exit")] == ["finished", "failed", "finished"]
    assert all(found.series("x").length == 1 for found in folder)


def test_finish_does_not_hang_where_the_file_is_held(tmp_path, capsys):
    r = started(tmp_path)
    holder = schema.connect(r.path)
    holder.execute("BEGIN IMMEDIATE")
    r.log({"x": 1.0})
    before = time.perf_counter()
    with pytest.warns(UserWarning, match="could not be written"):
        r.finish(timeout=0.5)
    assert time.perf_counter() - before < 60  # not for ever
    holder.execute("ROLLBACK")
    holder.close()
    r.writer.thread.join(20)  # it goes on trying
    assert monitor.Folder(tmp_path).get(r.id).series("x").length == 1


def test_an_interrupt_costs_nothing(tmp_path):
    r = started(tmp_path)
    count, raised_at = 0, -1

    def interrupted(number, frame):
        nonlocal raised_at
        if raised_at != count:  # one that was caught is not followed by another: it would come anywhere
            raised_at = count
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)  # ignored in jobs of a shell
    done = threading.Event()

    def interrupting():  # again, as one may fall into a callback of the collector, where it is lost
        while not done.wait(0.2):
            os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=interrupting, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    try:
        with pytest.raises(KeyboardInterrupt):
            while time.monotonic() < until:
                r.log({"x": count}, step=count)
                count += 1
            done.set()
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    r.finish()
    assert monitor.Folder(tmp_path).get(r.id).series("x").length - count in (0, 1)


@pytest.mark.alone
def test_a_logged_scalar_costs_the_caller_little(tmp_path):
    r = started(tmp_path)
    row = {f"k{k}": 0.5 for k in range(10)}
    costs = []
    for _ in range(20):
        before = time.perf_counter()
        for _ in range(200):
            r.log(row)
        costs.append((time.perf_counter() - before) / 2000)
    assert sorted(costs)[5] < 5e-6  # seconds a scalar; 0.5e-6 on a quiet core


def test_disabled_runs_and_alerts(tmp_path, capsys):
    r = monitor.init(mode="disabled", config={"a": 1})
    r.log({"x": object()})
    assert monitor.config.a == 1 and not list(tmp_path.iterdir())
    r = started(tmp_path)
    r.alert("NaN", "in layer <1>", level="WARN")
    monitor.finish()
    assert "warn: NaN: in layer <1>" in capsys.readouterr().err
    alert, = monitor.Folder(tmp_path).get(r.id).alerts()
    assert (alert["level"], alert["title"], alert["text"]) == ("WARN", "NaN", "in layer <1>")


def test_figures_of_the_machine(tmp_path):
    m = machine.Machine()
    sum(range(200_000))
    found = m.sample()
    assert found["process_cpu"] >= 0 and all(np.isfinite(v) for v in found.values())
    if sys.platform == "linux":
        assert found["process_memory"] > 1e7 and 0 < found["memory"] < 100
    with monitor.init(dir=tmp_path, system=0.01) as r:
        time.sleep(0.6)
    assert monitor.Folder(tmp_path).get(r.id).series("system/process_cpu").length >= 1


def test_wandbs_names(tmp_path):
    wandb.install(tmp_path)
    try:
        import wandb as module
        from wandb.util import generate_id
        r = module.init(project="p", entity="e", config={"lr": 1}, reinit=True, id=generate_id())
        module.log({"loss": 1.0, "pic": module.Image(np.zeros((2, 2)))})
        module.run.summary["best"] = 3
        module.alert("hm", level=module.AlertLevel.WARN)
        assert module.config["lr"] == 1 and module.login()
        with pytest.raises(AttributeError, match="Artifact is not in Facula"):
            _ = module.Artifact
        module.finish()
        assert monitor.Folder(tmp_path).get(r.id).summary() == {"loss": 1.0, "best": 3}
    finally:
        wandb.uninstall()
    assert "wandb" not in sys.modules
