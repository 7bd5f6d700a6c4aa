"""`make parity`: compare Facula with PyTorch over PyTorch's own operator records, and fail on what got worse.

    python tools/parity.py [--samples 8] [--jobs 2] [--minutes 10] [--ops REGEX] [--strict] [--update]

Runs ../shared/parity/parity.py, which is not part of this project: where it is absent nothing is compared.
docs/parity-baseline.json lists the operations that passed; one of those that no longer does is a failure,
and so are fewer passes than recorded. An operation that Facula lacks is counted as missing. One that it has
and that gives something else than PyTorch is printed and counted; only --strict makes it a failure, until
there are none. Operations that the time did not suffice for are counted as not run. `--update` writes the
baseline.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
YARDSTICK = ROOT.parent / "shared" / "parity" / "parity.py"
BASELINE = ROOT / "docs" / "parity-baseline.json"
REPORTS = ROOT / "build" / "parity"
RANDOM = "bernoulli|normal.*|uniform|rand|randn|randint|rand_like|randn_like|randint_like"
# name of a sweep -> what it adds to the command line
SWEEPS = {
    "random float32": ["--suite", "ops", "--dtype", "float32", "--ops", RANDOM, "--strict-random"],
    "ops float32": ["--suite", "ops", "--dtype", "float32", "--grad"],
}
WRONG = ("fail", "error", "nondeterministic", "no_raise", "wrong_type")
# Where PyTorch is wrong and Facula is not (docs/differences.md): shown and counted, not a failure. Only the
# sections named; anything else about the operation still is.
RIGHT = {"ops/as_strided_scatter": ("grad",)}
CHUNK = 40  # operations a run of the yardstick: between two runs the clock is looked at


def yardstick(arguments, environment=None):
    return subprocess.run([sys.executable, str(YARDSTICK), *arguments], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def entries_of(name, pattern):
    """The operations of a sweep: [name]."""
    done = yardstick(["--list", *SWEEPS[name]])
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{name}: the yardstick cannot list its operations")
    names = [line.split(None, 1)[1].strip() for line in done.stdout.splitlines() if line.startswith("ops ")]
    return [n for n in dict.fromkeys(names) if not pattern or re.fullmatch(pattern, n)]


def run(name, operations, options, jobs, seconds):
    """Run some operations of a sweep: {name: its report}."""
    report = REPORTS / "part.json"
    report.unlink(missing_ok=True)
    listed = REPORTS / "part.txt"
    listed.write_text("".join(f"{operation}\n" for operation in operations))
    environment = dict(os.environ)
    environment.setdefault("FACULA_CACHE_DIR", str(REPORTS / "objects"))
    # Each entry runs in a forked child, two at a time: more threads than cores would only make them wait.
    environment.setdefault("FACULA_NUM_THREADS", "1")
    # A child that crashes says where: Python's stack, and what the C library found wrong with the heap.
    environment |= {"PYTHONFAULTHANDLER": "1", "LIBC_FATAL_STDERR_": "1"}
    arguments = [a for a in SWEEPS[name] if a not in ("--ops", RANDOM)]
    done = yardstick(["--lib", "facula", "--path", str(ROOT / "src"), *arguments, "--ops-file", str(listed),
                      "--max-samples", str(options.samples), "--jobs", str(jobs), "--timeout", str(seconds),
                      "--json", str(report)], environment)
    if not report.exists():
        raise SystemExit(f"{done.stdout}\n{name}: the comparison itself ended with status {done.returncode}")
    entries = json.loads(report.read_text())["entries"]
    if any(entry["status"] == "crash" for entry in entries.values()):
        print(done.stdout[-20_000:])
    return entries


def sweep(name, options, until):
    """Run a sweep until it is done or time is up: ({name: report}, number of operations not run)."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    names = entries_of(name, options.ops)
    entries, start, at = {}, time.monotonic(), 0
    while at < len(names) and time.monotonic() < until:
        entries |= run(name, names[at:at + CHUNK], options, options.jobs, 30)
        at += CHUNK
    (REPORTS / (name.replace(" ", "-") + ".json")).write_text(json.dumps(entries, indent=1))
    print(f"== {name}: {time.monotonic() - start:.0f} s")
    return entries, max(0, len(names) - at)


