"""What tools/generate.py writes from the operations is up to date."""

import subprocess
import sys
from pathlib import Path

import pytest

GENERATE = Path(__file__).resolve().parent.parent.parent / "tools" / "generate.py"


@pytest.mark.processes  # of its own: what other tests have defined is no part of the pages
def test_files_are_what_the_operations_say():
    done = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True, timeout=300)
    assert not done.returncode, "run python tools/generate.py: " + done.stdout + done.stderr
