"""`facula serve program.pt2`: a captured program from a file."""

from __future__ import annotations

import pytest

import facula
from facula.export import Dim, export, save
from facula.serving import ConfigError
from facula.serving.settings import Settings, Spec
from facula.serving.sources import load


class Net(facula.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = facula.nn.Linear(3, 2)

    def forward(self, x, *, scale):
        return self.linear(x) * scale


def test_a_program_is_served(tmp_path):
    module, rows = Net(), Dim("rows")
    program = export(module, (facula.ones(2, 3),), {"scale": facula.ones(2, 1)},
                     dynamic_shapes={"x": {0: rows}, "scale": {0: rows}})
    save(program, tmp_path / "m.pt2")
    handler = load("m.pt2", Settings(), tmp_path)
    x, scale = facula.randn(5, 3), facula.randn(5, 1)
    for inputs in ({"x": x, "scale": scale}, {"scale": scale, "x": x}, {"a": x, "b": scale}):
        with facula.no_grad():
            assert facula.equal(handler.predict(inputs)["output"], module(x, scale=scale))
    named = load(str(tmp_path / "m.pt2"), Settings(outputs=(Spec("y", "FP32", (-1, 2)),)))
    assert list(named.predict({"x": x, "scale": scale})) == ["y"]
    with pytest.raises(ConfigError, match="leads out"):
        load("../m.pt2", Settings(), tmp_path)


def test_files_that_are_none(tmp_path):
    (tmp_path / "m.pt2").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="not a zip file"):
        load("m.pt2", Settings(), tmp_path)

    class Lists(facula.nn.Module):
        def forward(self, xs):
            return xs[0]

    save(export(Lists(), ([facula.ones(2)],)), tmp_path / "lists.pt2")
    with pytest.raises(ConfigError, match="containers"):
        load("lists.pt2", Settings(), tmp_path)
