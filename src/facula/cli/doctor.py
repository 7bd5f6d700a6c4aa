"""`facula doctor`: what machine this is to Facula, and whether its kernels are right here.

The report is a list of sections, each
    {"title": str, "facts": [(name, value)], "checks": [(name, passed, detail)]}
made of `facula.engine.targets.host.report()` and of kernels that run here and are compared with
NumPy; any check that did not pass makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TextIO

Section = Mapping[str, Any]


def doctor(options: argparse.Namespace) -> int:
    """Print the report; 1 if a check failed."""
    sections = [_installation(), *_engine()]
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(sections, file, indent=1, default=str)
    return write_report(sections, sys.stdout)


def _engine() -> Iterable[Section]:
    from facula.engine.targets import host
    try:
        report = host.report()
    except ImportError as error:
        advice = f"{error}; the NumPy interpreter computes instead, slowly: pip install llvmlite"
        return [{"title": "compiler", "facts": [], "checks": [("llvmlite", False, advice)]}]
    sections = [{"title": title, "facts": list(facts.items()), "checks": []}
                for title, facts in report.items() if isinstance(facts, dict)]
    return [*sections, {"title": "kernels", "facts": [], "checks": list(_kernels())}]


def _kernels() -> Iterator[tuple[str, bool, str]]:
    """(name, passed, detail) of compiled kernels against NumPy: one of each kind."""
    import numpy as np

    import facula

    rng = np.random.default_rng(0)
    x = rng.standard_normal((67, 130)).astype(np.float32)
    y = rng.standard_normal((130, 45)).astype(np.float32)
    cases: list[tuple[str, Callable[[Any, Any], Any], Any]] = [
        ("exp", lambda a, b: a.exp(), np.exp(x)), ("sin", lambda a, b: a.sin(), np.sin(x)),
        ("round", lambda a, b: a.round(), np.rint(x)), ("sum", lambda a, b: a.sum(0), x.sum(0, np.float64)),
        ("amax", lambda a, b: a.amax(1), x.max(1)),
        ("cumsum", lambda a, b: a.cumsum(1), x.cumsum(1, np.float64)),
        ("matmul", lambda a, b: a @ b, x.astype(np.float64) @ y)]
    for name, of, want in cases:
        try:
            got = of(facula.tensor(x), facula.tensor(y)).numpy()
        except Exception as error:  # the doctor reports what is ill, whatever it is
            yield name, False, f"{type(error).__name__}: {error}"
        else:
            far = float(np.max(np.abs(got - want)))
            yield name, far < 1e-4, "" if far < 1e-4 else f"differs from NumPy by {far:g}"


def _installation() -> Section:
    import numpy

    from facula.version import __version__, facula_version
    try:
        from importlib.metadata import version
        llvmlite = version("llvmlite")
    except ImportError:
        llvmlite = "absent"
    return {"title": "installation", "checks": [], "facts": [
        ("facula", f"{facula_version} (PyTorch API {__version__})"),
        ("python", f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"),
        ("numpy", numpy.__version__), ("llvmlite", llvmlite), ("system", platform.platform())]}


def write_report(sections: Iterable[Section], out: TextIO) -> int:
    """Print sections; the exit status: 0 if every check passed."""
    failed = checked = 0
    for section in sections:
        print(section["title"], file=out)
        width = max((len(name) for name, *_ in [*section["facts"], *section["checks"]]), default=0)
        for name, value in section["facts"]:
            print(f"  {name:<{width}}  {value}", file=out)
        for name, passed, detail in section["checks"]:
            checked += 1
            failed += not passed
            print(f"  {name:<{width}}  {'ok' if passed else 'FAILED'}{': ' * bool(detail)}{detail}", file=out)
    print(f"{checked - failed} checks passed, {failed} failed", file=out)
    return int(failed > 0)
