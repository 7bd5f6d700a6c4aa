"""Requests a second of `facula serve` beside a bare echo on the same HTTP library, in turns: needs wrk, facula[serve].

    python bench/serving.py [--seconds 5] [--rounds 3] [--connections 32]

The echo reads 64 floats as JSON and writes them again. The model is an MLP 64-64-10. Acceptance of issue 12: 0.6 of it.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ECHO = """
import json

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    out = json.dumps(json.loads(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(out))]})
    await send({"type": "http.response.body", "body": out})
"""
MODEL = """
import facula

class Net(facula.nn.Sequential):
    def __init__(self):
        super().__init__(facula.nn.Linear(64, 64), facula.nn.ReLU(), facula.nn.Linear(64, 10))
"""
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]})


def load(folder, url, options, process):
    """(requests a second, p50, p99, microseconds of the server's processor time a request)."""
    before = cpu(process)
    script = os.path.join(folder, "post.lua")
    with open(script, "w") as file:
        file.write(f"wrk.method = 'POST'\nwrk.body = '{BODY}'\n")
    said = subprocess.run(["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}", "-s", script, "--latency",
                           url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p50, p99 = (re.search(rf"^\s+{p}%\s+(\S+)", said, re.M).group(1) for p in (50, 99))
    count = int(re.search(r"(\d+) requests in", said).group(1))
    return float(rate.group(1)), p50, p99, (cpu(process) - before) / count * 1e6


def cpu(process):
    """Seconds of processor time, of all its threads."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait(url):
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("seconds", 5), ("rounds", 3), ("connections", 32), ("port", 8390)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("needs wrk (apt-get install wrk)")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("bench_echo.py", ECHO), ("bench_model.py", MODEL)):
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *map(os.path.abspath, sys.path)])}
        echo, ours = str(options.port), str(options.port + 1)
        commands = (
            ["uvicorn", "bench_echo:app", "--port", echo, "--no-access-log", "--log-level", "error",
             "--lifespan", "off"],
            ["facula", "serve", "bench_model:Net", "--name", "m", "--port", ours, "--input", "x:FP32:-1,64"])
        servers = [subprocess.Popen([sys.executable, "-m", *command], env=env, stderr=subprocess.DEVNULL)
                   for command in commands]
        try:
            wait(f"http://127.0.0.1:{ours}/v2/health/ready")
            ratios, work = [], []
            for _ in range(options.rounds):
                a = load(folder, f"http://127.0.0.1:{echo}/", options, servers[0])
                b = load(folder, f"http://127.0.0.1:{ours}/v2/models/m/infer", options, servers[1])
                ratios.append(b[0] / a[0])
                work.append(a[3] / b[3])
                for who, (rate, p50, p99, each) in (("echo", a), ("facula", b)):
                    print(f"{who:8}{rate:8.0f} a second, p50 {p50}, p99 {p99}, {each:.0f} us of a core each",
                          flush=True)
            print(f"facula / echo: {statistics.median(ratios):.2f} of the requests a second, "
                  f"{statistics.median(work):.2f} by processor time")
        finally:
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait(30)


if __name__ == "__main__":
    main()
