"""`facula doctor`: what machine this is to Facula, and whether its kernels are right here.

`facula.engine.runtime.cpu.doctor.report()` gives a list of sections, each
    {"title": str, "facts": [(name, value)], "checks": [(name, passed, detail)]}
and this file prints it; any check that did not pass makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Mapping
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
    try:
        from facula.engine.runtime.cpu import doctor as cpu
    except ImportError as error:
        advice = f"{error}; the NumPy interpreter computes instead, slowly: pip install llvmlite"
        return [{"title": "compiler", "facts": [], "checks": [("llvmlite", False, advice)]}]
    sections: Iterable[Section] = cpu.report()
    return sections


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
