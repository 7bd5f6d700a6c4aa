"""The protocol by gRPC: asked by grpcio itself, and by tritonclient where it is installed."""

import argparse
import asyncio
import importlib

import numpy as np
import pytest

from facula.serving import App, Handler, Repository, Settings, Spec
from facula.serving.elements import DTYPES
from serving_client import Echo, double

grpc = pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")


def serving(work, **options):
    """What `work(channel's port, app)` gives, of a server that runs meanwhile."""
    from facula.serving.rpc.server import start

    async def go():
        models = Repository()
        models.add("echo", handler=Echo())
        models.add("double", handler=double, settings=Settings(
            inputs=(Spec("x", "FP32", (-1, 2)),), outputs=(Spec("y", "FP32", (-1, 2)),)))
        app = App(models, **options)
        server, port = await start(app, argparse.Namespace(host="127.0.0.1", grpc_port=0, fd=None, tls_cert=None))
        try:
            return await asyncio.to_thread(work, port, app)
        finally:
            await server.stop(1)
            models.drain(5)
    return asyncio.run(go())


def triton(part):
    """Triton's own client, where it is installed with all that it needs (it says RuntimeError where not)."""
    try:
        return importlib.import_module(f"tritonclient.{part}")
    except (ImportError, RuntimeError) as error:
        pytest.skip(str(error))


def call(port, which, metadata=(), /, **fields):
    from facula.serving.rpc.messages import message
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(f"/inference.GRPCInferenceService/{which}",
                                  message(which + "Request").SerializeToString, message(which + "Response").FromString)
        return ask(message(which + "Request")(**fields), timeout=10, metadata=metadata)


def test_calls():
    def work(port, app):
        assert call(port, "ServerLive").live and call(port, "ServerReady").ready
        assert call(port, "ModelReady", name="echo").ready
        assert call(port, "ServerMetadata").name == "facula"
        found = call(port, "ModelMetadata", name="double")
        assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [("x", "FP32", [-1, 2])]
        assert {m.name for m in call(port, "RepositoryIndex").models} == {"echo", "double"}
        x = {"name": "x", "datatype": "FP32", "shape": [2, 2]}
        typed = call(port, "ModelInfer", model_name="double", id="a",
                     inputs=[{**x, "contents": {"fp32_contents": [1, 2, 3, 4]}}])
        raw = call(port, "ModelInfer", model_name="double", inputs=[x],
                   raw_input_contents=[np.arange(1, 5, dtype="<f4").tobytes()])
        assert typed.id == "a" and typed.raw_output_contents == raw.raw_output_contents
        assert np.frombuffer(raw.raw_output_contents[0], "<f4").tolist() == [2, 4, 6, 8]
    serving(work)


X = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
WRONG = [
    {}, {"inputs": [X]}, {"inputs": [X], "raw_input_contents": [b"123"]},
    {"inputs": [X], "raw_input_contents": [b"12345678"] * 2}, {"inputs": [{**X, "datatype": "FP9"}]},
    {"inputs": [{**X, "shape": [-1, 2]}], "raw_input_contents": [b"12345678"]},
    {"inputs": [{**X, "shape": [1 << 40, 1 << 40]}], "raw_input_contents": [b"12345678"]},
    {"inputs": [{**X, "contents": {"fp32_contents": [1]}}]}, {"inputs": [{**X, "contents": {"int_contents": [1, 2]}}]},
    {"inputs": [{**X, "name": "z", "contents": {"fp32_contents": [1, 2]}}]},
]


def test_what_is_refused():
    def work(port, app):
        for fields in WRONG:
            with pytest.raises(grpc.RpcError) as error:
                call(port, "ModelInfer", model_name="double", **fields)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, fields
        for name, fields, code in (
                ("ModelInfer", {"model_name": "none"}, "NOT_FOUND"), ("ModelReady", {"name": "none"}, "NOT_FOUND"),
                ("RepositoryModelLoad", {"model_name": "echo"}, "PERMISSION_DENIED")):
            if name == "ModelInfer":
                fields = {**fields, "inputs": [X], "raw_input_contents": [b"12345678"]}
            with pytest.raises(grpc.RpcError) as error:
                call(port, name, **fields)
            assert error.value.code().name == code
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:  # bytes that are no message
            ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.RpcError):
                ask(b"\xff" * 100, timeout=10)
        assert call(port, "ServerLive").live
    serving(work)


