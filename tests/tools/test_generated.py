"""What tools/generate.py writes from the operations is up to date."""

import importlib.util
from pathlib import Path

GENERATE = Path(__file__).resolve().parent.parent.parent / "tools" / "generate.py"


def test_files_are_what_the_operations_say():
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert not [str(path) for path in generate.stale()], "run python tools/generate.py"
