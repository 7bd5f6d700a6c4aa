"""`facula explain`: run a program, then say what was compiled for it and where the time went.

The engine keeps the log; this file asks for it and prints it.

    facula.engine.plan_log.start()      from here on plans are timed, kernel by kernel
    facula.engine.plan_log.told() -> list of records, one for each plan that ran, in order of first use:
        title    str           what the plan computes, in a line
        runs     int           how often it ran
        seconds  float         in all its runs, from request to end
        refused  [str]         what was not fused, and why (`PlanSpec.notes`)
        kernels  list of steps, every number for ONE run
            runs     int       how often it ran
            title    str       what it computes, with all that was fused into it (`Kernel.title`)
            notes    [str]     remarks on this step (`Step.notes`; a host step's reason)
            tiles    int       independent pieces of work; 1 runs on one thread, 0 on the host, in NumPy
            ns       float     mean time of a run
            bytes    int       read from and written to memory, at least
            flops    int
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from facula.cli.run import run_program
from facula.engine.targets import host

Record = Mapping[str, Any]


def explain(options: argparse.Namespace) -> int:
    """Run the program with the plan log on and print the log; returns the program's exit status."""
    if options.program.endswith(".json") and not options.module:
        return explain_file(options.program)
    from facula.engine import plan_log
    plan_log.start()
    status = 0
    try:
        status = run_program(options)
    except SystemExit as stop:  # a program that ends with sys.exit() is explained all the same
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    records = plan_log.told()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(records, file, indent=1)
    write_log(records, _limits(), sys.stdout, options.top)
    return status


def explain_file(name: str) -> int:
    """Compile and run a plan that FACULA_SAVE_PLANS has saved, beside the interpreter; 1 if they differ much."""
    from pathlib import Path

    import numpy as np

    from facula.engine import plan_file, plan_run
    from facula.errors import PlanFileError
    try:
        file = plan_file.load(Path(name))
        spec, found, times, seconds = plan_run.run(file)
        wanted = plan_run.interpreted(file, plan_run.inputs_for(file))
    except (OSError, PlanFileError) as error:
        print(f"facula explain: {name}: {error}", file=sys.stderr)
        return 2
    print(f"{len(file.nodes)} nodes, {len(file.leaves)} leaves, {len(file.outputs)} outputs; compiled in "
          f"{_time(seconds)}, ran in {_time(sum(times) * 1e-9)}\n{spec.describe()}")
    for k, ns in enumerate(times):
        print(f"{k:3} took {_time(ns * 1e-9)}")
    worst = 0
    for node, ours, theirs in zip(file.outputs, found, wanted, strict=True):
        same = np.allclose(ours, theirs, 1e-3, 1e-3, equal_nan=True)
        worst |= not same
        print(f"{node!r}: {'as' if same else 'NOT as'} the interpreter computes it")
    return int(worst)


def _limits() -> Mapping[str, float]:
    """The machine's measured {"bandwidth": bytes/s, "flops": 1/s}; empty where they cannot be measured."""
    speed = host.speed()
    if not speed:
        return {}
    return {"bandwidth": speed["copy_gbs"] * 1e9, "flops": speed["fma_gflops"] * 1e9}


def write_log(records: Iterable[Record], limits: Mapping[str, float], out: TextIO, top: int = 0) -> None:
    """Print plan records, costliest last so that a terminal shows them; `top` > 0 prints that many."""
    ranked = sorted(records, key=lambda r: r["seconds"])
    total = sum(r["seconds"] for r in ranked)
    print(f"\n{len(ranked)} plans, {sum(r['runs'] for r in ranked)} runs, {_time(total)} in plans", file=out)
    if limits:
        print(f"this machine: {_rate(limits['bandwidth'], 'B/s')} memory, "
              f"{_rate(limits['flops'], 'flop/s')} float32", file=out)
    for record in ranked[-top:] if top else ranked:
        share = record["seconds"] / total if total else 0.0
        print(f"\nplan: {record['title']}\n  {record['runs']} runs, {_time(record['seconds'])} "
              f"({share:.0%} of all), {_time(record['seconds'] / max(record['runs'], 1))} a run", file=out)
        for position, kernel in enumerate(record["kernels"]):
            _write_kernel(position, kernel, limits, out)
        for note in record["refused"]:
            print(f"  not fused: {note}", file=out)


def _write_kernel(position: int, kernel: Record, limits: Mapping[str, float], out: TextIO) -> None:
    seconds = kernel["ns"] * 1e-9
    tiles = kernel["tiles"]
    facts = [_time(seconds), f"{tiles} tile" + "s" * (tiles != 1) if tiles else "in NumPy"]
    for what, unit, limit in (("bytes", "B", "bandwidth"), ("flops", "flop", "flops")):
        amount = kernel[what]
        if amount:
            share = f", {amount / seconds / limits[limit]:.0%} of the machine's" if seconds and limits else ""
            speed = f" at {_rate(amount / seconds, unit + '/s')}" if seconds else ""
            facts.append(f"{_rate(amount, unit)}{speed}{share}")
    print(f"  {position}. {kernel['title']}: {'; '.join(facts)}", file=out)
    for note in kernel["notes"]:
        print(f"     {note}", file=out)


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _rate(amount: float, unit: str) -> str:
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= scale:
            return f"{amount / scale:.3g} {prefix}{unit}"
    return f"{amount:.3g} {unit}"