def test_a_token():
    def work(port, app):
        assert call(port, "ServerReady").ready
        with pytest.raises(grpc.RpcError) as error:
            call(port, "ModelReady", name="echo")
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert call(port, "ModelReady", [("authorization", "Bearer s")], name="echo").ready
    serving(work, token="s")


class Counting(Handler):
    def stream(self, inputs):
        for k in range(3):
            if (inputs["x"] < 0).any():
                raise ValueError("negative")
            yield {"y": inputs["x"] * k}


def test_a_stream():
    from facula.serving.rpc.messages import message

    def work(port, app):
        app.models.add("count", handler=Counting())

        def asked(value, model="count", **more):
            found = message("ModelInferRequest")(model_name=model, id="7", raw_input_contents=[
                np.full((1, 1), value, "<f4").tobytes()])
            found.inputs.add(name="x", datatype="FP32", shape=[1, 1])
            for key in more:
                found.parameters[key].bool_param = True
            return found
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer",
                                        message("ModelInferRequest").SerializeToString,
                                        message("ModelStreamInferResponse").FromString)
            sent = [asked(2), asked(-1), asked(1, "none"), asked(3, triton_enable_empty_final_response=True)]
            found = list(ask(iter(sent), timeout=10))
            with pytest.raises(grpc.RpcError) as error:
                app.token = b"s"
                list(ask(iter(sent), timeout=10))
            app.token = b""
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        values = [np.frombuffer(one.infer_response.raw_output_contents[0], "<f4").tolist() if
                  one.infer_response.outputs else one.error_message for one in found]
        assert values == [[0], [2], [4], "the model failed: ValueError: negative", "there is no model 'none'", [0], [3],
                          [6], ""]
        assert found[-1].infer_response.parameters["triton_final_response"].bool_param
        assert {one.infer_response.id for one in found} == {"7"}
        assert app.models.lane("count")[1].statistics.streaming == 0 == app.bodies.held
    serving(work)


def test_messages_are_tritons():
    from facula.serving.rpc import messages
    theirs = triton("grpc.service_pb2")
    for name, fields in messages.MESSAGES.items():
        if not fields:
            continue
        known = (theirs.DESCRIPTOR.message_types_by_name.get(name)
                 or theirs.DESCRIPTOR.message_types_by_name["ModelInferRequest"].nested_types_by_name.get(name)
                 or theirs.DESCRIPTOR.message_types_by_name["ModelInferResponse"].nested_types_by_name.get(name)
                 or theirs.DESCRIPTOR.message_types_by_name["ModelMetadataResponse"].nested_types_by_name.get(name)
                 or theirs.DESCRIPTOR.message_types_by_name["RepositoryIndexResponse"].nested_types_by_name.get(name))
        assert known is not None, name
        for field, (number, _) in fields.items():
            assert known.fields_by_name[field].number == number, (name, field)


def test_tritonclient():
    client = triton("grpc")

    def work(port, app):
        asking = client.InferenceServerClient(f"127.0.0.1:{port}")
        assert asking.is_server_live() and asking.is_server_ready() and asking.is_model_ready("echo")
        assert asking.get_model_metadata("double").inputs[0].name == "x"
        arrays = {name: np.zeros((1, 2), of) for name, of in DTYPES.items() if name not in ("BF16", "BYTES")}
        for name, array in {**arrays, "BYTES": np.array([[b"a", b""]], object)}.items():
            x = client.InferInput("x", list(array.shape), name)
            x.set_data_from_numpy(array)
            found = asking.infer("echo", [x], request_id="9")
            assert np.array_equal(found.as_numpy("x"), array) and found.get_response().id == "9"
        asking.close()
    serving(work)
