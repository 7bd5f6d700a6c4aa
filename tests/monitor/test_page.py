"""The page and its server: what is answered to whom; and, with playwright and a chromium, the page as people use it."""

import asyncio
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

import facula
from facula import cli, monitor, nn
from facula.monitor import server

starlette = pytest.importorskip("starlette")


def ask(app, path, host="127.0.0.1:6007", body=None, query=""):
    """(status, headers, body) of one request to an ASGI application."""
    sent = []
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "path": path,
             "method": "GET" if body is None else "POST", "raw_path": path.encode(), "root_path": "",
             "query_string": query.encode(), "headers": [(b"host", host.encode())] if host else [],
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 6007)}

    async def receive():
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode(), "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


@pytest.fixture
def folder(tmp_path):
    for k in range(2):
        with monitor.init(dir=tmp_path, id=f"r{k}", name=["first", "<img src=x onerror=alert(1)>"][k],
                          config={"lr": [0.1, 0.2][k], "same": 1}, tags=[f"t{k}"], system=None) as run:
            for step in range(300):
                run.log({"train/loss": float("nan") if step == 7 else 1 / (step + 1 + k)}, step=step)
                if step % 100 == 0:
                    run.log({"pic": monitor.Image(np.full((4, 4), step // 2, np.uint8)),
                             "said": "<script>alert(2)</script>", "h": monitor.Histogram(np.arange(10) * step)},
                            step=step)
            for step in range(50):
                run.log({"time/step": 1.0, "time/data": 0.5 if k else 0.25, "time/backward": 0.25}, step=step)
            run.alert("<b>NaN</b>", level="WARN")
            run.log({"model": monitor.Graph(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), facula.ones(2, 4))}, step=0)
    return tmp_path


def test_answers(folder):
    app = server.application(folder)
    status, headers, page = ask(app, "/")
    assert status == 200 and "'unsafe-inline'" not in headers["content-security-policy"].split("style-src")[0]
    assert b"http" not in page.replace(b"http-equiv", b"") and headers["x-content-type-options"] == "nosniff"
    parts = [ask(app, path)[2] for path in ("/uPlot.js", "/uPlot.css")]
    assert sum(map(len, parts)) + len(page) < 100_000 and b"uPlot" in parts[0]
    runs = json.loads(ask(app, "/api/runs")[2])
    assert [run["id"] for run in runs] == ["r0", "r1"] and runs[0]["keys"]["pic"] == "image"
    found = json.loads(ask(app, "/api/series", body={"runs": ["r0", "no"], "key": "train/loss", "points": 40})[2])
    assert list(found) == ["r0"] and found["r0"]["length"] == 300 and len(found["r0"]["values"]) <= 50
    assert found["r0"]["values"][found["r0"]["steps"].index(7)] is None
    zoomed = json.loads(ask(app, "/api/series", body={"runs": ["r1"], "key": "train/loss", "first": 10, "last": 20})[2])
    assert zoomed["r1"]["steps"] == list(range(9, 22))
    things = json.loads(ask(app, "/api/things", query="run=r0&key=pic")[2])
    assert [t["step"] for t in things] == [0, 100, 200]
    status, headers, data = ask(app, "/api/thing", query=f"run=r0&id={things[0]['id']}")
    assert status == 200 and headers["content-type"] == "image/png" and data[:4] == b"\x89PNG"
    assert json.loads(ask(app, "/api/things", query="run=r0&key=said")[2])[0]["data"] == "<script>alert(2)</script>"
    said = json.loads(ask(app, "/api/things", query="run=r0&key=said")[2])[0]["id"]
    assert ask(app, "/api/thing", query=f"run=r0&id={said}")[1]["content-type"].startswith("text/plain")
    alerts = json.loads(ask(app, "/api/alerts")[2])
    assert [(a["run"], a["title"], a["key"]) for a in alerts] == [
        ("r0", "<b>NaN</b>", None), ("r0", "not finite", "train/loss"), ("r1", "<b>NaN</b>", None),
        ("r1", "not finite", "train/loss")]
    assert [run["alerts"] for run in runs] == [2, 2]


def test_alerts_of_whatever_a_file_says(tmp_path):
    with monitor.init(dir=tmp_path, id="r", system=None) as run:
        run.alert("t" * 10_000, "x" * 10_000)
    with sqlite3.connect(run.path) as connection:
        connection.execute("INSERT INTO alerts(time, step, level, title, text, key) "
                           "VALUES (9e999, 'many', x'00', 3, NULL, 4)")
    connection.close()
    status, _, body = ask(server.application(tmp_path), "/api/alerts")
    first, second = json.loads(body)
    assert status == 200 and len(first["title"]) == len(first["text"]) == 2000
    assert second == {"run": "r", "id": 2, "time": 0, "step": 0, "level": "b'\\x00'", "title": "3", "text": None,
                      "key": "4"}


def test_time_lines(folder):
    app = server.application(folder)
    found = json.loads(ask(app, "/api/timeline", query="run=r1&bars=10")[2])
    assert found["steps"] == list(range(0, 50, 5)) and found["end"] == 50 and found["rows"] == [5] * 10
    assert found["data"] == [0.5] * 10 and found["forward"] == [0.0] * 10 and found["other"] == [0.25] * 10
    part = json.loads(ask(app, "/api/timeline", query="run=r0&first=10&last=12.5&bars=1000")[2])
    assert part["steps"] == [10, 11, 12] and part["end"] == 13 and part["data"] == [0.25] * 3
    for nothing in ("first=100", "first=20&last=10", "first=nan", "first=inf", "last=-1e300"):
        assert json.loads(ask(app, "/api/timeline", query=f"run=r0&{nothing}")[2])["steps"] == []
    assert len(json.loads(ask(app, "/api/timeline", query=f"run=r0&bars={-10 ** 9}")[2])["steps"]) == 1
    assert len(json.loads(ask(app, "/api/timeline", query=f"run=r0&bars={10 ** 9}")[2])["steps"]) == 50
    for none in ("first=x", "bars=", "bars=1.5"):
        assert ask(app, "/api/timeline", query=f"run=r0&{none}")[0] == 400
    assert ask(app, "/api/timeline", query="run=../r0")[0] == 404


def test_time_lines_of_whatever_a_file_says(tmp_path):
    with monitor.init(dir=tmp_path, id="r", system=None, alarms=False) as run:
        run.log({"time/step": 1e308, "time/data": 1e308, "time/backward": -1e308}, step=-2 ** 62)
        run.log({"time/step": 1e308, "time/forward": float("inf"), "time/optimizer": "text"}, step=2 ** 62)
        run.log({"time/step": float("nan"), "time/data": 2.0}, step=2 ** 62)
    status, _, body = ask(server.application(tmp_path), "/api/timeline", query="run=r&bars=2")
    found = json.loads(body)
    assert status == 200 and found["rows"] == [1, 2]
    assert found["data"][0] == 1e15 and found["forward"] == found["backward"] == [0.0, 0.0]
    with monitor.init(dir=tmp_path, id="none", system=None) as run:
        run.log({"time/step": monitor.Text("a")})
    assert json.loads(ask(server.application(tmp_path), "/api/timeline", query="run=none")[2])["steps"] == []


def test_wrong_questions(folder):
    app = server.application(folder)
    for body in ({}, [], {"runs": 1, "key": "a"}, {"runs": [], "key": "a", "points": "x"}, {"runs": ["../.."]}):
        assert ask(app, "/api/series", body=body)[0] == 400
    for number in (float("inf"), float("nan"), 1e300, -1e300):  # no number of steps, no place among them
        named = {"runs": ["r0"], "key": "train/loss"}
        assert ask(app, "/api/series", body={**named, "points": number})[0] in (200, 400)
        assert ask(app, "/api/series", body={**named, "first": number, "last": number})[0] in (200, 400)
    assert ask(app, "/api/series", body={"runs": ["r0"], "key": "train/loss", "points": float("inf")})[0] == 400
    deep = []
    for _ in range(900):
        deep = [deep]
    assert ask(app, "/api/series", body={"runs": deep, "key": "a"})[0] in (200, 400)
    assert ask(app, "/api/series", body={"runs": ["r" * 100_000], "key": "a"})[0] == 413
    assert ask(app, "/api/thing", query="run=../r0&id=1")[0] == 404
    assert ask(app, "/api/thing", query="run=r0&id=99999")[0] == 404
    assert ask(app, "/api/things", query="run=r0&key=pic&limit=x")[0] == 400
    assert ask(app, "/../secret")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:6007", "", "127.0.0.1.evil.example", "localhost@evil"])
def test_other_hosts_are_refused(folder, host):
    assert ask(server.application(folder), "/api/runs", host)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:6007", "[::1]"])
def test_this_machine_is_answered(folder, host):
    assert ask(server.application(folder), "/api/runs", host)[0] == 200
    assert ask(server.application(folder, "10.0.0.5"), "/api/runs", "10.0.0.5:80")[0] == 200


def test_the_command(folder, tmp_path, capsys):
    assert cli.main(["monitor", str(folder), "--write", str(tmp_path / "events")]) == 0
    assert cli.main(["monitor", str(tmp_path / "again"), "--read", str(tmp_path / "events")]) == 0
    assert len(monitor.Folder(tmp_path / "again").runs()) == 2
    assert cli.main(["monitor", str(tmp_path / "nowhere")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_without_the_library_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette.responses", None)
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(ModuleNotFoundError, match=r"facula\[monitor\]"):
        server.application(folder)


@pytest.fixture
def address(folder):
    pytest.importorskip("uvicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = subprocess.Popen([sys.executable, "-m", "facula", "monitor", str(folder), "--port", str(port)],
                             stdout=subprocess.PIPE, text=True)
    assert "Ctrl-C" in child.stdout.readline()
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/uPlot.css", timeout=10).close()
            break
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    child.terminate()
    child.wait(20)
    child.stdout.close()


@pytest.mark.processes
def test_events_tell_what_is_new(folder, address):
    stream = urllib.request.urlopen(address + "/api/events", timeout=30)

    def told():
        while not (line := stream.readline()).startswith(b"data:"):
            pass
        return json.loads(line[5:])

    assert set(told()["runs"]) == {"r0", "r1"}
    with monitor.init(dir=folder, id="new", system=None) as run:
        run.log({"x": 1.0})
    assert "new" in told()["runs"]
    stream.close()


@pytest.mark.processes
def test_in_a_browser(folder, address):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium")
    said = []
    options = {"executable_path": chromium, "args": ["--no-sandbox"]}
    with playwright.sync_playwright() as p, p.chromium.launch(**options) as browser:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        playwright.expect.set_options(timeout=60_000)
        page.on("console", lambda message: said.append((message.type, message.text)))
        page.on("pageerror", lambda error: said.append(("error", str(error))))
        page.on("dialog", lambda dialog: (said.append(("dialog", dialog.message)), dialog.dismiss()))
        page.on("request", lambda r: None if r.url.startswith((address, "data:")) else said.append(("outside", r.url)))
        page.goto(address, wait_until="domcontentloaded")
        chart = page.locator("[data-key='train/loss']")
        chart.locator("canvas").wait_for()
        expect, points = playwright.expect, chart.locator(".top .dim")
        expect(points).to_have_text("600 points")
        expect(chart).to_have_attribute("data-marks", "2")  # upright lines where its alarms were raised
        assert page.locator("#runs label").nth(0).inner_text().startswith("<img src=x onerror=alert(1)>")

        # a run that writes: its curve appears and moves
        run = monitor.init(dir=folder, id="live", name="live", system=None)
        run.log({"train/loss": 1.0})
        expect(points).to_have_text("601 points")
        run.log({"train/loss": 0.5})
        expect(points).to_have_text("602 points")
        run.finish()

        # zoom by dragging, back by a double click
        over = chart.locator(".u-over")
        over.scroll_into_view_if_needed()
        box = over.bounding_box()
        x, y = box["x"] + box["width"] * 0.3, box["y"] + 40
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=4)
        page.mouse.up()
        expect(points).to_have_text(re.compile(r"^[12]?\d?\d points$"))
        over.dblclick()
        expect(points).to_have_text("602 points")

        # two runs compared; what differs is marked
        page.fill("#filter", "-live")
        page.locator("#filter").press("Escape")
        page.click("#tab-compare")
        page.locator("tr.differs[data-key=lr]").wait_for()
        assert "0.1" in page.locator("tr[data-key=lr]").inner_text()
        assert not page.locator("tr.differs[data-key=same]").count()
        page.keyboard.press("2")
        page.locator("[data-media=pic] img").first.wait_for()
        page.locator("[data-media=h] canvas").first.wait_for()
        assert "<script>alert(2)</script>" in page.locator("[data-media=said]").first.inner_text()
        page.keyboard.press("4")
        layer = page.locator("[data-path='0']").first
        layer.wait_for()
        assert "Linear" in layer.inner_text() and "40 parameters" in layer.inner_text()
        assert re.search(r"[\d.]+ (µs|ms|s)$", layer.locator(".time").inner_text().strip())
        page.keyboard.press("5")
        page.get_by_text("<b>NaN</b>").first.wait_for()
        page.get_by_text("train/loss is nan").first.wait_for()
        assert page.locator("#tab-alerts").inner_text() == "alerts (4)"
        page.keyboard.press("6")
        card = page.locator("[data-run=r1]")
        card.locator("canvas").wait_for()
        expect(card.locator("[data-phase=data]")).to_have_text("data 50.0%")
        assert card.locator("h3").inner_text() == "<img src=x onerror=alert(1)>"
        before = page.evaluate("document.documentElement.dataset.theme")
        page.keyboard.press("t")
        assert page.evaluate("document.documentElement.dataset.theme") != before
        page.set_viewport_size({"width": 390, "height": 800})
        page.wait_for_function("document.documentElement.scrollWidth <= 390")
        page.keyboard.press("1")
        chart.locator("canvas").wait_for()
        page.wait_for_function("document.documentElement.scrollWidth <= 390")
    assert not [entry for entry in said if entry[0] in ("error", "warning", "dialog", "outside")], said
