"""Ordinary PyTorch programs, unmodified: what they print is what PyTorch printed.

tests/programs/expected.json is made by `python tests/compat/test_programs.py`, which runs them with PyTorch.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
EXPECTED = PROGRAMS / "expected.json"
NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?\d+\.\d*(?:e[-+]?\d+)?")
# A loss printed to four digits may end in another digit: sums are taken in another order than PyTorch's.
TOLERANCE = {"absolute": 2e-4, "relative": 1e-3}

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def test_every_program_is_recorded():
    assert {path.stem for path in PROGRAMS.glob("*.py")} == json.loads(EXPECTED.read_text()).keys()


@pytest.mark.parametrize("name", sorted(json.loads(EXPECTED.read_text())) if EXPECTED.exists() else [])
def test_prints_what_torch_printed(name, python_environment):
    command = [sys.executable, "-m", "facula", "run", str(PROGRAMS / f"{name}.py")]
    done = subprocess.run(command, env=python_environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = json.loads(EXPECTED.read_text())[name]
    assert NUMBER.sub("#", done.stdout) == NUMBER.sub("#", expected)
    got = [float(x) for x in NUMBER.findall(done.stdout)]
    assert got == [pytest.approx(float(x), abs=TOLERANCE["absolute"], rel=TOLERANCE["relative"])
                   for x in NUMBER.findall(expected)]
    assert "Warning" not in done.stderr


def record():
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    printed = {}
    for path in sorted(PROGRAMS.glob("*.py")):
        done = subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{path.name} fails with PyTorch:\n{done.stderr}"
        printed[path.stem] = done.stdout
    EXPECTED.write_text(json.dumps(printed, indent=1) + "\n")


if __name__ == "__main__":
    record()
