"""Trains a small model, serves it, and asks it, by HTTP: what `facula serve` does, in one program.

    python examples/serve.py          needs facula[serve]
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request

import facula as torch


class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))


def train():
    """Is the sum of eight numbers positive?"""
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(200):
        x = torch.randn(64, 8)
        loss = torch.nn.functional.cross_entropy(net(x), (x.sum(1) > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def ask(port, rows):
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), 8], "data": rows}]}
    url = f"http://127.0.0.1:{port}/v2/models/sign/infer"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=30) as answer:
        return json.loads(answer.read())["outputs"][0]["data"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(folder, "sign.pt")
        torch.save(train().state_dict(), weights)
        path = [os.path.dirname(os.path.abspath(__file__)), *map(os.path.abspath, sys.path)]
        server = subprocess.Popen(
            [sys.executable, "-m", "facula", "serve", f"{weights}+serve:Net", "--name", "sign", "--port", "0",
             "--input", "x:FP32:-1,8"], env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stderr=subprocess.PIPE, text=True)
        try:
            port = None
            for line in server.stderr:
                said = json.loads(line) if line.startswith("{") else {}
                port = said.get("port", port)
                if said.get("event") == "ready":
                    break
            else:
                raise SystemExit("the server has ended: pip install 'facula[serve]'")
            minus, plus, other, more = ask(port, [[1.0] * 8, [-1.0] * 8])
            print("positive:", plus > minus, "negative:", other > more)
        finally:
            server.terminate()
            server.communicate()


if __name__ == "__main__":
    main()
