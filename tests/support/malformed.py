"""Requests that are wrong, by the thousand: for tests/serving/test_malformed.py and `tools/soak.py requests`.

Each goes over a socket to a server that is a process of its own. What may come back: an answer of 200 (a change may
have left it right) or 4xx, of gRPC a status that says that the client is at fault; for what is no HTTP, the
connection's end.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

FINE = (200, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 431,
        504)  # a change may give it a deadline of a microsecond
JUNK = [None, True, 0, -1, 1, 1e308, 0.5, 1 << 70, "", "\0", "é\U0001f600", "x" * 300, [], {}, [1], ["a"],
        [[1], [2, 3]], {"a": 1}, "FP32", "BYTES", [0] * 40, [1 << 62], "NaN"]
X = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [1, 2, 3, 4, 5, 6, 7, 8]}
BODIES = {
    "/v2/models/double/infer": {"id": "a", "inputs": [X], "outputs": [{"name": "output"}],
                                "parameters": {"timeout": 0}},
    "/v2/models/echo/infer": {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}]},
    "/v2/models/echo/versions/1/infer": {"inputs": [X, {**X, "name": "y", "datatype": "INT64"}]},
    "/v2/repository/index": {"ready": True}, "/v2/repository/models/echo/load": {"parameters": {}},
    "/v1/completions": {"model": "echo", "prompt": "a"}, "/v1/chat/completions": {"model": "none", "messages": []}}
MODELS = """
from facula.serving import Handler

class Echo(Handler):
    def predict(self, inputs):
        return inputs

def double(x):
    return x * 2
"""


class Server:
    """`facula serve` on a folder of two models; `rss` is its memory in bytes."""

    def __init__(self, folder, grpc=True):
        (folder / "malformed_models.py").write_text(MODELS)
        for name, source in (("echo", "malformed_models:Echo"), ("double", "malformed_models:double")):
            (folder / "models" / name / "1").mkdir(parents=True)
            (folder / "models" / name / "config.json").write_text(json.dumps({"source": source}))
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "facula", "serve", "models", "--port", "0", "--max-body", "1",
             *(["--grpc-port", "0"] if grpc else [])], cwd=folder, env=env, text=True, stderr=subprocess.PIPE)
        self.faults, self.ports, self.ready = [], {}, threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self.ready.wait(120):
            raise AssertionError("the server is not ready")

    def _read(self):
        for line in self.process.stderr:
            said = json.loads(line) if line.startswith("{") else {"event": "other", "line": line}
            if said["event"] == "listening":
                self.ports = said
            self.ready.set() if said["event"] == "ready" else None
            if said["event"] == "other" or said.get("status") == 500 or said.get("code") == "INTERNAL" \
                    or said.get("level") in ("error", "critical"):
                self.faults.append(line)

    def rss(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        self.process.terminate()
        return self.process.wait(60)


class Client:
    """A connection that is made anew when the server has ended it."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def send(self, data, ended):
        """The status, or 0 where the connection ended without one. `ended`: there is no more to come from here."""
        for _ in range(2):
            try:
                if self.socket is None:
                    self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
                self.socket.sendall(data)
                if ended:
                    self.socket.shutdown(socket.SHUT_WR)
                return self._status()
            except (ConnectionError, BrokenPipeError):
                self.close()
        return 0

    def _status(self, got=b""):
        while b"\r\n\r\n" not in got:
            more = self.socket.recv(65536)
            if not more:
                self.close()
                return int(got.split(None, 2)[1]) if got.startswith(b"HTTP/1.") else 0
            got += more
        head, _, body = got.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            return self._status(body)
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            more = self.socket.recv(65536)
            if not more:
                break
            body += more
        if len(body) != length or b"connection: close" in lines:
            self.close()
        return int(lines[0].split(None, 2)[1])

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def changed(value, draw, deep=0):
    """The value with one part of it exchanged, left out or doubled."""
    if deep > 6 or not isinstance(value, (dict, list)) or not value or draw.random() < 0.15:
        return draw.choice(JUNK)
    if isinstance(value, dict):
        key, kind = draw.choice([*value]), draw.random()
        if kind < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.25:
            return {**value, draw.choice(["x", "", "data", "parameters", "binary_data_size"]): draw.choice(JUNK)}
        return {**value, key: changed(value[key], draw, deep + 1)}
    at = draw.randrange(len(value))
    return value[:at] + draw.choice([[], [changed(value[at], draw, deep + 1)], [value[at]] * 2]) + value[at + 1:]


def scratched(data, draw):
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 8])):
        kind, at = draw.randrange(4), draw.randrange(len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] = draw.randrange(256)
        elif kind == 1:
            data[at:at] = draw.randbytes(draw.choice([1, 4, 40]))
        elif kind == 2:
            del data[at:at + draw.choice([1, 3, 30])]
        else:
            data[at:at] = draw.choice([b"[" * 100, b"{", b"\r\n", b"\0", b'"', b"1" * 400, b"\xff\xfe"])
    return bytes(data)