def complaints(label, entry):
    """What is wrong with one operation, a line each; empty if it is right or absent."""
    if entry["status"] in ("crash", "timeout"):
        yield f"{entry['status']} (signal {entry.get('signal', 0)})"
    for section, tally in entry["sections"].items():
        if section in RIGHT.get(label, ()):
            continue
        for kind in WRONG:
            if kind in tally:
                first = tally.get("first_" + kind) or {}
                yield (f"{section}: {tally[kind]} of {tally['samples']} {kind}: "
                       f"{(first.get('error') or '')[:160]} | {first.get('sample')}")


def judge(name, entries, not_run):
    """Print what is wrong in a sweep: {"passed": [operations], ...}."""
    found = {"passed": [], "wrong": [], "differs": [], "partial": [], "missing": [], "skipped": []}
    for label, entry in entries.items():
        lines = list(complaints(label, entry))
        for line in lines:
            print(f"{label} {line}")
        if lines:
            found["wrong"].append(label)
        elif entry["status"] == "pass":
            found["passed"].append(label)
        elif label in RIGHT:
            print(f"{label}: differs from PyTorch on purpose, in {', '.join(RIGHT[label])}")
            found["differs"].append(label)
        else:  # "partial" without a complaint: some of its forms are missing
            found[{"partial": "partial", "missing": "missing"}.get(entry["status"], "skipped")].append(label)
    print(f"{name}: " + ", ".join(f"{len(labels)} {status}" for status, labels in found.items())
          + (f", {not_run} not run: time is up" if not_run else ""))
    return found


def worse(name, found, entries, due, complete):
    """What got worse since the baseline, a line each."""
    passed = set(found["passed"])
    for label in due:
        if label in entries and label not in passed:
            yield f"{name}: {label} passed in the baseline and does not now ({entries[label]['status']})"
    if complete and len(passed) < len(due):
        yield f"{name}: {len(passed)} operations pass, fewer than the {len(due)} of the baseline"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=8, help="of each operation, evenly spaced (0: all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=10, help="start nothing more after this time")
    parser.add_argument("--ops", help="only operations whose whole name matches")
    parser.add_argument("--strict", action="store_true", help="a wrong operation is a failure")
    parser.add_argument("--update", action="store_true", help="record what passes as the new baseline")
    options = parser.parse_args()
    if not YARDSTICK.exists():
        print(f"make parity: {YARDSTICK} is not here, so nothing was compared. It comes with the project's "
              "workplace, in shared/ beside this checkout.")
        return 0
    if importlib.util.find_spec("torch") is None:
        print("make parity: torch is not installed, so nothing was compared (pip install torch==2.13.0)")
        return 0
    if options.update and options.ops:
        parser.error("--update records every operation: not with --ops")
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    until = time.monotonic() + 60 * options.minutes
    results, failures, absent = {}, [], 0
    for name in SWEEPS:
        entries, not_run = sweep(name, options, until)
        due = baseline.get(name, [])
        # One that passed may have been short of time beside another: it gets a longer chance alone.
        late = [n for n in due if n in entries and entries[n]["status"] == "timeout"][:5]
        if late:
            entries |= run(name, late, options, 1, 60)
        found = results[name] = judge(name, entries, not_run)
        absent += not_run + len(found["missing"]) + len(found["skipped"])
        failures += worse(name, found, entries, due, not (not_run or options.ops))
        if len(found["passed"]) > len(due) and not (options.ops or options.update):
            print(f"{name}: {len(found['passed'])} operations pass, {len(due)} are recorded: "
                  "run `python tools/parity.py --update`")
    if options.update:
        passing = {name: sorted(found["passed"]) for name, found in results.items()}
        BASELINE.write_text(json.dumps(passing, indent=1) + "\n")
        failures = []
    wrong = sum(len(found["wrong"]) for found in results.values())
    if wrong:
        print(f"{wrong} implemented operations still fail: the goal that none does is NOT reached yet")
    print("\n".join(failures))
    passed = sum(len(found["passed"]) + len(found["partial"]) for found in results.values())
    print(f"{passed} passed, {wrong} wrong, {len(failures)} worse than the baseline, "
          f"{absent} missing or not run")
    return int(bool(failures) or (options.strict and wrong > 0))


if __name__ == "__main__":
    sys.exit(main())
