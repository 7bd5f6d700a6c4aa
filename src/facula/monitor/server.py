"""`facula monitor DIR`: the page, and what it asks. On starlette and uvicorn (`facula[monitor]`).

    /                       page/page.html          /uPlot.js, /uPlot.css      page/, uPlot 1.6.32 as published
    /api/runs               what there is: about, config, summary, keys, number of alerts of each run
    /api/series             POST {"runs": [...], "key", "points", "first", "last", "x"}: a series of several runs
    /api/things             ?run=&key=&limit=: images, histograms, ... with the bytes of what is text
    /api/thing              ?run=&id=: the bytes of one
    /api/timeline           ?run=&first=&last=&bars=: how long steps wait for data, go forward, backward, optimize
    /api/alerts             of all runs, the last 200 of each; those with a key are alarms
    /api/events             server-sent events: {"runs": {id: [numbers that grow]}} whenever something was logged

Only requests whose Host is the machine itself (or the host that was named) are answered: a page of somewhere else that
has its name point here must not read runs. Nothing is asked of other machines, and nothing can be changed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from facula.monitor.phases import bars
from facula.monitor.reading import Folder, RunFile

PAGE = Path(__file__).parent / "page"
LONGEST = 1 << 16  # bytes of a question
LOOK = 0.5  # seconds between looks for what is new
_SHOWN = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp", "audio/wav", "audio/mpeg", "audio/ogg",
                    "audio/flac"))
_LOCAL = frozenset(("localhost", "127.0.0.1", "[::1]"))


def library(name: str) -> Any:
    """starlette or uvicorn. ModuleNotFoundError, which says what to install, if it is not there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        needed = name.partition(".")[0]
        if str(error.name).partition(".")[0] != needed:
            raise
        raise ModuleNotFoundError(f"facula monitor stands on {needed}, which is not installed: "
                                  "pip install 'facula[monitor]'", name=needed) from None


def _plain(value: Any) -> Any:
    """Without NaN and infinities, which JSON has no words for."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _numbers(values: np.ndarray) -> list[Any]:
    found = values.tolist()
    return found if np.isfinite(values).all() else [v if math.isfinite(v) else None for v in found]


def described(run: RunFile) -> dict[str, Any]:
    """What the page's list has of a run."""
    return {"id": run.id, "about": run.about(), "config": run.config(), "summary": run.summary(), "keys": run.keys(),
            "alerts": run.newest()[2]}


def shown(alert: dict[str, Any]) -> dict[str, Any]:
    """An alert as the page has it: whatever a file says, numbers are numbers, and texts have a bounded length."""
    texts = {name: None if alert[name] is None else str(alert[name])[:2000]
             for name in ("level", "title", "text", "key")}
    numbers = {name: alert[name] if isinstance(alert[name], (int, float)) and math.isfinite(alert[name]) else 0
               for name in ("id", "time", "step")}
    return {**numbers, **texts}


