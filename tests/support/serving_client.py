"""A client that calls the ASGI application itself, and models to serve."""

import asyncio
import json

import facula
from facula.serving import Handler


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


async def ask(app, method, path, body=b"", headers=()):
    """An Answer. `body` may be what becomes JSON."""
    if not isinstance(body, (bytes, list)):
        body = json.dumps(body).encode()
    parts = body if isinstance(body, list) else [body]
    sent = []
    given = [(k.lower().encode(), v.encode()) for k, v in dict(headers).items()]
    if not isinstance(body, list) and not any(k == b"content-length" for k, _ in given):
        given.append((b"content-length", str(len(body)).encode()))
    queue = [{"type": "http.request", "body": p, "more_body": k + 1 < len(parts)} for k, p in enumerate(parts)]

    async def receive():
        if queue:
            return queue.pop(0)
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, "headers": given, "client": ("127.0.0.1", 1),
               "query_string": b""}, receive, send)
    return Answer(sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]},
                  b"".join(m.get("body", b"") for m in sent[1:]))


def tensor(name, array, datatype="FP32"):
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.reshape(-1).tolist()}


class Net(facula.nn.Sequential):
    def __init__(self, width=32):
        super().__init__(facula.nn.Linear(16, width), facula.nn.ReLU(), facula.nn.Linear(width, 10),
                         facula.nn.Softmax(-1))


class Echo(Handler):
    """Gives back what it gets, whatever it is."""

    def predict(self, inputs):
        return inputs


class Centred(Handler):
    """Not a function of rows: what is batched must not be."""

    def predict(self, inputs):
        x = inputs["x"]
        return {"y": x - x.mean()}


class Words(Handler):
    def load(self, settings):
        self.mark = settings.arguments.get("mark", "!").encode()

    def preprocess(self, inputs):
        return {"length": facula.tensor([[len(w)] for w in inputs["text"].reshape(-1).tolist()])}

    def predict(self, inputs):
        return inputs["length"] * 2

    def postprocess(self, outputs):
        return {"said": [str(n).encode() + self.mark for n in outputs["output"].reshape(-1).tolist()]}


def double(x):
    return x * 2
