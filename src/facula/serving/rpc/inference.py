"""Requests and replies of ModelInfer: typed lists, or raw bytes for all tensors."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..elements import DTYPES, count, from_bytes, shape_of, to_bytes
from ..faults import BadRequest
from ..http.inference import deadline_of
from ..requests import Named, Reply, Request
from ..settings import Limits
from .messages import message

_LISTS = {"BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
          "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
          "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}
_Response = message("ModelInferResponse")


def read_request(given: Any, limits: Limits, remaining: float | None, connection: object) -> Request:
    """The request that a message is; `remaining`: seconds that the client waits for it. Raises BadRequest."""
    raw = given.raw_input_contents
    if raw and len(raw) != len(given.inputs):
        raise BadRequest(f"{len(raw)} raw contents for {len(given.inputs)} inputs")
    if not given.inputs or len(given.inputs) > limits.tensors:
        raise BadRequest(f"a request has 1 to {limits.tensors} inputs")
    left, named = limits.elements, list[Named]()
    for k, one in enumerate(given.inputs):
        if not one.name or one.datatype not in DTYPES:
            raise BadRequest(f"input {one.name!r}: datatype is to be one of {', '.join(DTYPES)}")
        shape = shape_of(list(one.shape), one.name, left)
        left -= count(shape)
        if raw:
            if one.HasField("contents"):
                raise BadRequest(f"input {one.name!r} has contents and raw contents")
            array = from_bytes(memoryview(raw[k]), one.datatype, shape, one.name)
        else:
            array = _typed(one, shape)
        named.append(Named(one.name, one.datatype, array))
    parameters = {key: getattr(value, value.WhichOneof("parameter_choice") or "", None)
                  for key, value in given.parameters.items()}
    deadline = deadline_of(parameters)
    if remaining is not None:
        until = time.perf_counter() + remaining
        deadline = until if deadline is None else min(deadline, until)
    return Request(named, given.id, [o.name for o in given.outputs] or None, parameters, deadline, connection)


def _typed(one: Any, shape: tuple[int, ...]) -> Any:
    kind = _LISTS.get(one.datatype)
    if kind is None:
        raise BadRequest(f"input {one.name!r}: {one.datatype} travels as raw contents")
    values = getattr(one.contents, kind)
    if len(values) != count(shape):
        raise BadRequest(f"input {one.name!r}: {len(values)} elements in {kind}, where {list(shape)} was announced")
    if one.datatype == "BYTES":
        found = np.empty(len(values), np.object_)
        found[:] = list(values)
        return found.reshape(shape)
    of = DTYPES[one.datatype]
    array = np.array(values, of if one.datatype in ("FP32", "FP64", "BOOL") else None)
    if array.size and array.dtype != of:
        info = np.iinfo(of)
        if int(array.min()) < info.min or int(array.max()) > info.max:
            raise BadRequest(f"input {one.name!r}: {one.datatype} takes whole numbers from {info.min} to {info.max}")
    return array.astype(of).reshape(shape)


def write_reply(reply: Reply, request: Request, model: str, version: str) -> Any:
    """The message; outputs are raw, as the clients expect."""
    found = _Response(model_name=model, model_version=version, id=request.id)
    for t in reply.outputs:
        found.outputs.add(name=t.name, datatype=t.datatype, shape=t.shape)
        found.raw_output_contents.append(to_bytes(t.array, t.datatype))
    return found


