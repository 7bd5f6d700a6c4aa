"""Facula and PyTorch side by side: `make bench`, `facula bench`, or python bench/run.py [--only REGEX].

Prints a table as it goes, and writes bench/results/latest.json and .md (with --only or --quick nothing,
unless --output says where).
Without PyTorch installed, only Facula's own times.
"""

import argparse
import importlib
import json
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import startup  # noqa: E402  (the path comes first)
import tables  # noqa: E402
import timing  # noqa: E402
from cases import CASES  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="REGEX", help="rows whose `group: name` has a match")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="3 rounds, nothing large, no fresh processes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--alone", action="store_true", help="time Facula only")
    parser.add_argument("--output", metavar="FILE", help="where to write (FILE.json, FILE.md)")
    options = parser.parse_args()
    libraries = {"facula": importlib.import_module("facula")}
    theirs = None if options.alone else peer(libraries)
    rounds = 3 if options.quick else options.rounds
    report = {"machine": tables.machine(), "versions": {n: str(m.__version__) for n, m in libraries.items()},
              "date": time.strftime("%Y-%m-%d %H:%M"), "rounds": rounds, "rows": {}, "startup": {}}
    print(tables.header(options.threads, theirs))
    for case in CASES:
        if not re.search(options.only, f"{case.group}: {case.name}"):
            continue
        if options.quick and case.group == "large":
            continue
        try:
            times = timing.time_case(case, libraries, options.threads, 5 if case.group == "large" else rounds)
        except Exception as error:  # one broken row must not hide the others
            report["rows"][case.name] = {"group": case.group, "error": f"{type(error).__name__}: {error}"}
            print(f"| {case.name} | {type(error).__name__}: {str(error)[:150]} |", flush=True)
            continue
        row = timing.summarise(times, "facula", theirs, options.threads)
        row.update(group=case.group, limit=case.limit, like_with_like=case.like_with_like)
        row["met"] = tables.met(row, options.threads) if theirs else None
        report["rows"][case.name] = row
        print(tables.line(case.name, row, options.threads, theirs), flush=True)
    if not options.only and not options.quick:
        report["startup"] = startup.measure(list(libraries))
    text = tables.markdown(report, options.threads, theirs)
    print(text[text.index("\n## Start"):] if report["startup"] else "")
    if options.output or not (options.only or options.quick):
        target = Path(options.output) if options.output else HERE / "results" / "latest"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
        target.with_suffix(".md").write_text(text)
        print(f"written: {target}.json, {target}.md")
    return 0


def peer(libraries):
    try:
        libraries["torch"] = importlib.import_module("torch")
    except ImportError:
        print("torch is not installed: Facula alone (pip install torch==2.13.0)")
        return None
    return "torch"


if __name__ == "__main__":
    sys.exit(main())
