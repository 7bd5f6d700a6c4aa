"""The Open Inference Protocol over REST: tensors of every dtype in both forms, pages, errors."""

import asyncio
import gzip
import json
import struct
import time

import numpy as np
import pytest

from facula.serving import App, Limits, Repository, Settings, Spec
from facula.serving.elements import DTYPES, bfloat, widened
from facula.serving.http.bodies import Bodies
from serving_client import Centred, Echo, Words, ask, double, tensor


@pytest.fixture(scope="module")
def app():
    models = Repository()
    models.add("echo", handler=Echo())
    models.add("double", handler=double, settings=Settings(
        inputs=(Spec("x", "FP32", (-1, 4)),), outputs=(Spec("y", "FP32", (-1, 4)),), max_batch_size=8))
    models.add("words", handler=Words(), settings=Settings(arguments={"mark": "?"}))
    yield App(models, limits=Limits(body_bytes=1 << 16, elements=1 << 14, body_seconds=0.2))
    models.drain(5)


def say(app, *args, **more):
    return asyncio.run(ask(app, *args, **more))


ARRAYS = {
    "BOOL": np.array([[True, False], [False, True]]), "BYTES": np.array([["a", "é"], ["", "0" * 300]], object),
    **{name: np.array([[np.iinfo(of).min, 0], [1, np.iinfo(of).max]], of)
       for name, of in DTYPES.items() if "INT" in name},
    "FP16": np.array([[1.5, -2], [65504, 6e-8]], np.float16), "FP32": np.array([[0.1, -1e38], [1e-45, 3]], np.float32),
    "FP64": np.array([[0.1, -1e300], [5e-324, 3]]), "BF16": np.array([[1.5, -2], [3e38, 1e-38]], np.float32)}


@pytest.mark.parametrize("datatype", ARRAYS)
@pytest.mark.parametrize("nested", [False, True])
def test_every_dtype_as_json(app, datatype, nested):
    array = ARRAYS[datatype]
    sent = tensor("x", array, datatype)
    if nested:
        sent["data"] = array.tolist()
    found = say(app, "POST", "/v2/models/echo/infer", {"id": "7", "inputs": [sent]})
    assert found.status == 200, found.body
    output = found.json["outputs"][0]
    assert (found.json["id"], output["datatype"], output["shape"]) == ("7", datatype, [2, 2])
    if datatype == "BF16":
        array = widened(bfloat(array))
    assert np.array_equal(np.array(output["data"], array.dtype).reshape(2, 2), array)


