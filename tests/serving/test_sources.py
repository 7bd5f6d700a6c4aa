"""What may stand after `facula serve`: names of inputs, what a program's file says of itself, what is wrong with it."""

import asyncio
import os
import subprocess
import sys

import numpy as np
import pytest

import facula
from facula import config
from facula.export import Dim, export, save
from facula.serving import App, ConfigError, Handler, Repository, Settings, Spec
from facula.serving.command import name_of
from facula.serving.faults import BadRequest
from facula.serving.listening import CannotListen, listen
from facula.serving.sources import load
from serving_client import Net, ask, tensor


def less(a, b):
    return a - b


def optional(x, scale=2):
    return x * scale


@pytest.fixture
def models():
    made = Repository()
    yield made
    made.drain(5)


def infer(models, name, **inputs):
    sent = {"inputs": [tensor(key, np.array(value, "f")) for key, value in inputs.items()]}
    return asyncio.run(ask(App(models), "POST", f"/v2/models/{name}/infer", sent))


def test_inputs_go_in_by_their_names(models):
    models.add("less", handler=less)
    models.add("declared", handler=less, settings=Settings(inputs=(Spec("b", "FP32", (-1,)), Spec("a", "FP32", (-1,)))))
    models.add("others", handler=less, settings=Settings(inputs=(Spec("y", "FP32", (-1,)), Spec("x", "FP32", (-1,)))))
    for name in ("less", "declared"):
        assert infer(models, name, b=[1], a=[5]).json["outputs"][0]["data"] == [4]
    assert infer(models, "others", x=[1], y=[5]).json["outputs"][0]["data"] == [4]  # in the declared order
    assert infer(models, "less", u=[5], v=[1]).json["outputs"][0]["data"] == [4]


def test_inputs_that_are_missing_are_the_clients_fault(models):
    models.add("less", handler=less)
    found = infer(models, "less", b=[1])
    assert found.status == 400 and found.json["error"] == "inputs are b; a, b are expected: 'a' is missing"
    assert infer(models, "less", x=[1], y=[1], z=[1]).status == 400
    models.add("optional", handler=optional)
    assert infer(models, "optional", x=[1]).json["outputs"][0]["data"] == [2]
    assert infer(models, "optional", scale=[3], x=[1]).json["outputs"][0]["data"] == [3]
    assert infer(models, "optional", scale=[3]).status == 400