def series_of(folder: Folder, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to /api/series. KeyError, TypeError, ValueError, OverflowError of a question that is none."""
    key, points = str(asked["key"]), min(max(int(asked.get("points") or 1000), 8), 20_000)
    x = "time" if asked.get("x") == "time" else "step"
    first, last = (None if asked.get(end) is None else float(asked[end]) for end in ("first", "last"))
    found = {}
    for id in list(asked["runs"])[:200]:
        run = folder.get(str(id))
        if run is not None:
            part = run.series(key, points, first, last, x)
            if part.length:
                found[run.id] = {"steps": part.steps.tolist(), "times": part.times.tolist(),
                                 "values": _numbers(part.values), "length": part.length}
    return found


def things_of(folder: Folder, run: str, key: str, limit: int) -> list[dict[str, Any]]:
    """The answer to /api/things."""
    found = folder.get(run)
    answer = []
    for thing in found.things(key, limit=max(1, min(limit, 500))) if found else ():
        about: dict[str, Any] = {"id": thing.id, "step": thing.step, "part": thing.part, "time": thing.time,
                                 "media": thing.media, "facts": thing.facts}
        if thing.media.endswith("+json"):
            about["data"] = _plain(json.loads(thing.bytes))
        elif thing.media not in _SHOWN:
            about["data"] = thing.bytes[:100_000].decode("utf-8", "replace")
        answer.append(about)
    return answer


def application(folder: str | Path, host: str = "127.0.0.1") -> Any:
    """The ASGI application for a folder of runs; it answers requests to this machine, or to `host`."""
    responses, routing = library("starlette.responses"), library("starlette.routing")
    runs = Folder(folder)
    json_type = {"content-type": "application/json", "cache-control": "no-store"}

    def answer(value: Any, status: int = 200) -> Any:
        return responses.Response(json.dumps(value, allow_nan=False), status, json_type)

    async def page(request: Any) -> Any:
        nonce = secrets.token_urlsafe(12)
        text = (PAGE / "page.html").read_text(encoding="utf-8").replace("NONCE", nonce)
        policy = (f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
                  "img-src 'self' data:; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'")
        return responses.HTMLResponse(text, headers={"content-security-policy": policy, "cache-control": "no-store"})

    def part(name: str, media: str) -> Any:
        async def give(request: Any) -> Any:
            return responses.Response((PAGE / name).read_bytes(), media_type=media)
        return give

    def all_runs(request: Any) -> Any:
        return answer([_plain(described(run)) for run in runs.runs()])

    async def series(request: Any) -> Any:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST:
                return answer({"error": f"a question has at most {LONGEST} bytes"}, 413)
        try:
            found = await asyncio.to_thread(series_of, runs, json.loads(body))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            return answer({"error": f"{type(error).__name__}: {error}"}, 400)
        return answer(found)

    def things(request: Any) -> Any:
        query = request.query_params
        try:
            limit = int(query.get("limit", "100"))
        except ValueError:
            return answer({"error": "limit is a number"}, 400)
        return answer(_plain(things_of(runs, query.get("run", ""), query.get("key", ""), limit)))

    def thing(request: Any) -> Any:
        query = request.query_params
        run, id = runs.get(query.get("run", "")), query.get("id", "")
        found = run.thing(int(id)) if run is not None and id.isdigit() and len(id) < 19 else None
        if found is None:
            return answer({"error": "no such thing"}, 404)
        media = found.media if found.media in _SHOWN else "text/plain; charset=utf-8"
        return responses.Response(found.bytes, media_type=media, headers={"cache-control": "max-age=3600"})

    def timeline(request: Any) -> Any:
        query = request.query_params
        run = runs.get(query.get("run", ""))
        try:
            first, last = (float(query[end]) if end in query else None for end in ("first", "last"))
            most = int(query.get("bars", "300"))
        except ValueError:
            return answer({"error": "first, last and bars are numbers"}, 400)
        return answer(bars(run, first, last, most)) if run is not None else answer({"error": "no such run"}, 404)

    def alerts(request: Any) -> Any:
        return answer([{"run": run.id, **shown(alert)} for run in runs.runs() for alert in run.alerts(200)])

    def newest() -> dict[str, Any]:
        return {run.id: [*run.newest(), run.about().get("state")] for run in runs.runs()}

    async def events(request: Any) -> Any:
        async def told() -> AsyncIterator[str]:
            before: dict[str, Any] | None = None
            quiet = 0
            while not await request.is_disconnected():
                now = await asyncio.to_thread(newest)
                if now != before:
                    changed = {id: n for id, n in now.items() if before is None or before.get(id) != n}
                    yield f"data: {json.dumps({'runs': changed, 'gone': sorted(set(before or ()) - set(now))})}\n\n"
                    before, quiet = now, 0
                elif (quiet := quiet + 1) % 30 == 0:
                    yield ": still here\n\n"
                await asyncio.sleep(LOOK)
        return responses.StreamingResponse(told(), media_type="text/event-stream",
                                           headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    route = routing.Route
    inner = library("starlette.applications").Starlette(routes=[
        route("/", page), route("/uPlot.js", part("uPlot.js", "text/javascript")),
        route("/uPlot.css", part("uPlot.css", "text/css")), route("/api/runs", all_runs),
        route("/api/series", series, methods=["POST"]), route("/api/things", things), route("/api/thing", thing),
        route("/api/timeline", timeline), route("/api/alerts", alerts), route("/api/events", events)])
    allowed = _LOCAL | {host.lower()}

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        named = [value for name, value in scope["headers"] if name == b"host"]
        asked = named[0].decode("latin-1").lower() if len(named) == 1 else ""
        bare = asked.rpartition(":")[0] if asked.rpartition(":")[2].isdigit() else asked
        if bare not in allowed:
            await responses.PlainTextResponse("facula monitor answers requests to this machine only", 421)(
                scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff"),
                                      (b"referrer-policy", b"no-referrer"),
                                      (b"cross-origin-resource-policy", b"same-origin")]
            await send(message)
        await inner(scope, receive, sending)
    return guarded


def serve(folder: str | Path, host: str = "127.0.0.1", port: int = 6007) -> None:
    """Serve the page until Ctrl-C. FileNotFoundError without the folder; OSError of a port that is taken."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    uvicorn = library("uvicorn")
    settings = uvicorn.Config(application(folder, host), host=host, port=port, log_level="warning",
                              timeout_graceful_shutdown=1)
    print(f"facula monitor: {folder} at http://{host if ':' not in host else f'[{host}]'}:{port}/ (Ctrl-C ends it)",
          flush=True)
    uvicorn.Server(settings).run()