@pytest.mark.parametrize("datatype", ARRAYS)
def test_every_dtype_as_binary(app, datatype):
    array = ARRAYS[datatype]
    if datatype == "BYTES":
        data = b"".join(struct.pack("<I", len(s.encode())) + s.encode() for s in array.reshape(-1))
    else:
        data = (bfloat(array) if datatype == "BF16" else array).tobytes()
    header = json.dumps({"inputs": [{"name": "x", "datatype": datatype, "shape": [2, 2],
                                     "parameters": {"binary_data_size": len(data)}}],
                         "parameters": {"binary_data_output": True}}).encode()
    found = say(app, "POST", "/v2/models/echo/infer", header + data,
                headers={"Inference-Header-Content-Length": str(len(header))})
    assert found.status == 200, found.body
    length = int(found.headers["inference-header-content-length"])
    assert json.loads(found.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": len(data)}
    assert found.body[length:] == data


def test_pages(app):
    assert say(app, "GET", "/v2").json["extensions"][0] == "binary_tensor_data"
    assert say(app, "GET", "/v2/health/live").json == {"live": True}
    assert say(app, "GET", "/v2/health/ready").json == {"ready": True}
    meta = say(app, "GET", "/v2/models/double").json
    assert meta["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}] and meta["versions"] == ["1"]
    assert say(app, "GET", "/v2/models/double/versions/1/ready").json == {"name": "double", "ready": True}
    assert b"double" in say(app, "GET", "/").body
    assert 'nv_inference_exec_count{model="double",version="1"}' in say(app, "GET", "/metrics").body.decode()
    paths = say(app, "GET", "/openapi.json").json["paths"]
    assert "/v2/models/{model}/infer" in paths and "503" in paths["/v2/models/{model}/infer"]["post"]["responses"]
    assert say(app, "HEAD", "/v2").body == b""


def test_requests_and_their_ids(app):
    found = say(app, "GET", "/v2", headers={"X-Request-Id": "mine-1"})
    assert found.headers["x-request-id"] == "mine-1"
    other = say(app, "GET", "/v2", headers={"X-Request-Id": "not mine\r\n"}).headers["x-request-id"]
    assert len(other) == 16


def test_text_in_and_out_of_a_handler(app):
    found = say(app, "POST", "/v2/models/words/infer", {"inputs": [
        {"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": ["abc", "é"]}]})
    assert found.json["outputs"][0]["data"] == ["6?", "4?"]


def test_outputs_that_are_asked_for(app):
    x = tensor("x", np.ones((1, 4), "f"))
    sent = {"inputs": [x], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    found = say(app, "POST", "/v2/models/double/infer", sent)
    assert found.body.endswith(np.full(4, 2, "<f4").tobytes())
    assert say(app, "POST", "/v2/models/double/infer", {**sent, "outputs": [{"name": "z"}]}).status == 400


def test_what_follows_a_compressed_body_is_refused(app):
    body = gzip.compress(b"{}") + gzip.compress(b"more")
    found = say(app, "POST", "/v2/models/echo/infer", body, headers={"content-encoding": "gzip"})
    assert found.status == 400 and "follow" in found.json["error"]


def test_a_shape_beyond_arrays_is_refused(app):
    found = say(app, "POST", "/v2/models/echo/infer",
                {"inputs": [{"name": "x", "datatype": "FP32", "shape": [0, 1 << 61], "data": []}]})
    assert found.status == 400


def test_compressed_bodies(app):
    text = json.dumps({"inputs": [tensor("x", np.ones((1, 4), "f"))]}).encode()
    found = say(app, "POST", "/v2/models/double/infer", gzip.compress(text), headers={"Content-Encoding": "gzip"})
    assert found.json["outputs"][0]["data"] == [2, 2, 2, 2]
    bomb = gzip.compress(b" " * (1 << 22))
    assert say(app, "POST", "/v2/models/double/infer", bomb, headers={"Content-Encoding": "gzip"}).status == 413
    assert say(app, "POST", "/v2/models/double/infer", text, headers={"Content-Encoding": "br"}).status == 415
    assert say(app, "POST", "/v2/models/double/infer", text, headers={"Content-Encoding": "gzip"}).status == 400


X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
WRONG = [
    b"", b"{", b"[]", b"null", b'{"inputs": []}', b'{"inputs": 3}', b'{"inputs": [3]}', b"\xff", b"[" * 60000,
    b'{"inputs": [NaN]}', {"inputs": [{**X, "name": ""}]}, {"inputs": [{**X, "name": 3}]},
    {"inputs": [{**X, "datatype": "FP8"}]}, {"inputs": [{**X, "datatype": ["FP32"]}]}, {"inputs": [{**X, "shape": 4}]},
    {"inputs": [{**X, "shape": [-1, 4]}]}, {"inputs": [{**X, "shape": [1 << 40, 1 << 40]}]},
    {"inputs": [{**X, "shape": [True, 4]}]}, {"inputs": [{**X, "shape": [1.0, 4]}]}, {"inputs": [{**X, "data": [1]}]},
    {"inputs": [{**X, "data": ["a"] * 4}]}, {"inputs": [{**X, "data": [[1, 2], [3]]}]}, {"inputs": [{**X, "data": {}}]},
    {"inputs": [{**X, "data": [None] * 4}]}, {"inputs": [X, X]}, {"inputs": [{**X, "name": "z"}]},
    {"inputs": [{**X, "datatype": "INT32"}]}, {"inputs": [{**X, "shape": [4]}]}, {"inputs": [X], "id": 3},
    {"inputs": [{**X, "shape": [9, 4], "data": [0] * 36}]}, {"inputs": [X], "parameters": []},
    {"inputs": [X], "parameters": {"timeout": -1}}, {"inputs": [X], "outputs": [{}]}, {"inputs": [X], "outputs": 1},
    {"inputs": [{**X, "parameters": {"binary_data_size": 16}}]}, {"inputs": [{**X, "shape": [0] * 40, "data": []}]},
    {"inputs": [{k: v for k, v in X.items() if k != "data"}]}, {"inputs": [{**X, "data": ["x"] * 3 + [1]}]},
]


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_wrong_requests(app, body):
    found = say(app, "POST", "/v2/models/double/infer", body)
    assert found.status == 400 and isinstance(found.json["error"], str), found.body


@pytest.mark.parametrize("datatype, data", [
    ("INT8", [128]), ("UINT8", [-1]), ("UINT64", [1 << 64]), ("UINT64", [1.5]), ("INT64", [1 << 63]), ("INT32", [1.0]),
    ("BOOL", [1]), ("BYTES", [1]), ("FP32", [True]), ("FP64", ["1"])])
def test_numbers_that_do_not_fit(app, datatype, data):
    sent = {"name": "x", "datatype": datatype, "shape": [1], "data": data}
    assert say(app, "POST", "/v2/models/echo/infer", {"inputs": [sent]}).status == 400


@pytest.mark.parametrize("size, tail", [
    (8, b"0" * 16), (16, b"0" * 8), (-1, b"0" * 16), (16, b"0" * 17), (1 << 70, b"")])
def test_wrong_binary_lengths(app, size, tail):
    header = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4],
                                     "parameters": {"binary_data_size": size}}]}).encode()
    found = say(app, "POST", "/v2/models/double/infer", header + tail,
                headers={"Inference-Header-Content-Length": str(len(header))})
    assert found.status == 400
    for wrong in ("x", "-1", str(1 << 80), "999999"):
        assert say(app, "POST", "/v2/models/double/infer", header + tail,
                   headers={"Inference-Header-Content-Length": wrong}).status == 400


