"""Spans of OpenTelemetry: one for each request, in the trace that its client has begun (`traceparent`).

`facula serve --telemetry` sends them where OTEL_EXPORTER_OTLP_ENDPOINT says; in a program of one's own
`App(models, telemetry=Telemetry())` gives them to the provider that the program has set up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from facula.version import facula_version

from .requests import Request
from .settings import ConfigError

NEEDED = "telemetry needs the package {}: pip install 'facula[telemetry]'"
_MODEL = re.compile(r"(/v2/(?:repository/)?models|/v1/models)/([^/]+)(/versions/[^/]+)?(/[a-z]+)?/?")
_PAGES = ("", "/metrics", "/openapi.json", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v1/models",
          "/v1/completions", "/v1/chat/completions", "/v2/repository/index")
_OF_MODELS = (None, "/infer", "/ready", "/stats", "/config", "/load", "/unload")


class Telemetry:
    """What an App tells of its requests. `tracer`: OpenTelemetry's; by default that of the global provider.

    Raises ConfigError where OpenTelemetry is not installed.

    Example:
        >>> from facula.serving import App, ConfigError, Repository
        >>> from facula.serving.telemetry import Telemetry
        >>> try:
        ...     app = App(Repository(), telemetry=Telemetry())
        ... except ConfigError as error:
        ...     print(error)  # telemetry needs the package opentelemetry: pip install 'facula[telemetry]'
    """

    def __init__(self, tracer: Any = None) -> None:
        try:
            from opentelemetry import propagate, trace
        except ImportError:
            raise ConfigError(NEEDED.format("opentelemetry")) from None
        self._extract, self._trace = propagate.extract, trace
        self.tracer = tracer or trace.get_tracer("facula.serving", facula_version)

    def http(self, method: str, path: str, headers: Mapping[bytes, bytes], request_id: bytes) -> Any:
        """The span of a request by HTTP, begun. Its name has nothing of a stranger's: there are few names."""
        found, said = _MODEL.fullmatch(path), {"http.request.method": method, "url.path": path,
                                               "facula.request_id": request_id.decode()}
        if found and found[4] in _OF_MODELS:
            said["http.route"] = f"{found[1]}/{{model}}{'/versions/{version}' if found[3] else ''}{found[4] or ''}"
            said["facula.model"] = found[2]
        elif path.rstrip("/") in _PAGES:
            said["http.route"] = path
        name = f"{method} {said['http.route']}" if "http.route" in said else "HTTP"
        sent = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers.items()}
        return self._begun(name, sent, said)

    def grpc(self, call: str, metadata: Any, given: Any) -> Any:
        """The span of a call, begun."""
        sent = {key: value for key, value in metadata or () if isinstance(value, str)}
        span = self._begun(f"inference.GRPCInferenceService/{call}", sent, {
            "rpc.system": "grpc", "rpc.service": "inference.GRPCInferenceService", "rpc.method": call})
        name = getattr(given, "model_name", "") or getattr(given, "name", "")
        if name:
            span.set_attribute("facula.model", name)
        return span

    def _begun(self, name: str, carrier: Mapping[str, str], attributes: dict[str, Any]) -> Any:
        return self.tracer.start_span(name, context=self._extract(carrier), kind=self._trace.SpanKind.SERVER,
                                      attributes=attributes)

    def end(self, span: Any, status: int | str, error: BaseException | None, failed: bool) -> None:
        """`status` is HTTP's, or the name of gRPC's; `failed`: by the server's fault, not the client's."""
        span.set_attribute("http.response.status_code" if isinstance(status, int) else "rpc.grpc.status", status)
        if error is not None:
            span.set_attribute("error.type", type(error.__cause__ or error).__name__)
        if failed:
            span.set_status(self._trace.StatusCode.ERROR, str(error or ""))
        span.end()


def ran(span: Any, request: Request) -> None:
    """How long a request waited, how long its batch took, and how many rows that had."""
    if span is not None and request.ran is not None:
        waited, took, rows = request.ran
        span.set_attribute("facula.queue_us", round(1e6 * waited))
        span.set_attribute("facula.compute_us", round(1e6 * took))
        span.set_attribute("facula.batch_rows", rows)


def exporting() -> Telemetry:
    """With an exporter as OTEL_* variables say (OTLP over HTTP), unless the process has a provider already, as
    `opentelemetry-instrument` makes one. Raises ConfigError for what is not installed."""
    made = Telemetry()
    from opentelemetry import trace
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return made
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(NEEDED.format(error.name)) from None
    os.environ.setdefault("OTEL_SERVICE_NAME", "facula-serve")
    provider = TracerProvider()  # flushes at the end of the process
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return Telemetry()