def test_one_wrong_request_of_a_batch_does_not_end_batching(models):
    """BadRequest is about one of them; only what the model gave may say that rows depend on each other."""
    class Picky(Handler):
        def predict(self, inputs):
            if (inputs["x"] < 0).any():
                raise BadRequest("negative")
            return inputs["x"]
    models.add("picky", handler=Picky(), settings=Settings(max_queue_delay_microseconds=100_000, max_batch_size=3))

    async def several():
        app = App(models)
        return await asyncio.gather(*[ask(app, "POST", "/v2/models/picky/infer", {
            "inputs": [tensor("x", np.array([[value]], "f"))]}) for value in (1, -1, 2)])
    assert [one.status for one in asyncio.run(several())] == [200, 400, 200]
    assert not models.lane("picky")[1].model.alone


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Programs: of any number of rows, of four, of at most four, with another open size."""
    folder, net = tmp_path_factory.mktemp("programs"), Net()
    x = facula.ones(4, 16)
    save(export(net, (x,), dynamic_shapes=({0: Dim("n")},)), folder / "any.pt2")
    save(export(net, (x,)), folder / "four.pt2")
    save(export(net, (x,), dynamic_shapes=({0: Dim("n", max=4)},)), folder / "few.pt2")

    class Sum(facula.nn.Module):
        def forward(self, words, mask):
            return (words * mask).sum(1), words[:, 0].to(facula.int64)
    n, m = Dim("n"), Dim("m", min=3)
    save(export(Sum(), (x, facula.ones(4, 16)), dynamic_shapes=({0: n, 1: m}, {0: n, 1: m})), folder / "sum.pt2")
    return folder


def test_a_program_says_what_it_takes(models, files):
    models.add("any", str(files / "any.pt2"))
    app = App(models)
    said = asyncio.run(ask(app, "GET", "/v2/models/any")).json
    assert said["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 16]}]
    assert said["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, 10]}]
    model = models.lane("any")[1].model
    assert model._checked or model.alone  # it was warmed up, and compared
    if config.BACKEND.value != "interpreter":  # NumPy's products of two rows may have other bits than those of one
        assert not model.alone
    found = infer(models, "any", input=np.ones((2, 15)))
    assert found.status == 400 and found.json["error"] == "input 'input' has shape [2, 15], [-1, 16] is expected"


def test_a_program_of_so_many_rows_is_run_with_them_alone(models, files):
    models.add("four", str(files / "four.pt2"))
    models.add("few", str(files / "few.pt2"))
    assert not models.lane("four")[1].model.batches and models.lane("few")[1].model.settings.max_batch_size == 4
    assert infer(models, "four", input=np.ones((4, 16))).status == 200
    assert infer(models, "four", input=np.ones((2, 16))).status == 400
    assert infer(models, "few", input=np.ones((3, 16))).status == 200
    assert infer(models, "few", input=np.ones((5, 16))).status == 400


def test_a_program_of_other_open_sizes(models, files):
    """Its sizes cannot be made up, so it is not warmed up; what it does not hold for is the client's fault."""
    models.add("sum", str(files / "sum.pt2"))
    settings = models.lane("sum")[1].model.settings
    assert not settings.warm_up and [s.datatype for s in settings.outputs] == ["FP32", "INT64"]
    assert infer(models, "sum", words=np.ones((2, 5)), mask=np.ones((2, 5))).json["outputs"][0]["data"] == [5, 5]
    for words, mask in (((2, 5), (2, 6)), ((2, 2), (2, 2))):
        found = infer(models, "sum", words=np.ones(words), mask=np.ones(mask))
        assert found.status == 400 and "Guard failed" in found.json["error"]


def test_a_handler_may_declare_its_inputs(models):
    class Declared(Handler):
        inputs, outputs = (Spec("x", "FP32", (-1, 2)),), (Spec("y", "FP32", (-1, 2)),)
        seen: list = []

        def predict(self, inputs):
            self.seen.append(len(inputs["x"]))
            return {"y": inputs["x"]}
    models.add("declared", handler=Declared())
    assert Declared.seen  # warmed up
    assert infer(models, "declared", x=np.ones((1, 3))).status == 400


def test_names_of_models():
    assert [name_of(one) for one in ("a/digits.pt2", "w.pt+m:Net", "m:a.B", "mod:f")] == ["digits", "w", "a.B", "f"]


@pytest.mark.parametrize("source, words", [
    ("whole.pt+serving_client:Net", "state_dict"), ("digits.py", "serve digits:NAME"), ("nowhere/", "no such folder")])
def test_what_is_wrong_is_said(tmp_path, source, words):
    facula.save(Net(), tmp_path / "whole.pt")
    with pytest.raises(ConfigError, match=words):
        load(source, Settings(), tmp_path)


def test_where_nobody_can_listen():
    taken = listen("127.0.0.1", 0)
    try:
        with pytest.raises(CannotListen, match="--port"):
            listen("127.0.0.1", taken.getsockname()[1])
    finally:
        taken.close()
    with pytest.raises(CannotListen, match="--host"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize("arguments, words", [
    (["--tls-cert", "none.pem", "--tls-key", "none.pem"], "No such file"), (["--input", "x:FP32"], "NAME:TYPE:SHAPE"),
    (["--argument", "width"], "NAME=VALUE"), (["--port", "99999999"], "cannot listen")])
@pytest.mark.processes
def test_options_that_are_wrong(tmp_path, arguments, words):
    pytest.importorskip("uvicorn")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-m", "facula", "serve", "x:y", "--port", "0", *arguments], text=True,
                           capture_output=True, cwd=tmp_path, timeout=60, env=env)
    assert found.returncode in (1, 2) and words in found.stderr and "Traceback" not in found.stderr
