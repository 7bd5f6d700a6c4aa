"""Figures of servers: counts become rates and means; what a server says is bounded and believed in nothing."""

import http.server
import signal
import threading

import pytest

import docstrings
from facula import cli, monitor
from facula.monitor import scraping
from facula.serving.generation import figures as generation
from facula.serving.statistics import Statistics, exposition


@pytest.fixture(autouse=True)
def nothing_running():
    yield
    monitor.finish()


class Server:
    """A server on this machine, whose answers are (status, body) in `answers`; the last one again and again."""

    def __init__(self):
        self.answers, self.asked = [(200, b"")], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.asked.append((self.path, self.headers.get("Authorization")))
                status, body = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def end(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.end()


def found(folder, scraper):
    scraper._close()
    scraper.run.finish()
    return monitor.Folder(folder).get(scraper.run.id)


def test_examples_run_and_names_have_docstrings():
    docstrings.check(scraping)


def test_figures_of_our_own_server():
    counts, name = Statistics(), 'a"b\\c\nd'
    before = scraping.read(exposition([(name, "1", counts, 0)]))
    counts.add(request_success=4, request_failure=2, rejected=1, request=0.8, queue=0.2, compute_infer=0.4,
               inferences=12, executions=3)
    now = scraping.read(exposition([(name, "1", counts, 5)]))
    row = scraping.figures(before, now, 2.0)
    prefix = f"server/{name}/1/"
    assert {key.removeprefix(prefix): round(value, 9) for key, value in row.items()} == {
        "requests": 2.0, "failures": 1.0, "rejected": 0.5, "late": 0.0, "latency_ms": 200.0, "queue_ms": 50.0,
        "compute_ms": 100.0, "batch": 4.0, "waiting": 5.0}
    idle = scraping.figures(now, now, 1.0)
    assert idle[f"{prefix}requests"] == 0 and f"{prefix}latency_ms" not in idle and f"{prefix}batch" not in idle
    assert scraping.figures(now, before, 1.0) == {f"{prefix}waiting": 0.0}  # begun anew
    assert scraping.figures({}, now, 1.0) == {f"{prefix}waiting": 5.0}
    assert scraping.figures(before, now, 0.0) == {f"{prefix}waiting": 5.0}


def test_figures_of_generation():
    counts = generation.Figures()
    text = lambda: generation.exposition([('model="m",version="1"', counts, {  # noqa: E731
        "waiting": 3, "running": 2, "cache_bytes": 9 << 10, "cache_blocks": 9, "cache_blocks_free": 4})])
    before = scraping.read(text())
    counts.add(tokens=30, prompt_tokens=60, preempted=3)
    for seconds in (0.5, 1.0):
        counts.took("first_token", seconds)
    row = scraping.figures(before, scraping.read(text()), 3.0)
    assert {key.removeprefix("server/m/1/"): value for key, value in row.items()} == {
        "tokens": 10.0, "prompt_tokens": 20.0, "preempted": 1.0, "cancelled": 0.0, "first_token_ms": 750.0,
        "texts_waiting": 3.0, "texts_running": 2.0, "cache_blocks_free": 4.0}


A, B = "nv_inference_count", "nv_inference_exec_count"


def test_what_is_read_of_a_text():
    text = "\n".join([
        "# HELP x y", "up 1", f'{A}{{model="m"}} 1', f'{A}{{gpu="1",model="m"}} 2 1700000000', f'{B}{{model="}}"}} 1e3',
        f'{A}{{model="m",version="2"}} NaN', f'{A}{{model="m",version="2"}} x', f'{A}{{model="m}} 3',
        f'{A}{{host="h"}} 1', '{model="m"} 1', f'{A}{{model="{"x" * 5000}"}} 1', f'{A}{{model="{"y" * 500}"}} +Inf',
        f"{A}{{" * 90, '"' * 1900, 'unknown{model="m"} 1', f'-{A}{{model="m"}} 1'])
    assert scraping.read(text) == {("m", ""): {A: 3.0}, ("}", ""): {B: 1000.0}}
    many = scraping.read("\n".join(f'{A}{{model="{k}"}} 1' for k in range(1000)))
    assert len(many) == scraping.MOST
    long, = scraping.read(f'{A}{{model="{"z" * 1000}"}} 1')
    assert long == ("z" * 100, "")


def test_a_server_with_new_names_at_every_look_fills_no_memory(server, tmp_path, monkeypatch):
    monkeypatch.setattr(scraping, "EVER", 250)
    scraper = scraping.watched(tmp_path, server.url)
    for look in range(4):
        server.answers = [(200, "\n".join(f'{scraping._NOW["waiting"]}{{model="{look}.{k}"}} 1'
                                          for k in range(100)).encode())]
        scraper.look()
        scraper.look()
    run = found(tmp_path, scraper)
    assert len(run.keys()) == 250 + 1 and run.series("server/1.7/waiting").length == 2
    alert, = run.alerts()
    assert alert["level"] == "WARN" and "250" in alert["text"]


@pytest.mark.parametrize(("url", "want"), [
    ("localhost:8000", ("localhost", 8000, False, "/metrics")), ("http://h", ("h", 80, False, "/metrics")),
    ("https://h/x?y=1", ("h", 443, True, "/x?y=1")), ("http://[::1]:9/", ("::1", 9, False, "/metrics"))])
def test_addresses(url, want):
    assert scraping.address(url) == want


@pytest.mark.parametrize("url", ["", "ftp://h", "http://", "http://h:x", "http://h:99999", "file:///etc/passwd",
                                 "http://user:secret@h"])
def test_what_is_no_address_is_refused(url, tmp_path):
    with pytest.raises(ValueError):
        scraping.watched(tmp_path, url)
    assert not list(tmp_path.iterdir())


def test_a_server_becomes_a_run(server, tmp_path, capsys):
    counts = Statistics()
    scraper = scraping.watched(tmp_path, server.url, token="t")
    for _ in range(3):
        server.answers = [(200, exposition([("<b>m</b>", "1", counts, 2)]).encode())]
        scraper.look()
        counts.add(request_success=2, request=1.0, inferences=6, executions=3)
    run = found(tmp_path, scraper)
    assert server.asked == [("/metrics", "Bearer t")] * 3
    assert run.id == f"server-127.0.0.1-{server.url.rpartition(':')[2]}" and run.about()["job_type"] == "server"
    assert run.series("server/<b>m</b>/1/latency_ms").values.tolist() == [500.0, 500.0]
    assert run.series("server/<b>m</b>/1/batch").values.tolist() == [2.0, 2.0]
    assert run.series("server/<b>m</b>/1/waiting").values.tolist() == [2.0, 2.0, 2.0]
    assert run.series("server/up").values.tolist() == [1, 1, 1] and run.alerts() == []
    again = scraping.watched(tmp_path, server.url)  # goes on with the same run
    again.look()
    assert found(tmp_path, again).series("server/up").length == 4 and len(monitor.Folder(tmp_path).runs()) == 1


def test_a_server_that_does_not_answer_is_said_once(server, tmp_path, capsys):
    scraper = scraping.watched(tmp_path, server.url)
    good = (200, b'nv_inference_request_success{model="m"} 1')
    server.answers = [good, (503, b"busy"), (302, b""), (200, b"x" * (scraping.LONGEST + 1)), good, good]
    for _ in range(5):
        scraper.look()
    server.end()
    scraper.host, scraper.port = "127.0.0.1", 9  # nobody
    scraper._close()
    scraper.look()
    run = found(tmp_path, scraper)
    assert run.series("server/up").values.tolist() == [1, 0, 0, 0, 1, 0]
    assert run.series("server/m/requests").length == 0  # never two answers in a row
    assert [alert["level"] for alert in run.alerts()] == ["WARN", "INFO", "WARN"]
    assert "status 503" in run.alerts()[0]["text"] and "/elsewhere" not in {path for path, _ in server.asked}


def test_the_thread_looks_until_it_is_stopped(server, tmp_path):
    scraper = scraping.watched(tmp_path, server.url, every=0.01)
    scraper.start()
    while len(server.asked) < 3:
        scraper._ending.wait(0.01)
    scraper.stop()
    assert not scraper._thread.is_alive()
    run = monitor.Folder(tmp_path).get(scraper.run.id)
    assert run.about()["state"] == "finished" and run.series("server/up").length >= 2
    with pytest.raises(ValueError, match="every"):
        scraping.Scraper(server.url, scraper.run, every=0)


def test_the_command_refuses_what_is_no_address(tmp_path, capsys):
    assert cli.main(["monitor", str(tmp_path), "--server", "ftp://x"]) == 2
    assert "no address of a server" in capsys.readouterr().err


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, signal.SIGTERM])
def test_the_command_asks_servers_while_it_serves(server, tmp_path, monkeypatch, end):
    from facula.monitor import server as page
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("FACULA_SERVE_TOKEN", "secret")

    def serving(folder, host, port):
        while len(server.asked) < 2:
            threading.Event().wait(0.01)
        if end is KeyboardInterrupt:
            raise end
        if end is not None:
            signal.raise_signal(end)

    monkeypatch.setattr(page, "serve", serving)
    command = ["monitor", str(tmp_path / "new"), "--server", server.url, "--every", "0.01"]
    try:
        if end is signal.SIGTERM:
            with pytest.raises(SystemExit):
                cli.main(command)
        else:
            assert cli.main(command) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    run, = monitor.Folder(tmp_path / "new").runs()
    assert run.about()["state"] == "finished"
