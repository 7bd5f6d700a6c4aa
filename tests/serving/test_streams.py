"""Replies that come one after another: a handler's `stream` as server-sent events."""

import asyncio
import json
import threading

import numpy as np
import pytest

import facula
from facula.serving import App, Handler, Repository, Settings, streaming
from facula.serving.faults import Busy, TooLate
from facula.serving.requests import Named, Request
from serving_client import ask, double, tensor

SENT = {"accept": "text/event-stream"}


class Counting(Handler):
    """x, 2 x, 3 x, ..., and how far it came."""

    def __init__(self, count=4):
        self.count, self.made, self.closed = count, 0, threading.Event()

    def predict(self, inputs):
        return inputs["x"]

    def stream(self, inputs):
        try:
            for k in range(self.count):
                if k == 2 and (inputs["x"] < 0).any():
                    raise ValueError("negative")
                self.made += 1
                yield {"y": inputs["x"] * (k + 1)}
        finally:
            self.closed.set()


@pytest.fixture
def models():
    made = Repository()
    yield made
    made.drain(5)


def body(value, **more):
    return {"id": "7", "inputs": [tensor("x", np.array([[value]], "f"))], **more}


def events(answer):
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.body.decode().split("\n\n")
    assert lines[-1] == "" and all(line.startswith("data: ") for line in lines[:-1])
    return [json.loads(line[6:]) for line in lines[:-1]]


def say(app, name, given, headers=SENT):
    return asyncio.run(ask(app, "POST", f"/v2/models/{name}/infer", given, headers))


def row(value=1.0, **more):
    return Request([Named("x", "FP32", np.full((1, 1), value, "f"))], **more)


def test_a_reply_after_another(models):
    models.add("count", handler=Counting())
    app = App(models)
    found = events(say(app, "count", body(3.0)))
    assert [one["outputs"][0]["data"] for one in found] == [[3], [6], [9], [12]]
    assert {(one["model_name"], one["model_version"], one["id"]) for one in found} == {("count", "1", "7")}
    assert say(app, "count", body(3.0), {"accept": "application/json"}).json["outputs"][0]["data"] == [3]
    text = asyncio.run(ask(app, "GET", "/metrics")).body.decode()
    counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    label = '{model="count",version="1"}'
    for name, count in (("streams", "1"), ("stream_replies", "4"), ("streaming", "0")):
        assert counts[f"facula_inference_{name}{label}"] == count
    assert counts["nv_inference_request_success" + label] == "2"


def test_what_has_no_stream_gives_one_reply(models):
    models.add("double", handler=double)
    assert [one["outputs"][0]["data"] for one in events(say(App(models), "double", body(3.0)))] == [[6]]


def test_what_a_stream_fails_of(models):
    """Before the first reply it has a status; after it, it is the last event."""
    models.add("count", handler=Counting())
    app = App(models)
    found = events(say(app, "count", body(-1.0)))
    assert [one.get("error") for one in found] == [None, None, "the model failed: ValueError: negative"]
    sent = body(1.0, outputs=[{"name": "z"}])
    assert say(app, "count", sent).status == 400
    assert say(app, "count", {"inputs": []}).status == 400 and say(app, "none", body(1.0)).status == 404
    assert say(app, "count", body(1.0, parameters={"binary_data_output": True})).status == 400
    statistics = models.lane("count")[1].statistics
    assert statistics.streaming == 0 and statistics.request_failure == 2


def test_who_leaves_ends_the_stream(models):
    handler = Counting(10 ** 9)
    models.add("count", handler=handler)
    app, sent = App(models), []

    async def run():
        first = [{"type": "http.request", "body": json.dumps(body(1.0)).encode()}]

        async def receive():
            if first:
                return first.pop()
            while len(sent) < 5:
                await asyncio.sleep(0.001)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
        await app({"type": "http", "method": "POST", "path": "/v2/models/count/infer",
                   "headers": [(b"accept", b"text/event-stream")]}, receive, send)
        assert await asyncio.to_thread(handler.closed.wait, 10)
    asyncio.run(run())
    assert app.bodies.held == 0
    models.drain(5)
    assert models.lane("count")[1].streams.emptied.is_set()


def test_who_reads_slowly_is_waited_for(models, monkeypatch):
    """No reply is made that nobody has room for; others are answered meanwhile; and not for ever."""
    handler = Counting(100)
    models.add("count", handler=handler)
    models.add("double", handler=double)

    async def run():
        stream = models.stream("count", "", row())[1]
        for k in range(3):
            reply = await stream.next()
            assert reply.outputs[0].array.tolist() == [[k + 1]]
        for _ in range(20):
            await models.submit("double", "", row())[1]
        assert handler.made == 3 + streaming.AHEAD
        monkeypatch.setattr(streaming, "PATIENCE", 0.01)
        stream.lane.wake()
        while True:
            if len(stream.lane.active) == 0:
                break
            await asyncio.sleep(0.001)
        with pytest.raises(TooLate, match="has not read"):
            for _ in range(streaming.AHEAD + 1):
                await stream.next()
        assert handler.made == 3 + streaming.AHEAD and handler.closed.is_set()
    asyncio.run(run())


def test_streams_are_bounded_in_number_and_time(models):
    models.add("count", handler=Counting(10 ** 9), settings=Settings(max_queue_size=1, timeout_microseconds=200_000))

    async def run():
        stream = models.stream("count", "", row())[1]
        with pytest.raises(Busy):
            models.stream("count", "", row())
        with pytest.raises(TooLate):
            while True:
                await stream.next()
    asyncio.run(run())


def test_a_server_that_ends_finishes_streams(models):
    models.add("count", handler=Counting(50))

    async def run():
        stream, seen = models.stream("count", "", row())[1], 0
        await stream.next()
        drained = asyncio.ensure_future(asyncio.to_thread(models.drain, 10))
        while await stream.next() is not None:
            seen += 1
        assert await drained and seen == 49
        assert models.lane("count")[1].closed
    asyncio.run(run())


def test_gradients_and_modes_are_the_steps_own(models):
    class Modes(Handler):
        def stream(self, inputs):
            for _ in range(2):
                yield {"y": facula.tensor([[float(facula.is_grad_enabled())]])}
    models.add("modes", handler=Modes())
    found = events(say(App(models), "modes", body(1.0)))
    assert [one["outputs"][0]["data"] for one in found] == [[0], [0]]
