"""What there is to count of generation, and its text for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from facula.undisturbed import reentrant_lock

_COUNTERS = {
    "prompt_tokens": ("facula_generation_prompt_tokens", "Tokens of prompts that were read"),
    "prompt_tokens_reused": ("facula_generation_prompt_tokens_reused", "Tokens that were in the cache already"),
    "tokens": ("facula_generation_tokens", "Tokens that were generated"),
    "choices": ("facula_generation_choices", "Texts that were begun: n, or best_of, of each prompt"),
    "discarded": ("facula_generation_choices_discarded", "Texts that best_of has not shown"),
    "adjusted_tokens": ("facula_generation_tokens_adjusted", "Tokens that were chosen with penalties or biases"),
    "tool_calls": ("facula_generation_tool_calls", "Calls of tools that were read in texts"),
    "preempted": ("facula_generation_preempted", "Sequences that were put aside as the cache was full"),
    "cancelled": ("facula_generation_cancelled", "Requests whose client has left"),
}
_GAUGES = {
    "waiting": ("facula_generation_waiting", "Sequences that wait"),
    "running": ("facula_generation_running", "Sequences that run"),
    "cache_bytes": ("facula_generation_cache_bytes", "Bytes of the key-value cache"),
    "cache_blocks": ("facula_generation_cache_blocks", "Blocks of the key-value cache"),
    "cache_blocks_free": ("facula_generation_cache_blocks_free", "Blocks of the key-value cache that nobody has"),
}
_TIMES = {
    "first_token": ("facula_generation_time_to_first_token_seconds", "From a request's arrival to its first token"),
    "between_tokens": ("facula_generation_time_per_output_token_seconds", "Of a request, after its first token"),
    "queued": ("facula_generation_queue_seconds", "From a request's arrival to its first step"),
}
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Figures:
    """The counts of one model's version. Any thread may add, and read."""

    def __init__(self) -> None:
        self._lock = reentrant_lock()
        self.counts = dict.fromkeys(_COUNTERS, 0)
        self.times = {name: [0.0, 0, *([0] * len(BOUNDS))] for name in _TIMES}  # sum, count, of each bound

    def add(self, **more: int) -> None:
        with self._lock:
            for name, value in more.items():
                self.counts[name] += value

    def took(self, name: str, seconds: float) -> None:
        with self._lock:
            row = self.times[name]
            row[0] += seconds
            row[1] += 1
            for k, bound in enumerate(BOUNDS):
                if seconds <= bound:
                    row[2 + k] += 1

    def read(self) -> tuple[dict[str, int], dict[str, list[float]]]:
        with self._lock:
            return dict(self.counts), {name: list(row) for name, row in self.times.items()}


def exposition(models: Iterable[tuple[str, Figures, dict[str, int]]]) -> str:
    """Prometheus' text of (labels, counts, gauges); "" if there are none."""
    rows = [(labels, *figures.read(), gauges) for labels, figures, gauges in models]
    if not rows:
        return ""
    lines: list[str] = []
    for kind, names in (("counter", _COUNTERS), ("gauge", _GAUGES)):
        for key, (name, text) in names.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{{{labels}}} {counts[key] if kind == 'counter' else gauges[key]}"
                      for labels, counts, _, gauges in rows]
    for key, (name, text) in _TIMES.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
        for labels, _, times, _ in rows:
            total, count, *below = times[key]
            lines += [f'{name}_bucket{{{labels},le="{bound}"}} {n}' for bound, n in zip(BOUNDS, below, strict=True)]
            lines += [f'{name}_bucket{{{labels},le="+Inf"}} {count}', f"{name}_sum{{{labels}}} {total}",
                      f"{name}_count{{{labels}}} {count}"]
    return "\n".join(lines) + "\n"
