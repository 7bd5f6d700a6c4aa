"""Training in which every step meets other shapes: memory stays, numbers are PyTorch's. The short form of what
`tools/soak.py shapes` runs ten thousand steps of."""

import pytest

from changing_shapes import LOOPS, grown, resident
from facula.engine.session import session
from facula.engine.trace.kept import Kept

pytestmark = pytest.mark.compiled
SMALL = 1 << 21  # bytes of what is remembered: full after some tens of steps
MOST = 24 << 20  # and memory's growth after that; 10 to 35 MB a step were kept once


@pytest.mark.parametrize("name", LOOPS)
def test_memory_stays(name, monkeypatch):
    monkeypatch.setattr(session, "seen", Kept(SMALL, 8))
    held = []

    def read():
        held.append(session.seen.held)
        return resident()

    sizes, looked = grown(LOOPS[name](3), 60, 40, read)
    assert max(held) < 4 * SMALL
    assert max(sizes) - sizes[0] < MOST, [size >> 20 for size in sizes]
    assert all(loss == loss and all(g.size for g in gradients) for _, _, loss, gradients in looked)


@pytest.mark.parametrize("name", LOOPS)
def test_numbers_are_torchs(name, torch):
    loop = LOOPS[name](5)
    for _ in range(2):
        assert loop.disagreement(torch, loop.step(look=True)) < 1e-4
