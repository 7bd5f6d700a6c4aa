"""The device that sweeps and random programs run on, beside the cpu."""

import importlib
import os

import facula
from facula.testing.accelerator import pretend_accelerator


def announced():
    """A context manager that gives the device: the pretend accelerator, or FACULA_TEST_TARGET=module:function."""
    module, _, name = os.environ.get("FACULA_TEST_TARGET", "").partition(":")
    return getattr(importlib.import_module(module), name)() if module else pretend_accelerator()


class Placed:
    """Programs on the accelerator and on the cpu: library 0 is there, library 1 here."""

    place = "cpu"

    def both(self, name, step):
        def placed(k):
            with facula.device(self.place if k == 0 else "cpu"):
                return step(k)
        return super().both(name, placed)
