"""Asks PyTorch what the tests need to know of it, and writes it down in tests/oracle/, for machines without torch.

    python tools/record_oracle.py [test_sweep_forward ...] [--only WORD]

Runs the tests that take the fixture `oracle`, in the named files or in all, with torch installed. Each file's
answers are written anew, whole (tests/support/recorded.py says how); with --only those of the tests whose names
pytest's -k takes for WORD, say a new operation's, and the others stay. A test that fails on the way may leave out what
it would have asked after that: the exit status is pytest's, and what it wrote then is to be recorded again.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(names, only=""):
    tests = ROOT / "tests"
    takes = re.compile(r"^def test_\w+\([^)]*\boracle\b", re.M)
    takers = sorted(path for path in tests.glob("**/test_*.py") if takes.search(path.read_text(encoding="utf-8")))
    files = [path for path in takers if not names or path.stem in {Path(name).stem for name in names}]
    if not files:
        sys.exit(f"none of {names} takes the fixture `oracle`")
    env = {**os.environ, "FACULA_ORACLE": "record"}
    env.pop("FACULA_TEST_NO_TORCH", None)
    if only:
        env["FACULA_ORACLE_ONLY"] = only
    status = subprocess.call([sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider",
                              "-m", "oracle and not torch", *(["-k", only] if only else []), *map(str, files)],
                             cwd=ROOT, env=env)
    for path in files:
        book = tests / "oracle" / f"{path.stem}.zip"
        print(f"{book.relative_to(ROOT)}: {book.stat().st_size:,} bytes" if book.exists() else f"{path.stem}: nothing")
    if not names and not only:
        known = {path.stem for path in files}
        for book in (tests / "oracle").glob("*.zip"):
            if book.stem not in known:
                print(f"{book.relative_to(ROOT)}: of a file that asks no more, removed")
                book.unlink()
    return status


if __name__ == "__main__":
    given = sys.argv[1:]
    word = given.index("--only") if "--only" in given else len(given)
    sys.exit(main(given[:word] + given[word + 2:], "".join(given[word + 1:word + 2])))
