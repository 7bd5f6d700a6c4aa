"""What all tests share: where compiled objects go, which tests can run here, and the torch oracle.

torch is optional: a test that compares with it takes the `torch` fixture, or calls
`pytest.importorskip("torch")` at the top of its file, and is skipped where torch is not installed.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Tests never touch the user's object cache. One folder serves all workers of pytest-xdist (they inherit
# this environment) and the next run: entries are keyed by IR, CPU and LLVM version, so none can be stale.
os.environ.setdefault("FACULA_CACHE_DIR", str(ROOT / ".pytest_cache" / "facula-objects"))
os.environ.setdefault("FACULA_VERIFY", "1")  # every plan of every test is checked between the passes


class _NoTorch:
    """Refuses torch as Python does where it is not installed, also `importorskip`."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


# To see here what a machine without torch sees.
if os.environ.get("FACULA_TEST_NO_TORCH") == "1":
    sys.meta_path.insert(0, _NoTorch())


def pytest_collection_modifyitems(config, items):
    if os.environ.get("FACULA_BACKEND") != "interpreter":
        return
    skip = pytest.mark.skip(reason="needs the LLVM back end, and FACULA_BACKEND=interpreter")
    for item in items:
        if "compiled" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def torch():
    """Real PyTorch, the oracle."""
    return pytest.importorskip("torch", reason="torch, the oracle, is not installed (make test installs it)")


@pytest.fixture(scope="session")
def facula():
    import facula
    return facula


@pytest.fixture
def python_environment():
    """Environment for a test that starts another Python with `facula` importable."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), env.get("PYTHONPATH")]))
    return env
