"""The protocol's description, as OpenAPI 3.1 has it: served at `/openapi.json`."""

from __future__ import annotations

from typing import Any

from facula.version import facula_version

from ..elements import DTYPES

_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 32}
_OBJECT = {"type": "object"}
_TYPE = {"type": "string", "enum": [*DTYPES]}
_SPEC = {"type": "object", "required": ["name", "datatype", "shape"], "properties": {
    "name": _TEXT, "datatype": _TYPE, "shape": {"type": "array", "items": {"type": "integer"}}}}
_NULL_TEXT = {"type": ["string", "null"]}
_FLAG = {"type": "boolean"}
_PENALTY = {"type": "number", "minimum": -2, "maximum": 2}
_TOOL = {"type": "object", "required": ["type", "function"], "properties": {
    "type": {"const": "function"}, "function": {"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, "description": _TEXT, "parameters": _OBJECT}}}}
_ASKED: dict[str, Any] = {
    "model": _TEXT, "max_tokens": {"type": "integer", "minimum": 0}, "n": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "seed": {"type": "integer"}, "stream": _FLAG, "stop": {"oneOf": [_TEXT, {"type": "array", "maxItems": 4}]},
    "stream_options": {"type": "object", "properties": {"include_usage": _FLAG}},
    "presence_penalty": _PENALTY, "frequency_penalty": _PENALTY,
    "logit_bias": {"type": "object", "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}},
    "timeout": {"type": "integer", "minimum": 0, "description": "microseconds"}}

SCHEMAS: dict[str, Any] = {
    "error": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    "server": {"type": "object", "required": ["name", "version", "extensions"], "properties": {
        "name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}},
    "live": {"type": "object", "required": ["live"], "properties": {"live": {"type": "boolean"}}},
    "ready": {"type": "object", "required": ["ready"], "properties": {"ready": {"type": "boolean"}}},
    "model": {"type": "object", "required": ["name", "versions", "platform", "inputs", "outputs"], "properties": {
        "name": _TEXT, "versions": {"type": "array", "items": _TEXT}, "platform": _TEXT,
        "inputs": {"type": "array", "items": _SPEC}, "outputs": {"type": "array", "items": _SPEC}}},
    "input": {"type": "object", "required": ["name", "datatype", "shape"], "properties": {
        "name": _NAME, "datatype": _TYPE, "shape": _SHAPE, "parameters": _OBJECT, "data": {"type": "array"}}},
    "output": {"type": "object", "required": ["name"], "properties": {"name": _NAME, "parameters": _OBJECT}},
    "infer": {"type": "object", "required": ["inputs"], "properties": {
        "id": _TEXT, "parameters": _OBJECT,
        "inputs": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/input"}},
        "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/output"}}}},
    "inferred": {"type": "object", "required": ["model_name", "outputs"], "properties": {
        "model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "parameters": _OBJECT,
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name", "datatype", "shape"]}}}},
    "index": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
        "name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT}}},
    "any": {"type": "object"},
    "failed": {"type": "object", "required": ["error"], "properties": {"error": {
        "type": "object", "required": ["message", "type", "param", "code"], "properties": {
            "message": _TEXT, "type": _TEXT, "param": _NULL_TEXT, "code": _NULL_TEXT}}}},
    "completion": {"type": "object", "required": ["model", "prompt"], "properties": {
        **_ASKED, "prompt": {"oneOf": [_TEXT, {"type": "array", "minItems": 1}]},
        "logprobs": {"type": "integer", "minimum": 0, "maximum": 20}, "echo": _FLAG,
        "best_of": {"type": "integer", "minimum": 1}}},
    "chat": {"type": "object", "required": ["model", "messages"], "properties": {
        **_ASKED, "messages": {"type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["role"], "properties": {
                "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]}, "name": _TEXT,
                "content": {"oneOf": [_TEXT, {"type": "array", "items": _OBJECT}, {"type": "null"}]},
                "tool_calls": {"type": "array", "items": _OBJECT}, "tool_call_id": _TEXT}}},
        "tools": {"type": "array", "maxItems": 128, "items": _TOOL}, "tool_choice": {"enum": ["auto", "none"]},
        "max_completion_tokens": {"type": "integer", "minimum": 1}, "logprobs": {"type": "boolean"},
        "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20}}},
    "completed": {
        "type": "object", "required": ["id", "object", "created", "model", "choices", "usage"], "properties": {
            "choices": {"type": "array", "items": {"type": "object", "required": ["index", "finish_reason"]}}}},
}
_SAID = {400: "the request is wrong", 401: "no token, or a wrong one", 403: "not by requests", 404: "there is none",
         408: "the body took too long", 413: "too large", 415: "an unknown encoding", 500: "the model failed",
         503: "not ready, or too many requests: ask again", 504: "the deadline has passed"}


def _answers(schema: str | None, *statuses: int, kind: str = "application/json",
             fault: str = "error") -> dict[str, Any]:
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "string"}}
    return {"200": {"description": "so it is", "content": {kind: body}}, **{str(s): {
        "description": _SAID[s], "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{fault}"}}}}
        for s in (401, *statuses)}}


def _call(summary: str, answers: dict[str, Any], path: str, body: str = "", needed: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "responses": answers, "parameters": [
        {"name": name, "in": "path", "required": True, "schema": {
            "type": "string", "pattern": "^[0-9]+$" if name == "version" else "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"}}
        for name in ("model", "version") if "{" + name + "}" in path]}
    if body:
        found["requestBody"] = {"required": needed, "content": {"application/json": {
            "schema": {"$ref": f"#/components/schemas/{body}"}}}}
    return found


def description() -> dict[str, Any]:
    """The document."""
    paths: dict[str, Any] = {}

    def get(path: str, summary: str, answers: dict[str, Any]) -> None:
        paths.setdefault(path, {})["get"] = _call(summary, answers, path)

    def post(path: str, summary: str, answers: dict[str, Any], body: str = "", needed: bool = True) -> None:
        paths.setdefault(path, {})["post"] = _call(summary, answers, path, body, needed)

    get("/", "A page for a person", _answers(None, kind="text/html"))
    get("/metrics", "Counts, in Prometheus' format", _answers(None, kind="text/plain"))
    get("/openapi.json", "This description", _answers("any"))
    get("/v2", "What server this is", _answers("server"))
    get("/v2/health/live", "Is it alive?", _answers("live"))
    get("/v2/health/ready", "Are all models ready?", _answers("ready", 503))
    get("/v2/models", "Which models there are", _answers("any"))
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        get(path, "What a model takes and gives", _answers("model", 404, 503))
        get(path + "/ready", "Is it ready?", _answers("ready", 404, 503))
        get(path + "/stats", "What it has done", _answers("any", 404, 503))
        get(path + "/config", "How it is served", _answers("any", 404, 503))
        said = _answers("inferred", 400, 404, 408, 413, 415, 500, 503, 504)
        said["200"]["content"]["text/event-stream"] = {"schema": _TEXT}
        post(path + "/infer", "Ask a model", said, "infer")
    post("/v2/repository/index", "Models here and in the folder", _answers("index"))
    for what in ("load", "unload"):
        post(f"/v2/repository/models/{{model}}/{what}", f"{what.capitalize()} a model of the folder",
             _answers("any", 400, 403, 404, 408, 413, 415, 500, 503), "any", False)
    get("/v1/models", "Models that generate text", _answers("any", fault="failed"))
    get("/v1/models/{model}", "One of them", _answers("any", 404, fault="failed"))
    for path, body in (("/v1/completions", "completion"), ("/v1/chat/completions", "chat")):
        said = _answers("completed", 400, 404, 408, 413, 415, 500, 503, 504, fault="failed")
        said["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
        post(path, "Text that goes on from a prompt" if body == "completion" else "An answer to messages", said, body)
    return {"openapi": "3.1.0", "info": {"title": "facula serve", "version": facula_version, "description":
            "The Open Inference Protocol, version 2. Tensors as binary data follow the JSON, whose length is then in "
            "Inference-Header-Content-Length."}, "paths": paths, "components": {"schemas": SCHEMAS}}
