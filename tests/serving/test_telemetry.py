"""Spans of OpenTelemetry, where it is installed, and what is said where it is not."""

import argparse
import asyncio
import sys

import numpy as np
import pytest

from facula.serving import App, ConfigError, Repository
from facula.serving.telemetry import Telemetry, exporting
from serving_client import ask, double, tensor

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def told():
    """(a Telemetry, the spans that have ended)."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    provider, spans = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Telemetry(provider.get_tracer("test")), spans.get_finished_spans


@pytest.fixture
def models():
    made = Repository()
    made.add("double", handler=double)
    yield made
    made.drain(5)


def test_a_span_for_each_request(told, models):
    telemetry, spans = told
    app, body = App(models, telemetry=telemetry), {"inputs": [tensor("x", np.ones((2, 2), "f"))]}
    asyncio.run(ask(app, "POST", "/v2/models/double/infer", body, {"traceparent": f"00-{TRACE}-{PARENT}-01",
                                                                   "x-request-id": "mine"}))
    asyncio.run(ask(app, "POST", "/v2/models/double/versions/1/infer", {"inputs": 3}))
    asyncio.run(ask(app, "GET", "/v2"))
    for path in ("/strangers/1", "/v2/models/double/strange"):
        asyncio.run(ask(app, "GET", path))
    first, second, third, *strange = spans()
    assert [one.name for one in strange] == ["HTTP", "HTTP"]
    assert [one.name for one in spans()[:3]] == ["POST /v2/models/{model}/infer",
                                             "POST /v2/models/{model}/versions/{version}/infer", "GET /v2"]
    assert format(first.context.trace_id, "032x") == TRACE and format(first.parent.span_id, "016x") == PARENT
    said = first.attributes
    assert said["facula.model"] == "double" and said["facula.request_id"] == "mine"
    assert said["http.response.status_code"] == 200 and said["facula.batch_rows"] == 2
    assert said["facula.queue_us"] >= 0 and said["facula.compute_us"] > 0
    assert second.attributes["http.response.status_code"] == 400 and second.attributes["error.type"] == "BadRequest"
    assert second.status.is_ok or second.status.status_code.name == "UNSET"  # it was the client
    assert third.parent is None


def test_a_fault_of_the_server_is_one_of_the_span(told, models):
    telemetry, spans = told

    def broken(x):
        raise ValueError("broken")
    models.add("broken", handler=broken)
    asyncio.run(ask(App(models, telemetry=telemetry), "POST", "/v2/models/broken/infer",
                    {"inputs": [tensor("x", np.ones((1, 2), "f"))]}))
    span, = spans()
    assert span.status.status_code.name == "ERROR" and span.attributes["error.type"] == "ValueError"


def test_calls_of_grpc(told, models):
    grpc = pytest.importorskip("grpc")
    from facula.serving.rpc.messages import message
    from facula.serving.rpc.server import start
    telemetry, spans = told
    app = App(models, telemetry=telemetry)

    def work(port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ModelReady",
                                      message("ModelReadyRequest").SerializeToString,
                                      message("ModelReadyResponse").FromString)
            ask(message("ModelReadyRequest")(name="double"), timeout=10,
                metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01")])
            with pytest.raises(grpc.RpcError):
                ask(message("ModelReadyRequest")(name="none"), timeout=10)

    async def go():
        server, port = await start(app, argparse.Namespace(host="127.0.0.1", grpc_port=0, fd=None, tls_cert=None))
        await asyncio.to_thread(work, port)
        await server.stop(1)
    asyncio.run(go())
    first, second = spans()
    assert first.name == "inference.GRPCInferenceService/ModelReady" and first.attributes["facula.model"] == "double"
    assert format(first.context.trace_id, "032x") == TRACE and first.attributes["rpc.grpc.status"] == "OK"
    assert second.attributes["rpc.grpc.status"] == "NOT_FOUND" and second.status.status_code.name == "UNSET"


def test_what_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for make in (Telemetry, exporting):
        with pytest.raises(ConfigError, match=r"opentelemetry: pip install 'facula\[telemetry\]'"):
            make()
