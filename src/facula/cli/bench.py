"""`facula bench`: the benchmark program of the checkout that Facula runs from."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import facula


def bench(options: argparse.Namespace) -> int:
    """Run bench/run.py in a Python of its own: it imports real PyTorch beside Facula."""
    program = Path(facula.__file__).resolve().parent.parent.parent / "bench" / "run.py"
    if not program.exists():
        print(f"facula bench: no {program}: benchmarks come with a checkout of the project, not with the "
              "wheel. There, `make bench` also installs the peers.", file=sys.stderr)
        return 2
    return subprocess.call([sys.executable, str(program), *options.rest])
