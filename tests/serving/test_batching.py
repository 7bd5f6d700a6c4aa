"""Requests that are run together: the same bits, rows counted, order, deadlines, bounds, models that come and go."""

import asyncio
import json
import threading
import time

import numpy as np
import pytest

import facula
from facula.serving import App, Handler, Repository, Settings, Spec
from facula.serving.faults import Busy, TooLate
from facula.serving.requests import Named, Request
from serving_client import Echo, Net, ask, tensor

INPUTS = (Spec("x", "FP32", (-1, 16)),)


class Slow(Handler):
    """Says how many rows it was run with, and takes its time over it; waits where a test says so."""

    def __init__(self, gate=None):
        self.runs, self.gate, self.unloaded = [], gate, threading.Event()

    def predict(self, inputs):
        if self.gate is not None:
            self.gate.wait(10)
        self.runs.append(inputs["x"][:, 0].tolist())
        return inputs["x"]

    def unload(self):
        self.unloaded.set()


def row(value, rows=1, **more):
    return Request([Named("x", "FP32", np.full((rows, 1), value, "f"))], **more)


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def models():
    made = Repository()
    yield made
    made.drain(5)


@pytest.mark.compiled
def test_the_same_bits_in_any_company(models):
    facula.manual_seed(3)
    net = Net(100)
    models.add("net", handler=net, settings=Settings(inputs=INPUTS, max_batch_size=16))
    app, draw = App(models), np.random.default_rng(0)
    requests = [draw.standard_normal((n, 16)).astype("f") for n in draw.integers(1, 5, 60)]

    async def alone():
        return [(await ask(app, "POST", "/v2/models/net/infer", {"inputs": [tensor("x", x)]})).json for x in requests]

    async def together():
        return [a.json for a in await asyncio.gather(*(
            ask(app, "POST", "/v2/models/net/infer", {"inputs": [tensor("x", x)]}) for x in requests))]
    first = asyncio.run(alone())
    before = models.lane("net")[1].statistics.all()
    second = asyncio.run(together())
    after = models.lane("net")[1].statistics.all()
    assert first == second
    assert models.lane("net")[1].model.alone == ""
    assert after["inferences"] - before["inferences"] == sum(map(len, requests))
    assert after["executions"] - before["executions"] < 30


def test_rows_are_counted_and_order_is_kept(models):
    gate = threading.Event()
    handler = Slow(gate)
    models.add("m", handler=handler, settings=Settings(max_batch_size=4))
    lane = models.lane("m")[1]
    lane.model._checked[row(0).signature] = 99

    async def go():
        first = lane.submit(row(0))
        until(lambda: not lane.queue)
        others = [lane.submit(row(k, rows, connection=c)) for k, rows, c in (
            (1, 3, "a"), (2, 2, "b"), (3, 1, "b"), (4, 1, "c"), (5, 4, "a"))]
        gate.set()
        return await asyncio.gather(first, *others)
    replies = asyncio.run(go())
    assert [r.outputs[0].array[0, 0] for r in replies] == [0, 1, 2, 3, 4, 5]
    # 3 may not go with 1, though it would fit: it would overtake 2 of its own connection. 4 may.
    assert handler.runs == [[0], [1, 1, 1, 4], [2, 2, 3], [5, 5, 5, 5]]


def test_a_full_queue_and_deadlines(models):
    gate = threading.Event()
    models.add("m", handler=Slow(gate), settings=Settings(max_queue_size=2))
    lane = models.lane("m")[1]

    async def go():
        first = lane.submit(row(0))
        until(lambda: not lane.queue)
        late = lane.submit(row(1, deadline=time.perf_counter() + 0.01))
        kept = lane.submit(row(2))
        with pytest.raises(Busy) as full:
            lane.submit(row(3))
        await asyncio.sleep(0.02)
        gate.set()
        with pytest.raises(TooLate):
            await late
        return full.value, (await first), (await kept)
    full, _, kept = asyncio.run(go())
    assert (full.status, full.retry_after) == (503, 1) and kept.outputs[0].array[0, 0] == 2
    assert lane.statistics.all()["rejected"] == 1 and lane.statistics.all()["late"] == 1


