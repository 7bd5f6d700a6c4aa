"""Counts of what was served, and their text for Prometheus, under the names that Triton's dashboards know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from facula.undisturbed import reentrant_lock

_COUNTS = {
    "request_success": ("nv_inference_request_success", "Number of successful inference requests, all batch sizes"),
    "request_failure": ("nv_inference_request_failure", "Number of failed inference requests, all batch sizes"),
    "inferences": ("nv_inference_count", "Number of inferences performed (a request of n rows counts n)"),
    "executions": ("nv_inference_exec_count", "Number of model executions performed"),
    "request": ("nv_inference_request_duration_us", "Cumulative inference request duration in microseconds"),
    "queue": ("nv_inference_queue_duration_us", "Cumulative inference queuing duration in microseconds"),
    "compute_input": ("nv_inference_compute_input_duration_us", "Cumulative compute input duration in microseconds"),
    "compute_infer": ("nv_inference_compute_infer_duration_us", "Cumulative compute infer duration in microseconds"),
    "compute_output": ("nv_inference_compute_output_duration_us", "Cumulative compute output duration in microseconds"),
    "rejected": ("facula_inference_rejected", "Number of requests refused since the queue was full"),
    "streams": ("facula_inference_streams", "Number of requests that were answered reply by reply"),
    "stream_replies": ("facula_inference_stream_replies", "Number of replies of streams"),
    "late": ("facula_inference_late", "Number of requests whose deadline passed in the queue"),
}
_GAUGES = {
    "pending": ("nv_inference_pending_request_count",
                "Instantaneous number of pending requests awaiting execution per-model."),
    "streaming": ("facula_inference_streaming", "Number of streams that run"),
}
_DURATIONS = ("request", "queue", "compute_input", "compute_infer", "compute_output")


class Statistics:
    """The counts of one model's version; durations are in seconds. They stay when the version is loaded anew."""

    __slots__ = ("lock", "generation", "streaming", *_COUNTS)

    def __init__(self) -> None:
        self.lock = reentrant_lock()
        self.generation: Any = None  # generation.figures.Figures of a model that generates
        self.streaming = 0  # streams that run
        for name in _COUNTS:
            setattr(self, name, 0)

    def add(self, **more: float) -> None:
        with self.lock:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)

    def all(self) -> dict[str, float]:
        with self.lock:
            return {name: getattr(self, name) for name in _COUNTS}


def exposition(models: Iterable[tuple[str, str, Statistics, int]]) -> str:
    """Prometheus' text format of (name, version, counts, requests that wait)."""
    rows = [(f"{{{labels_of(name, version)}}}", counts.all(), {"pending": waiting, "streaming": counts.streaming})
            for name, version, counts, waiting in models]
    lines: list[str] = []
    for key, (name, text) in _COUNTS.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
        for labels, counts, _ in rows:
            value = round(counts[key] * 1e6) if key in _DURATIONS else int(counts[key])
            lines.append(f"{name}{labels} {value}")
    for key, (name, text) in _GAUGES.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge",
                  *(f"{name}{labels} {gauges[key]}" for labels, _, gauges in rows)]
    return "\n".join(lines) + "\n"


def labels_of(name: str, version: str) -> str:
    """As Prometheus' format has them, without braces."""
    return f'model="{_escaped(name)}",version="{_escaped(version)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
