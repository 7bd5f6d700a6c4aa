"""Random programs as lines of Python over a library `lib`: written for PyTorch, run on whatever has its API.

A program is drawn line by line while PyTorch runs it, so that shapes are known (`write`); the same lines are run on
Facula (`run`), and what was observed is compared (`difference`). A program that disagrees is made shorter by leaving
lines out (`shorter`), and is printed as it stands: it can be pasted into a test.
"""

from written_programs.comparing import difference, shorter
from written_programs.running import Run, run
from written_programs.writing import write

__all__ = ["Run", "difference", "run", "shorter", "write"]
