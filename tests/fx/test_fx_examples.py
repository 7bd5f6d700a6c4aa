"""Every public name of fx has a docstring, and the examples in docstrings run."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import docstrings
import facula.fx

MODULES = sorted(m.name for m in pkgutil.walk_packages(facula.fx.__path__, "facula.fx."))


@pytest.mark.parametrize("names", [MODULES[k::4] for k in range(4)], ids=range(4))
def test_examples(names):
    for name in ("facula.fx", *names, "facula.nn.utils.fusion"):
        docstrings.check(importlib.import_module(name))
