"""How a benchmark report is judged and printed."""

import os
import platform
import re
import subprocess
from pathlib import Path


def met(row, thread_counts):
    if row["limit"] is None:
        return None
    if row["like_with_like"]:
        return all(row[f"ratio {n} like with like"] <= row["limit"] for n in thread_counts)
    return row["ratio"] <= row["limit"]


def machine():
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = found[1].strip() if found else name
        if "amx_tile" in Path("/proc/cpuinfo").read_text():
            name += " with AMX"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ask = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(ask, capture_output=True, text=True)
    return {"cpu": name, "cores": cores, "python": platform.python_version(), "commit": commit.stdout.strip()}


def header(thread_counts, theirs):
    columns = [f"facula {n}t" for n in thread_counts]
    if theirs:
        columns += [f"torch {n}t" for n in thread_counts] + [f"ratio {n}t/best" for n in thread_counts]
        columns += [f"{n}t/{n}t" for n in thread_counts] + ["limit", ""]
    return f"| row | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}"


def line(name, row, thread_counts, theirs):
    cells = [span(row[f"facula {n}"]) for n in thread_counts]
    if theirs:
        cells += [span(row[f"torch {n}"]) for n in thread_counts]
        cells += [f"{row[f'ratio {n}']:.2f}" for n in thread_counts]
        cells += [f"{row[f'ratio {n} like with like']:.2f}" for n in thread_counts]
        cells += ["" if row["limit"] is None else str(row["limit"])]
        cells += [{True: "met", False: "MISSED", None: ""}[row["met"]]]
    return f"| {name} | {' | '.join(cells)} |"


def span(seconds):
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def markdown(report, thread_counts, theirs):
    """The whole report as a page."""
    about = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    text = [f"# Benchmarks of {report['date']}", "",
            f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, commit {about['commit']}; "
            f"{versions}. Medians of {report['rounds']} interleaved rounds.", "",
            "`ratio 1t/best`: Facula at one thread over PyTorch at its better setting; `1t/1t`: at equal "
            "threads. Below 1 Facula is faster."]
    rows = report["rows"]
    for group in dict.fromkeys(row["group"] for row in rows.values()):
        text += ["", f"## {group}", "", header(thread_counts, theirs)]
        for name, row in rows.items():
            if row["group"] == group:
                failed = f"| {name} | {row.get('error', '')[:150]} |"
                text.append(failed if "error" in row else line(name, row, thread_counts, theirs))
    sin, copy = rows.get("sin 10000x10000", {}), rows.get("copy 10000x10000", {})
    if "facula 1" in sin and "facula 1" in copy:
        best = [min(row[f"facula {n}"] for n in thread_counts) for row in (sin, copy)]
        ratio = best[0] / best[1]
        text += ["", f"Facula's sin of 10000x10000 takes {ratio:.2f} of the time of its copy (limit 1.1)."]
    if report["startup"]:
        text += ["", "## Start", "", "| in a fresh process | " + " | ".join(report["versions"]) + " |",
                 "|---|" + "---:|" * len(report["versions"])]
        for name, row in report["startup"].items():
            cells = [f"{span(v['seconds'])}, {v['memory'] / 1e6:.0f} MB" for v in row.values()]
            text.append(f"| {name} | {' | '.join(cells)} |")
        text += ["", "Memory: the peak of the process, Python and NumPy included."]
    return "\n".join(text) + "\n"
