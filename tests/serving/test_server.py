"""`facula serve` as a process: clients of others, signals, several workers, cores."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.processes

MODEL = """
import time
import facula
from facula.serving import Handler

class Net(facula.nn.Sequential):
    def __init__(self):
        facula.manual_seed(1)
        super().__init__(facula.nn.Linear(8, 16), facula.nn.Tanh(), facula.nn.Linear(16, 3))

class Sleepy(Handler):
    def predict(self, inputs):
        time.sleep(0.5)
        return inputs["x"]
"""


class Served:
    def __init__(self, tmp_path, *arguments, **environment):
        (tmp_path / "served_models.py").write_text(MODEL)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), **environment}
        self.process = subprocess.Popen([sys.executable, "-m", "facula", "serve", *arguments, "--port", "0"], text=True,
                                        cwd=tmp_path, env=env, stderr=subprocess.PIPE)
        self.lines = []
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True).start()
        self.port = self.said("listening")["port"]

    def said(self, event, count=1):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = [line for line in map(self._read, [*self.lines]) if line.get("event") == event]
            if len(found) >= count:
                return found[-1]
            assert self.process.poll() is None, self.lines
            time.sleep(0.01)
        raise AssertionError((event, self.lines))

    @staticmethod
    def _read(line):
        return json.loads(line) if line.startswith("{") else {}

    def ask(self, path, body=None, headers=()):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}",
                                         None if body is None else json.dumps(body).encode(), dict(headers))
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def serve(tmp_path):
    running = []

    def start(*arguments, **environment):
        running.append(Served(tmp_path, *arguments, **environment))
        return running[-1]
    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(30)


X = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [0.5] * 8}]}


def test_clients_of_others(serve):
    one = serve("served_models:Net", "--name", "net", "--input", "x:FP32:-1,8", "--output", "y:FP32:-1,3",
                "--grpc-port", "0")
    one.said("ready")
    y = one.ask("/v2/models/net/infer", X)["outputs"][0]["data"]
    try:
        import tritonclient.http as client
    except (ImportError, RuntimeError) as error:
        pytest.skip(str(error))
    triton = client.InferenceServerClient(f"127.0.0.1:{one.port}")
    assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready("net")
    assert triton.get_model_metadata("net")["outputs"][0]["name"] == "y"
    for binary in (False, True):
        for packed in (None, "gzip", "deflate"):
            x = client.InferInput("x", [1, 8], "FP32")
            x.set_data_from_numpy(np.full((1, 8), 0.5, "f"), binary_data=binary)
            wanted = client.InferRequestedOutput("y", binary_data=binary)
            found = triton.infer("net", [x], outputs=[wanted], request_compression_algorithm=packed)
            assert np.array_equal(found.as_numpy("y")[0], np.array(y, "f"))
    triton.close()
    assert one.end() == 0
    assert '"ended"' in one.lines[-1]


def test_what_runs_is_answered_when_the_server_ends(serve):
    one = serve("served_models:Sleepy", "--name", "m")
    one.said("ready")
    found = []
    threads = [threading.Thread(target=lambda: found.append(one.ask("/v2/models/m/infer", X))) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert one.end() == 0
    for thread in threads:
        thread.join(10)
    assert len(found) == 3


def test_a_worker_that_is_killed(serve):
    one = serve("served_models:Net", "--name", "net", "--workers", "2")
    one.said("ready", 2)
    first = one.said("worker", 1)["pid"]
    os.kill(first, signal.SIGKILL)
    assert one.said("worker died")["code"] == -9
    for _ in range(20):
        assert one.ask("/v2/models/net/infer", X)["model_name"] == "net"
    one.said("ready", 3)
    assert one.end() == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_cores_and_a_token(serve):
    one = serve("served_models:Net", "--cores", "1", FACULA_SERVE_TOKEN="secret")
    one.said("ready")
    assert len(os.sched_getaffinity(one.process.pid)) == 1
    with pytest.raises(urllib.error.HTTPError, match="401"):
        one.ask("/v2")
    assert one.ask("/v2", headers={"Authorization": "Bearer secret"})["name"] == "facula"
    before = _cpu(one.process.pid)
    time.sleep(2)
    assert _cpu(one.process.pid) - before <= 0.05  # who idles waits


def _cpu(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("arguments, words", [
    (["m.onnx"], "cannot be read yet"), (["nowhere:f"], "no module"), (["x:y", "--max-batch", "0"], "--max-batch"),
    (["x:y", "--input", "x:FP9:1"], "datatype"), (["x:y", "--tls-cert", "a"], "--tls-key")])
def test_what_cannot_be_served(tmp_path, arguments, words):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-m", "facula", "serve", *arguments, "--port", "0"], capture_output=True,
                           text=True, cwd=tmp_path, timeout=60, env=env)
    assert found.returncode == 2 and words in found.stderr


def test_text_is_streamed_to_its_end(serve):
    one = serve("generation_models:language", "--generate", "--name", "gpt", "--cache-mib", "4", "--max-batch", "2")
    one.said("ready")
    body = {"model": "gpt", "prompt": "hello", "max_tokens": 200, "stream": True, "seed": 1}
    request = urllib.request.Request(f"http://127.0.0.1:{one.port}/v1/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        first = answer.readline()
        _openai(one.port)
        one.process.send_signal(signal.SIGTERM)
        rest = answer.read()
    assert first.startswith(b"data: {") and rest.endswith(b"data: [DONE]\n\n")
    assert json.loads(rest.split(b"\n\n")[-3][6:])["choices"][0]["finish_reason"] == "length"
    assert one.process.wait(30) == 0


def _openai(port):
    """Its client, where it is installed."""
    try:
        import openai
    except ImportError:
        return
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    assert [m.id for m in client.models.list()] == ["gpt"]
    messages = [{"role": "user", "content": "hello"}]
    asked = {"model": "gpt", "messages": messages, "max_tokens": 8, "seed": 2}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    parts = client.chat.completions.create(**asked, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole and len(whole) == 8
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="gpt", prompt="hello", max_tokens=1000)
