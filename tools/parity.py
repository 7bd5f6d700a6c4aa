"""`make parity`: compare Facula with PyTorch over PyTorch's own operator records, and fail on what is wrong.

    python tools/parity.py [--samples 20] [--jobs 2] [--ops REGEX] [--update]

Runs ../shared/parity/parity.py, which is not part of this project: where it is absent nothing is compared.
An operation that Facula lacks is counted as missing and is no failure. One that is implemented and gives
something else than PyTorch is, and so is doing worse than docs/parity-baseline.json, which records how many
operations passed in each sweep; `--update` writes it.
"""

import argparse
import importlib.util
import json
import os
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
    "ops float32": ["--suite", "ops", "--dtype", "float32", "--grad"],
    "random float32": ["--suite", "ops", "--dtype", "float32", "--ops", RANDOM, "--strict-random"],
}
WRONG = ("fail", "error", "nondeterministic", "no_raise", "wrong_type")


def sweep(name, options):
    """Run one sweep; its report."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / (name.replace(" ", "-") + ".json")
    report.unlink(missing_ok=True)
    command = [sys.executable, str(YARDSTICK), "--lib", "facula", "--path", str(ROOT / "src"), *SWEEPS[name],
               "--max-samples", str(options.samples), "--jobs", str(options.jobs), "--timeout", "60",
               "--json", str(report)]
    if options.ops:
        command += ["--ops", options.ops]
    env = dict(os.environ)
    env.setdefault("FACULA_CACHE_DIR", str(ROOT / "build" / "parity" / "objects"))
    # Each entry runs in a forked child, two at a time: more threads than cores would only make them wait.
    env.setdefault("FACULA_NUM_THREADS", "1")
    start = time.time()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    if not report.exists():
        raise SystemExit(f"{done.stdout}\n{name}: the comparison itself ended with status {done.returncode}")
    print(f"== {name}: {time.time() - start:.0f} s, full report in {report.relative_to(ROOT)}")
    return json.loads(report.read_text())["entries"]


def complaints(entry):
    """What is wrong with one operation, a line each; empty if it is right or absent."""
    if entry["status"] in ("crash", "timeout"):
        yield f"{entry['status']} (signal {entry.get('signal', 0)})"
    for section, tally in entry["sections"].items():
        for kind in WRONG:
            if kind in tally:
                first = tally.get("first_" + kind) or {}
                yield (f"{section}: {tally[kind]} of {tally['samples']} {kind}: "
                       f"{(first.get('error') or '')[:160]} | {first.get('sample')}")


def judge(name, entries):
    """Print the complaints of a sweep; {status: number of operations}."""
    counts = {"passed": 0, "wrong": 0, "partial": 0, "missing": 0, "skipped": 0}
    for label, entry in entries.items():
        found = list(complaints(entry))
        for line in found:
            print(f"{label} {line}")
        if found:
            counts["wrong"] += 1
        elif entry["status"] == "pass":
            counts["passed"] += 1
        else:  # "partial" without a complaint: some of its forms are missing
            counts[{"partial": "partial", "missing": "missing"}.get(entry["status"], "skipped")] += 1
    print(f"{name}: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20, help="of each operation, evenly spaced (0: all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--ops", help="only operations whose name matches; no baseline, no random sweep")
    parser.add_argument("--update", action="store_true", help="record the counts as the new baseline")
    options = parser.parse_args()
    if not YARDSTICK.exists():
        print(f"make parity: {YARDSTICK} is not here, so nothing was compared. It comes with the project's "
              "workplace, in shared/ beside this checkout.")
        return 0
    if importlib.util.find_spec("torch") is None:
        print("make parity: torch is not installed, so nothing was compared (pip install torch==2.13.0)")
        return 0
    chosen = [name for name, extra in SWEEPS.items() if not (options.ops and "--ops" in extra)]
    results = {name: judge(name, sweep(name, options)) for name in chosen}
    wrong = sum(counts["wrong"] for counts in results.values())
    worse = []
    if options.update:
        BASELINE.write_text(json.dumps(results, indent=1) + "\n")
    elif not options.ops:
        baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
        for name, counts in results.items():
            due = baseline.get(name, {}).get("passed", 0)
            if counts["passed"] < due:
                worse.append(f"{name}: {counts['passed']} operations pass, fewer than the {due} recorded")
            elif counts["passed"] > due:
                print(f"{name}: {counts['passed']} operations pass, {due} are recorded: run "
                      "`python tools/parity.py --update`")
    print("\n".join(worse))
    passed = sum(counts["passed"] + counts["partial"] for counts in results.values())
    absent = sum(counts["missing"] + counts["skipped"] for counts in results.values())
    print(f"{passed} passed, {wrong + len(worse)} failed, {absent} skipped")
    return int(wrong > 0 or bool(worse))


if __name__ == "__main__":
    sys.exit(main())