@pytest.mark.parametrize("tail", [b"\x05\0\0\0abc", b"\xff\xff\xff\xff", b"\0\0", b"\0\0\0\0x"])
def test_wrong_strings(app, tail):
    header = json.dumps({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1],
                                     "parameters": {"binary_data_size": len(tail)}}]}).encode()
    assert say(app, "POST", "/v2/models/echo/infer", header + tail,
               headers={"Inference-Header-Content-Length": str(len(header))}).status == 400


def test_numbers_that_json_lacks(app):
    data = np.array([np.inf, np.nan], "<f4").tobytes()
    one = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
    header = json.dumps({"inputs": [one]}).encode()
    found = say(app, "POST", "/v2/models/echo/infer", header + data,
                headers={"Inference-Header-Content-Length": str(len(header))})
    assert found.status == 400 and "binary" in found.json["error"]


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/nowhere", 404), ("GET", "/v2/models/none", 404), ("POST", "/v2/models/none/infer", 404),
    ("GET", "/v2/models/echo/versions/9", 404), ("GET", "/v2/models/echo/infer", 405), ("POST", "/v2", 405),
    ("GET", "/v2/models/", 404), ("POST", "/v2/repository/models/echo/load", 403), ("DELETE", "/v2/models/echo", 405)])
def test_paths_and_methods(app, method, path, status):
    found = say(app, method, path)
    assert found.status == status and "error" in found.json


def test_bodies_are_bounded(app):
    assert say(app, "POST", "/v2/models/echo/infer", b"", headers={"content-length": "99999999"}).status == 413
    assert say(app, "POST", "/v2/models/echo/infer", [b"x" * 40000] * 3).status == 413
    assert say(app, "POST", "/v2/models/echo/infer", b"", headers={"content-length": "-5"}).status == 400
    app.bodies.held = app.limits.held_bytes
    try:
        found = say(app, "POST", "/v2/models/echo/infer", {"inputs": [X]})
        assert (found.status, found.headers["retry-after"]) == (503, "1")
    finally:
        app.bodies.held = 0


