"""Figures of servers beside those of trainings: what `/metrics` counts (Prometheus' text, the names of Triton, which
`facula serve` has, too) becomes a run of its own, with rates and means of the time between two looks.

    server/MODEL/VERSION/requests, failures, rejected, late     a second
    server/MODEL/VERSION/latency_ms, queue_ms, compute_ms       means of the requests answered since
    server/MODEL/VERSION/batch                                  rows an execution
    server/MODEL/VERSION/waiting                                requests in the queue now
    and of texts: tokens, prompt_tokens, preempted, cancelled; first_token_ms, token_ms; texts_waiting, texts_running,
    cache_blocks_free

What a server says is not trusted: it is read up to a bound, names that change at every look included, and its names
are names. Of several worker processes behind
one port the figures are those of the one that the connection leads to.
"""

from __future__ import annotations

import http.client
import math
import re
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from facula.monitor.runs import Run, open_run

LONGEST = 1 << 20  # bytes of an answer
MOST = 100  # models of an answer
EVER = 1000  # and of all answers: their names are kept
_LINE = re.compile(r'([a-zA-Z_]\w{0,99})\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\} +(\S{1,40})')
_LABEL = re.compile(r'(\w{1,50})="((?:[^"\\]|\\.)*)"')
_ESCAPED = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
_RATES = {"requests": "nv_inference_request_success", "failures": "nv_inference_request_failure",
          "rejected": "facula_inference_rejected", "late": "facula_inference_late",
          "tokens": "facula_generation_tokens", "prompt_tokens": "facula_generation_prompt_tokens",
          "preempted": "facula_generation_preempted", "cancelled": "facula_generation_cancelled"}
_TIME = "facula_generation_time_"
_MEANS = {  # of what, by how many, times
    "latency_ms": ("nv_inference_request_duration_us", "nv_inference_request_success", 1e-3),
    "queue_ms": ("nv_inference_queue_duration_us", "nv_inference_request_success", 1e-3),
    "compute_ms": ("nv_inference_compute_infer_duration_us", "nv_inference_request_success", 1e-3),
    "batch": ("nv_inference_count", "nv_inference_exec_count", 1.0),
    "first_token_ms": (f"{_TIME}to_first_token_seconds_sum", f"{_TIME}to_first_token_seconds_count", 1e3),
    "token_ms": (f"{_TIME}per_output_token_seconds_sum", f"{_TIME}per_output_token_seconds_count", 1e3)}
_NOW = {"waiting": "nv_inference_pending_request_count", "texts_waiting": "facula_generation_waiting",
        "texts_running": "facula_generation_running", "cache_blocks_free": "facula_generation_cache_blocks_free"}
_COUNTERS = frozenset(_RATES.values()) | {name for of, by, _ in _MEANS.values() for name in (of, by)}
_KNOWN = _COUNTERS | frozenset(_NOW.values())

Counts = dict[tuple[str, str], dict[str, float]]


def read(text: str) -> Counts:
    """Counts by (model, version) and name, of Prometheus' text; only those that are used here, and numbers.

    Example:
        >>> from facula.monitor.scraping import read
        >>> read('nv_inference_count{model="m",version="1"} 3')
        {('m', '1'): {'nv_inference_count': 3.0}}
    """
    found: Counts = {}
    for line in text.split("\n"):
        match = _LINE.match(line) if len(line) < 2000 else None
        if match is None:
            continue
        labels = {name: re.sub(r"\\.", lambda m: _ESCAPED.get(m[0], m[0]), value)
                  for name, value in _LABEL.findall(match[2])}
        if "model" not in labels or match[1] not in _KNOWN:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        place = labels["model"][:100], labels.get("version", "")[:20]
        if math.isfinite(value) and (place in found or len(found) < MOST):
            counts = found.setdefault(place, {})
            counts[match[1]] = counts.get(match[1], 0.0) + value  # of several devices
    return found


