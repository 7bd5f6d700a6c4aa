"""`/v2/models/M` and `/v2/repository`: what models there are and what they take; loading and unloading."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .. import jsons
from ..faults import BadRequest, NotAllowed, NotFound, Unauthorized

if TYPE_CHECKING:
    from .app import App

JSON = b"application/json"


def about_model(app: App, method: str, path: str) -> tuple[bytes, bytes]:
    """(a body, its kind) of /v2/models/M..., but for /infer."""
    name, version, rest = model_of(path)
    if rest == "infer":
        need(method, "POST")
    if rest not in ("", "ready", "stats", "config"):
        raise NotFound(f"there is no {path}")
    need(method, "GET")
    number, lane = app.models.lane(name, version)
    settings = lane.model.settings
    if rest == "ready":
        said: dict[str, Any] = {"name": name, "ready": True}
    elif rest == "stats":
        said = {"model_stats": [{"name": name, "version": number, **lane.statistics.all()}]}
    elif rest == "config":
        said = {"name": name, "platform": settings.platform, "max_batch_size": settings.max_batch_size,
                "dynamic_batching": {"max_queue_delay_microseconds": settings.max_queue_delay_microseconds},
                "input": [_config(s) for s in settings.inputs], "output": [_config(s) for s in settings.outputs]}
    else:
        said = {"name": name, "versions": [*app.models.models.get(name, {number: None})],
                "platform": settings.platform, "inputs": [s.described() for s in settings.inputs],
                "outputs": [s.described() for s in settings.outputs]}
    return jsons.dumps(said), JSON


async def control(app: App, method: str, path: str, headers: dict[bytes, bytes], receive: Any) -> tuple[bytes, bytes]:
    """The same of /v2/repository/..."""
    parts = path.rstrip("/").split("/")[3:]
    if parts == ["index"]:
        need(method, "POST")
        return jsons.dumps(app.models.index()), JSON
    if len(parts) != 3 or parts[0] != "models" or parts[2] not in ("load", "unload"):
        raise NotFound(f"there is no {path}")
    need(method, "POST")
    if not app.control:
        fault = Unauthorized("models are not loaded and unloaded by requests here (`--control`)")
        fault.status = 403
        raise fault
    async with app.bodies.reading(receive, headers) as body:
        given = jsons.loads(body, app.limits.json_depth) if body else {}
    if not isinstance(given, dict) or not isinstance(given.get("parameters", {}), dict):
        raise BadRequest("the request is to be a JSON object")
    if any(key == "config" or key.startswith("file:") for key in given.get("parameters", {})):
        raise BadRequest("models come from the server's folder; a request brings neither files nor configuration")
    await asyncio.to_thread(app.models.load if parts[2] == "load" else app.models.unload, parts[1])
    return b"{}", JSON


def _config(spec: Any) -> dict[str, Any]:
    return {"name": spec.name, "data_type": "TYPE_" + {"BYTES": "STRING"}.get(spec.datatype, spec.datatype),
            "dims": list(spec.shape[1:])}


def need(method: str, wanted: str) -> None:
    if method != wanted and not (method == "HEAD" and wanted == "GET"):
        raise NotAllowed(wanted)


def model_of(path: str) -> tuple[str, str, str]:
    """(model, version or "", what follows) of /v2/models/M[/versions/V][/...]."""
    name, *rest = path.rstrip("/").split("/")[3:] or [""]
    version = ""
    if rest and rest[0] == "versions" and len(rest) > 1:
        version, rest = rest[1], rest[2:]
    return name, version, "/".join(rest)