def test_bodies_that_are_still_coming_count(app):
    """Many slow ones together are bounded, not only those that have come."""
    limits, app.limits = app.limits, Limits(body_bytes=100_000, held_bytes=150_000, body_seconds=5)
    bodies, app.bodies = app.bodies, Bodies(app.limits)

    async def all_of_them():
        gate, statuses = asyncio.Event(), []

        async def one(first):
            parts = [{"type": "http.request", "body": b" " * 60_000, "more_body": True}]

            async def receive():
                if parts:
                    return parts.pop()
                if first:
                    await gate.wait()
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message):
                statuses.append(message.get("status"))
            await app({"type": "http", "method": "POST", "path": "/v2/models/echo/infer", "headers": []}, receive, send)
        slow = [asyncio.ensure_future(one(True)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert app.bodies.held == 120_000
        await one(False)
        assert statuses[0] == 503
        gate.set()
        await asyncio.gather(*slow)
        assert statuses[2::2] == [400, 400]
    try:
        asyncio.run(all_of_them())
        assert app.bodies.held == 0
    finally:
        app.limits, app.bodies = limits, bodies


@pytest.mark.parametrize("text, deep", [
    ('[[[]]]', False), ('[[[[]]]]', True), ('{"a":[{"b":[]}]}', True), ('["[[[[[", "]]]"]', False),
    (r'["\\", [[[]]]]', True), (r'["\"[[[[", 1]', False), (r'["\\\"[[[[", "{{"]', False), ('[],[],[],[],[],[]', False)])
def test_how_deep_json_is_nested(text, deep):
    from facula.serving import jsons
    assert jsons._deep(text.encode(), 3) is deep


def test_the_depth_of_much_json_is_soon_known():
    from facula.serving import jsons
    text = b'{"a": [' + b",".join([b"[" + b"0.25," * 50 + b"1]"] * 8000) + b"]}"
    before = time.process_time()
    assert not jsons._deep(text, 64) and jsons._deep(text[:-1] + b"," + b"[" * 80, 64)
    assert time.process_time() - before < 1.0  # byte by byte it took seconds, and nobody else was answered


def test_a_body_that_does_not_come(app):
    async def slow():
        sent = []
        first = [{"type": "http.request", "body": b"x", "more_body": True}]

        async def receive():
            if first:
                return first.pop()
            await asyncio.sleep(10)

        async def send(message):
            sent.append(message)
        await app({"type": "http", "method": "POST", "path": "/v2/models/echo/infer", "headers": []}, receive, send)
        return sent[0]["status"]
    assert asyncio.run(slow()) == 408
    assert app.bodies.held == 0


def test_a_token():
    models = Repository()
    models.add("echo", handler=Echo())
    app = App(models, token="secret")
    assert say(app, "GET", "/v2/health/ready").status == 200
    for header in ("", "Bearer wrong", "secret", "Basic secret"):
        assert say(app, "GET", "/v2", headers={"Authorization": header}).status == 401
    assert say(app, "GET", "/v2", headers={"Authorization": "Bearer secret"}).status == 200
    models.drain(5)


def test_a_model_that_looks_at_its_batch_is_not_batched():
    models = Repository()
    models.add("centred", handler=Centred())

    async def several():
        asked = [ask(app, "POST", "/v2/models/centred/infer", {"inputs": [tensor("x", np.full((1, 2), k, "f"))]})
                 for k in range(6)]
        return await asyncio.gather(*asked)
    app = App(models)
    assert all(one.json["outputs"][0]["data"] == [0, 0] for one in asyncio.run(several()))
    assert "same bits" in models.lane("centred")[1].model.alone
    models.drain(5)
