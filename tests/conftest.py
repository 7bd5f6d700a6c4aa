"""What all tests share: where compiled objects go, which tests can run here, and the torch oracle.

torch is optional. A test that compares with it takes the fixture `oracle` (recorded.py), which has torch's answers
on record; or, if what it needs is torch itself, the fixture `torch`, and is skipped where torch is not installed.
"""

import contextlib
import gc
import importlib.util
import os
import sys
from pathlib import Path

import pytest

import recorded

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
    has_torch = recorded.torch_is_here()
    interpreted = os.environ.get("FACULA_BACKEND") == "interpreter" or importlib.util.find_spec("llvmlite") is None
    no_llvm = pytest.mark.skip(reason="needs the LLVM back end: llvmlite, and no FACULA_BACKEND=interpreter")
    no_torch = pytest.mark.skip(reason="compares with torch itself, which is not installed: make test-oracle")
    for item in items:
        if "torch" in item.fixturenames:
            item.add_marker(pytest.mark.torch)
        if {"oracle", "libraries"} & set(item.fixturenames) or item.get_closest_marker("torch"):
            item.add_marker(pytest.mark.oracle)
        if "compiled" in item.keywords and interpreted:
            item.add_marker(no_llvm)
        if item.get_closest_marker("torch") and not has_torch:
            item.add_marker(no_torch)


def pytest_sessionfinish():
    recorded.write_books()


@pytest.fixture(autouse=True)
def what_a_test_leaves_is_its_own():
    """A check of values that nobody has asked for would be raised in a later test."""
    yield
    engine = sys.modules.get("facula.engine.realize")
    if engine is not None and engine.session.waiting:
        with contextlib.suppress(Exception):
            engine.flush()


@pytest.fixture(autouse=True, scope="module")
def nothing_lies_elsewhere():
    """What an earlier test has left on another device, in a circle perhaps, has the engine go other ways."""
    engine = sys.modules.get("facula.engine.session")
    if engine is not None and not engine.session.plain:
        gc.collect()


@pytest.fixture
def heap_of_its_own():
    """For tests that collect garbage again and again: only what has been made since is looked at. A worker that has run
    thousands of tests holds millions of objects, and each collection of these takes a quarter of a second."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def torch():
    """Real PyTorch, for what it has to do itself: what it answers is asked by way of `oracle`."""
    found = recorded.torch_or_none()
    return found or pytest.skip("torch is not installed: make test-oracle installs it")


@pytest.fixture
def oracle(request):
    """PyTorch's answers, asked or on record: see recorded.py."""
    asked = recorded.Oracle(request.node.path.stem, request.node.name)
    yield asked
    asked.check()


@pytest.fixture(scope="session")
def facula():
    import facula
    return facula


@pytest.fixture(scope="session")
def libraries(facula):
    """Facula, and torch where it is installed: for what the test itself says of both."""
    torch = recorded.torch_or_none()
    return [facula] if torch is None else [facula, torch]


@pytest.fixture
def python_environment():
    """Environment for a test that starts another Python with `facula` importable."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), env.get("PYTHONPATH")]))
    return env