def request(draw):
    """(kind, the bytes of a request, whether nothing may follow them)."""
    path = draw.choice([*BODIES])
    kind, headers = draw.choice(["json", "text", "binary", "headers", "http"]), {}
    body = json.dumps(BODIES[path]).encode()
    if kind == "json":
        given = BODIES[path]
        for _ in range(draw.choice([1, 1, 2, 3])):
            given = changed(given, draw)
        body = json.dumps(given).encode()
    elif kind == "text":
        body = scratched(body, draw)
    elif kind == "binary":
        path, datatype = "/v2/models/echo/infer", draw.choice(["FP32", "BYTES", "BOOL", "FP16", "BF16", "INT64"])
        data = draw.randbytes(draw.choice([0, 3, 8, 32])) + struct.pack("<I", draw.choice([0, 1, 5, 1 << 31])) * 2
        size = draw.choice([len(data), len(data), len(data) + 1, 0, -1, 1 << 70, "8", None])
        header = json.dumps({"inputs": [{"name": "x", "datatype": datatype, "shape": [draw.choice([1, 2, 8, 1 << 40])],
                                         "parameters": {"binary_data_size": size}}]}).encode()
        body, length = header + data, draw.choice([len(header), len(header), len(header) - 1, 0, -5, 1 << 80, "x"])
        headers["Inference-Header-Content-Length"] = str(length)
    elif kind == "headers":
        headers[draw.choice(["Content-Encoding", "Accept", "X-Request-Id", "Authorization", "Transfer-Encoding",
                             "Expect", "Inference-Header-Content-Length", "Host", "Cookie" * 20])] = draw.choice(
            ["gzip", "deflate", "br", "text/event-stream", "x" * 9000, "\xe9", "chunked", "100-continue", "-1"])
    method = draw.choice(["POST"] * 8 + ["GET", "PUT", "OPTIONS", "X"])
    length = len(body) if draw.random() < 0.95 else draw.choice([1 << 60, -1, "a", len(body) + 5, ""])
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n" + "".join(
        f"{key}: {value}\r\n" for key, value in headers.items()) + "\r\n"
    data = head.encode("latin-1") + body
    if kind == "http":
        data = scratched(data, draw)
    return kind, data, kind in ("http", "headers") or length != len(body) or method != "POST"


def http(port, draw, count, wrong):
    """Send so many; how often which status came."""
    client, seen = Client(port), {}
    for _ in range(count):
        kind, data, ended = request(draw)
        status = client.send(data, ended)
        if ended:
            client.close()
        seen[status] = seen.get(status, 0) + 1
        if status not in FINE and not (status == 0 and ended):
            wrong.append(f"{kind}: {status} of {data[:2000]!r}")
    client.close()
    return seen


def grpc(port, draw, count, wrong):
    """The same of calls: bytes of a message, changed."""
    import grpc as library

    from facula.serving.rpc.messages import CALLS, message
    asked = message("ModelInferRequest")(model_name="echo", raw_input_contents=[b"\0" * 32])
    asked.inputs.add(name="x", datatype="FP32", shape=[2, 4])
    typed = message("ModelInferRequest")(model_name="double")
    typed.inputs.add(name="x", datatype="FP32", shape=[2, 2]).contents.fp32_contents.extend([1, 2, 3, 4])
    seeds = [asked.SerializeToString(), typed.SerializeToString(), b"", message("ModelReadyRequest")(
        name="echo").SerializeToString()]
    bad = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    seen = {}
    with library.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(count):
            name, data = draw.choice(["ModelInfer"] * 5 + CALLS), scratched(draw.choice(seeds), draw)
            code = "OK"
            try:
                channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(data, timeout=60)
            except library.RpcError as error:
                code = error.code().name
                if code in bad:
                    wrong.append(f"grpc {name}: {code} {error.details()} of {data!r}")
            seen[code] = seen.get(code, 0) + 1
    return seen


def run(folder, count, seed):
    """(what is to be said, what was wrong) of so many requests, a quarter of them by gRPC where it is installed."""
    try:
        import grpc as library  # noqa: F401
    except ImportError:
        calls = 0
    else:
        calls = count // 4
    server, draw, wrong = Server(folder, grpc=bool(calls)), random.Random(seed), []
    try:
        port = server.ports["port"]
        parts, sizes, files = max(1, min(10, count // 500)), [], server.files()
        lines, began = [], time.perf_counter()
        http_seen, grpc_seen = {}, {}
        for _ in range(parts):
            for found, seen in ((http_seen, http(port, draw, (count - calls) // parts, wrong)), (
                    grpc_seen, grpc(server.ports["grpc_port"], draw, calls // parts, wrong) if calls else {})):
                for key, number in seen.items():
                    found[key] = found.get(key, 0) + number
            sizes.append(server.rss())
        lines.append(f"seed {seed}: {count} requests in {time.perf_counter() - began:.0f} s; HTTP {http_seen}; "
                     f"gRPC {grpc_seen}")
        lines.append(f"MB: {' '.join(str(size >> 20) for size in sizes)}; open files {files}, then {server.files()}")
        if server.process.poll() is not None:
            wrong.append(f"the server ended with {server.process.poll()}")
        if server.files() > files + 8:
            wrong.append(f"{server.files()} open files, {files} at the beginning")
        if sizes[-1] - sizes[len(sizes) // 3] > 32 << 20:
            wrong.append(f"memory has grown: {sizes}")
        right = "POST /v2/models/double/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n"
        body = json.dumps({"inputs": [X]})
        if Client(port).send((right.format(len(body)) + body).encode(), False) != 200:
            wrong.append("what is right is not answered any more")
    finally:
        status = server.end()
    if status:
        wrong.append(f"the server ended with {status}")
    return lines, wrong + [f"logged: {line}" for line in server.faults]