def figures(before: Counts, now: Counts, seconds: float) -> dict[str, float]:
    """Rates and means of the `seconds` between two looks. Counts that have gone back were begun anew: no figures."""
    row: dict[str, float] = {}
    for (model, version), counts in now.items():
        prefix = f"server/{model}/{version}/" if version else f"server/{model}/"
        row.update({prefix + name: counts[count] for name, count in _NOW.items() if count in counts})
        old = before.get((model, version))
        if old is None or seconds <= 0:
            continue
        grown = {name: counts[name] - old.get(name, 0.0) for name in _COUNTERS if name in counts}
        if min(grown.values(), default=0.0) < 0:
            continue
        row.update({prefix + name: grown[count] / seconds for name, count in _RATES.items() if count in grown})
        row.update({prefix + name: times * grown[of] / grown[by] for name, (of, by, times) in _MEANS.items()
                    if of in grown and grown.get(by)})
    return row


class Scraper:
    """Looks at a server every `every` seconds, in a thread of its own, and logs what it finds to `run`.

    Args:
        url: "http://HOST:PORT", or with the path of its metrics.
        token: for servers that want `Authorization: Bearer`.

    Raises:
        ValueError: of no such address.
    """

    def __init__(self, url: str, run: Run, every: float = 1.0, token: str | None = None) -> None:
        self.host, self.port, self.secure, self.path = address(url)
        if not every > 0:
            raise ValueError(f"every={every!r}: seconds between looks")
        self.run, self.every, self.up = run, every, True
        self._headers = {"Accept": "text/plain"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        self._connection: http.client.HTTPConnection | None = None
        self._before: tuple[float, Counts] = (0.0, {})
        self._places: set[tuple[str, str]] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._go, name="facula.monitor.scraping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End, and the run with it."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self.run.finish()

    def _go(self) -> None:
        while True:
            self.look()
            if self._ending.wait(self.every):
                return

    def look(self) -> None:
        """One look. What fails is an alert, said once until the server answers again."""
        try:
            text = self._asked()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._close()
            self._before = (0.0, {})
            if self.up:
                self.run.alert("server", f"{self.host}:{self.port} gives no figures: {type(error).__name__}: {error}",
                               level="WARN")
            self.up = False
        else:
            if not self.up:
                self.run.alert("server", f"{self.host}:{self.port} answers again")
            self.up = True
            now, found = time.monotonic(), self._bounded(read(text))
            (then, before), self._before = self._before, (now, found)
            self.run.log({"server/up": 1, **figures(before, found, now - then)})
            return
        self.run.log({"server/up": 0})

    def _bounded(self, found: Counts) -> Counts:
        """Without those that come when there have been `EVER` models and versions."""
        places = self._places
        for place in [place for place in found if place not in places]:
            if len(places) == EVER:
                del found[place]
            else:
                places.add(place)
                if len(places) == EVER:
                    self.run.alert("server", f"{self.host}:{self.port} has had {EVER} models and versions: there are "
                                   "no figures of new ones", level="WARN")
        return found

    def _asked(self) -> str:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            self._connection = kind(self.host, self.port, timeout=5.0)
        self._connection.request("GET", self.path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read(LONGEST + 1)
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        if len(body) > LONGEST:
            raise ValueError(f"more than {LONGEST} bytes")
        return body.decode("utf-8", "replace")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def address(url: str) -> tuple[str, int, bool, str]:
    """(host, port, is it https, path) of an address as people write it.

    Example:
        >>> from facula.monitor.scraping import address
        >>> address("localhost:8000")
        ('localhost', 8000, False, '/metrics')
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.username is not None:
        raise ValueError(f"{url!r} is no address of a server; expected http://HOST:PORT")
    secure = parts.scheme == "https"
    path = parts.path if parts.path not in ("", "/") else "/metrics"
    return parts.hostname, port or (443 if secure else 80), secure, path + (f"?{parts.query}" if parts.query else "")


def watched(folder: str | Path, url: str, every: float = 1.0, token: str | None = None) -> Scraper:
    """A scraper of the server at `url`, with a run in `folder` that goes on where it was before: "server-HOST-PORT"."""
    host, port, _, _ = address(url)
    id = f"server-{re.sub(r'[^A-Za-z0-9.-]', '-', host)[:100]}-{port}"
    run = open_run(Path(folder), id, "allow", {"name": f"{host}:{port}", "job_type": "server"}, None, None)
    return Scraper(url, run, every, token)
