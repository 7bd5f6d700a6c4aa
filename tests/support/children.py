"""A program in a Python of its own, where nothing stands that other tests have made or had the engine remember."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"


def printed(program, *arguments, flags=(), timeout=300, **environment):
    """What the program prints, which has to end well; `environment`: variables beside those of this process."""
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, *flags, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True,
                          text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