def test_a_deadline_of_the_model(models):
    gate = threading.Event()
    models.add("m", handler=Slow(gate), settings=Settings(timeout_microseconds=20_000))
    lane = models.lane("m")[1]

    async def go():
        first = lane.submit(row(0))
        until(lambda: not lane.queue)
        late = lane.submit(row(1))
        await asyncio.sleep(0.05)
        gate.set()
        with pytest.raises(TooLate):
            await late
        return await first
    assert asyncio.run(go()).outputs[0].array[0, 0] == 0


def test_waiting_for_company(models):
    handler = Slow()
    models.add("m", handler=handler, settings=Settings(max_batch_size=3, max_queue_delay_microseconds=120_000_000))
    lane = models.lane("m")[1]
    lane.model._checked[row(0).signature] = 99

    async def go():
        start = time.monotonic()
        await asyncio.gather(*(lane.submit(row(k)) for k in range(3)))
        return time.monotonic() - start
    assert asyncio.run(go()) < 100 and handler.runs == [[0, 1, 2]]


def test_who_has_left_is_not_run(models):
    gate = threading.Event()
    handler = Slow(gate)
    models.add("m", handler=handler, settings=Settings(max_batch_size=1))
    lane = models.lane("m")[1]

    async def go():
        first = lane.submit(row(0))
        until(lambda: not lane.queue)
        lane.submit(row(1)).cancel()
        last = lane.submit(row(2))
        gate.set()
        await asyncio.gather(first, last)
    asyncio.run(go())
    assert handler.runs == [[0], [2]]


def test_one_that_fails_fails_alone(models):
    class Picky(Handler):
        def predict(self, inputs):
            if (inputs["x"] == 13).any():
                raise ValueError("not this number")
            return inputs["x"]
    models.add("m", handler=Picky())
    app = App(models)

    async def go():
        return await asyncio.gather(*(ask(app, "POST", "/v2/models/m/infer", {"inputs": [
            tensor("x", np.full((1, 1), k, "f"))]}) for k in (1, 13, 2)))
    found = asyncio.run(go())
    assert [a.status for a in found] == [200, 500, 200] and "not this number" in found[1].json["error"]


def test_exchange_under_load_loses_nothing(models):
    handlers = [Slow() for _ in range(6)]
    models.add("m", handler=handlers[0])
    app = App(models)
    found, stop = [], threading.Event()

    async def ask_on():
        while not stop.is_set():
            found.append((await ask(app, "POST", "/v2/models/m/infer", {"inputs": [
                tensor("x", np.ones((1, 1), "f"))]})).status)

    async def go():
        askers = [asyncio.create_task(ask_on()) for _ in range(8)]
        for handler in handlers[1:]:
            await asyncio.to_thread(models.add, "m", handler=handler)
            while len(handler.runs) < 3:
                await asyncio.sleep(0.002)
        stop.set()
        await asyncio.gather(*askers)
    asyncio.run(go())
    assert set(found) == {200} and len(found) > 50
    assert all(h.unloaded.wait(5) for h in handlers[:-1]) and not handlers[-1].unloaded.is_set()
    assert all(h.runs for h in handlers[1:])


def write(folder, name, version, source, **settings):
    home = folder / name
    (home / version).mkdir(parents=True, exist_ok=True)
    (home / "config.json").write_text(json.dumps({"source": source, **settings}))
    return home / version


