"""Plans as they run, measured kernel by kernel: for `facula explain`, profiles, and FACULA_DEBUG=2."""

from __future__ import annotations

import time
from typing import Any

from facula import config
from facula.engine import debug
from facula.engine.runtime.buffer import Buffer

# Of plans that ran, by id; None: nobody wants them, and plans run the quick way.
records: dict[int, dict[str, Any]] | None = {} if config.DEBUG.value >= 2 else None
MOST_LOGGED = 4096  # plans of which there are records, the newest


def run(plan: Any, memory: list[Any], numbers: list[Any], results: list[Buffer]) -> None:
    """Run it, measured. There must be `records`."""
    assert records is not None
    start = time.perf_counter()
    times = plan.run_timed(memory, numbers, results)
    record = records.get(id(plan))
    if record is None:
        record = {"plan": plan, "runs": 0, "seconds": 0.0, "ns": [0] * len(times)}
        if len(records) >= MOST_LOGGED:
            del records[next(iter(records))]
        records[id(plan)] = record
    seconds = time.perf_counter() - start
    record["runs"] += 1
    record["seconds"] += seconds
    record["ns"] = [a + b for a, b in zip(record["ns"], times, strict=False)]
    if debug.wants(2):
        debug.plan_ran(plan.number, plan.spec.steps, times, seconds)


def start() -> None:
    """Measure every plan from now on, for `facula explain`."""
    global records
    records = {}


def exchange(others: dict[int, dict[str, Any]] | None) -> dict[int, dict[str, Any]] | None:
    """Put other records (None: plans are not measured) in the place of those that are kept; returns these."""
    global records
    before, records = records, others
    return before


def told() -> list[dict[str, Any]]:
    """What ran since `start`: a record per plan (of the newest MOST_LOGGED), as cli/explain.py describes."""
    found = []
    for entry in (records or {}).values():
        spec = entry["plan"].spec
        kernels = []
        for step, ns in zip(spec.steps, entry["ns"], strict=False):
            kernel = getattr(step, "kernel", None)
            kernels.append({
                "title": kernel.title or kernel.name if kernel else f"host: {step.op.name} ({step.reason})",
                "runs": entry["runs"], "notes": list(getattr(step, "notes", ())), "tiles": getattr(step, "tiles", 1),
                "ns": ns / max(entry["runs"], 1), "bytes": getattr(step, "bytes", 0),
                "flops": getattr(step, "flops", 0)})
        found.append({"title": f"{len(spec.steps)} steps, {spec.leaves} leaves, {spec.outputs} outputs",
                        "runs": entry["runs"], "seconds": entry["seconds"], "refused": list(spec.notes),
                        "kernels": kernels})
    return found
