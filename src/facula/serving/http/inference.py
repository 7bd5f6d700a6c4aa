"""Requests and replies of `/v2/models/M/infer`: JSON, with tensors in it or as binary data behind it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .. import jsons
from ..elements import DTYPES, Array, from_bytes, from_json, shape_of, to_bytes, to_json
from ..faults import BadRequest
from ..requests import Named, Reply, Request
from ..settings import Limits

LENGTH = b"inference-header-content-length"


class Wanted:
    """How the outputs are to be sent."""

    __slots__ = ("binary", "all_binary")

    def __init__(self, binary: frozenset[str], all_binary: bool) -> None:
        self.binary = binary
        self.all_binary = all_binary


def read_request(body: bytes, header_length: bytes | None, limits: Limits,
                 connection: object = None) -> tuple[Request, Wanted]:
    """The request that a body is. Raises BadRequest."""
    if header_length is None:
        text, tail = memoryview(body), memoryview(b"")
    else:
        if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
            raise BadRequest("Inference-Header-Content-Length is no length within the body")
        text, tail = memoryview(body)[:int(header_length)], memoryview(body)[int(header_length):]
    given = jsons.loads(text, limits.json_depth)
    if not isinstance(given, dict):
        raise BadRequest("the request is to be a JSON object")
    inputs, id = given.get("inputs"), given.get("id", "")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("inputs is to be a list of at least one tensor")
    if len(inputs) > limits.tensors:
        raise BadRequest(f"more than {limits.tensors} inputs")
    if not isinstance(id, str):
        raise BadRequest("id is to be text")
    parameters = _parameters(given, "the request")
    at, left, named = 0, limits.elements, list[Named]()
    for one in inputs:
        tensor, used = _read_tensor(one, tail[at:], left)
        at += used
        left -= tensor.array.size
        named.append(tensor)
    if at != len(tail):
        raise BadRequest(f"{len(tail) - at} bytes of binary data belong to no input")
    names, binary = _outputs(given.get("outputs"), limits)
    every = parameters.get("binary_data_output", False)
    if not isinstance(every, bool):
        raise BadRequest("binary_data_output is to be true or false")
    return Request(named, id, names, parameters, deadline_of(parameters), connection), Wanted(binary, every)


def deadline_of(parameters: dict[str, Any]) -> float | None:
    """A time of perf_counter, from `timeout` in microseconds (0: none)."""
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or not 0 <= timeout < 1 << 53:
        raise BadRequest("timeout is to be a number of microseconds")
    return time.perf_counter() + timeout / 1e6 if timeout else None


def _parameters(given: dict[str, Any], of: str) -> dict[str, Any]:
    found = given.get("parameters", {})
    if not isinstance(found, dict):
        raise BadRequest(f"parameters of {of} are to be an object")
    return found


def _read_tensor(one: Any, tail: memoryview, left: int) -> tuple[Named, int]:
    """(a tensor, how many bytes of the binary data it took)."""
    if not isinstance(one, dict):
        raise BadRequest("an input is to be an object")
    name, datatype = one.get("name"), one.get("datatype")
    if not isinstance(name, str) or not name:
        raise BadRequest("an input needs a name")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise BadRequest(f"input {name!r}: datatype is to be one of {', '.join(DTYPES)}")
    shape = shape_of(one.get("shape"), name, left)
    size = _parameters(one, f"input {name!r}").get("binary_data_size")
    if size is None:
        if "data" not in one:
            raise BadRequest(f"input {name!r} has no data")
        return Named(name, datatype, from_json(one["data"], datatype, shape, name)), 0
    if "data" in one:
        raise BadRequest(f"input {name!r} has data and binary data")
    if type(size) is not int or not 0 <= size <= len(tail):
        raise BadRequest(f"input {name!r}: binary_data_size is no length within what follows the JSON")
    return Named(name, datatype, from_bytes(tail[:size], datatype, shape, name)), size


def _outputs(given: Any, limits: Limits) -> tuple[list[str] | None, frozenset[str]]:
    if given is None or given == []:
        return None, frozenset()
    if not isinstance(given, list) or len(given) > limits.tensors:
        raise BadRequest(f"outputs is to be a list of at most {limits.tensors}")
    names, binary = list[str](), set[str]()
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise BadRequest("an output is to be an object with a name")
        asked = _parameters(one, f"output {one['name']!r}")
        if asked.get("classification"):
            raise BadRequest("classification is an extension that this server does not have")
        if asked.get("binary_data") is True:
            binary.add(one["name"])
        names.append(one["name"])
    return names, frozenset(binary)


def write_reply(reply: Reply, request: Request, wanted: Wanted, model: str, version: str) -> tuple[bytes, int | None]:
    """(a body, the length of its JSON if binary data follows)."""
    outputs, tail = list[dict[str, Any]](), list[bytes]()
    for t in reply.outputs:
        one: dict[str, Any] = {"name": t.name, "datatype": t.datatype, "shape": list(t.shape)}
        if wanted.all_binary or t.name in wanted.binary:
            tail.append(to_bytes(t.array, t.datatype))
            one["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            one["data"] = _numbers(t)
        outputs.append(one)
    said: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if request.id:
        said["id"] = request.id
    if reply.parameters:
        said["parameters"] = reply.parameters
    text = jsons.dumps(said)
    return (text, None) if not tail else (b"".join([text, *tail]), len(text))


def _numbers(t: Named) -> Array | list[Any]:
    if t.datatype in ("FP16", "BF16", "BYTES"):
        numbers = to_json(t.array, t.datatype)
        if t.datatype != "BYTES" and not np.isfinite(numbers).all():
            raise BadRequest(f"output {t.name!r} holds infinity or NaN, which JSON lacks: ask for it as binary data")
        return numbers
    if t.array.dtype.kind == "f" and not np.isfinite(t.array).all():
        raise BadRequest(f"output {t.name!r} holds infinity or NaN, which JSON lacks: ask for it as binary data")
    return np.ascontiguousarray(t.array).reshape(-1)
