"""The mutants of tools/mutants.py fit the sources as they are: each breaks one place, and is told where it is not."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
_found = importlib.util.spec_from_file_location("mutants", ROOT / "tools/mutants.py")
mutants = importlib.util.module_from_spec(_found)
_found.loader.exec_module(mutants)


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_mutant_breaks_one_place(name):
    file = ROOT / "src/facula" / mutants.MUTANTS[name][0]
    assert mutants.broken(name, ROOT) != file.read_text()


def test_tests_of_mutants_are_there():
    assert mutants.paths_of(list(mutants.MUTANTS), ROOT)