def test_a_folder_of_models(tmp_path):
    net = Net()
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]
    for version in ("1", "2"):
        facula.save(net.state_dict(), str(write(tmp_path, "net", version, "w.pt+serving_client:Net",
                                                inputs=inputs) / "w.pt"))
        net[0].weight.data *= 2
    write(tmp_path, "broken", "1", "missing.pt+serving_client:Net")
    models = Repository(tmp_path)
    models.load_all()
    app = App(models, control=True)

    def say(method, path, body=b""):
        return asyncio.run(ask(app, method, path, body))
    x = {"inputs": [tensor("x", np.ones((1, 16), "f"))]}
    one, two, newest = (say("POST", f"/v2/models/net{v}/infer", x).json for v in ("/versions/1", "/versions/2", ""))
    assert one["model_version"] == "1" and newest == two and one["outputs"] != two["outputs"]
    assert say("GET", "/v2/health/ready").status == 503
    rows = {r["name"]: r["state"] for r in say("POST", "/v2/repository/index").json}
    assert rows == {"net": "READY", "broken": "UNAVAILABLE"}
    assert say("POST", "/v2/repository/models/broken/load").status == 400
    assert say("POST", "/v2/repository/models/broken/unload").status == 200
    assert say("GET", "/v2/health/ready").status == 200
    assert say("POST", "/v2/repository/models/net/unload").status == 200
    assert say("POST", "/v2/models/net/infer", x).status == 404
    assert say("POST", "/v2/repository/models/net/load", {"parameters": {}}).status == 200
    assert say("POST", "/v2/models/net/infer", x).json["outputs"] == two["outputs"]
    for name in ("..", "%2e%2e", "none", "a/b"):
        assert say("POST", f"/v2/repository/models/{name}/load").status == 404
    assert say("POST", "/v2/repository/models/net/load", {"parameters": {"file:1/w.pt": "x"}}).status == 400
    models.drain(5)


def test_sources_that_are_none(tmp_path):
    from facula.serving import ConfigError
    from facula.serving.sources import load
    for source, error in (("m.pt2", ConfigError), ("m.pt2+a:B", ConfigError), ("m.onnx", NotImplementedError),
                          ("m.pt", ConfigError),
                          ("nowhere:f", ConfigError), ("serving_client:Nothing", ConfigError),
                          ("../x.pt+serving_client:Net", ConfigError), ("serving_client", ConfigError)):
        with pytest.raises(error):
            load(source, Settings(), tmp_path)


@pytest.mark.parametrize("said", [
    [], {"sauce": ""}, {"max_batch_size": 0}, {"max_batch_size": True}, {"inputs": [{"name": "x"}]}, {"warm_up": 1},
    {"inputs": [{"name": "x", "datatype": "FP8", "shape": []}]}, {"arguments": []}, {"source": 3}])
def test_configurations_that_are_wrong(tmp_path, said):
    from facula.serving import ConfigError
    from facula.serving.settings import read_settings
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_settings(tmp_path)


def test_what_waits_is_answered_at_the_end():
    models, gate = Repository(), threading.Event()
    models.add("m", handler=Slow(gate))
    lane = models.lane("m")[1]

    async def go():
        waiting = [lane.submit(row(k)) for k in range(5)]
        drained = asyncio.create_task(asyncio.to_thread(models.drain, 10))
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(drained, *waiting)
    assert asyncio.run(go())[0] is True
    models.worker.join(5)
    assert not models.worker.is_alive()


def test_echo_is_never_ready_before_it_is_warm():
    models = Repository()
    started, gate = threading.Event(), threading.Event()

    class Cold(Echo):
        def load(self, settings):
            started.set()
            gate.wait(10)
    loading = threading.Thread(target=lambda: models.add("cold", handler=Cold()))
    loading.start()
    started.wait(10)
    app = App(models)
    assert asyncio.run(ask(app, "GET", "/v2/health/ready")).status == 503
    assert asyncio.run(ask(app, "GET", "/v2/models/cold/ready")).status == 503
    gate.set()
    loading.join()
    assert asyncio.run(ask(app, "GET", "/v2/health/ready")).status == 200
    models.drain(5)
