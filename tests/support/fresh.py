"""A test that counts what is compiled begins with nothing that other tests have had the engine remember."""

from facula.engine.pieces import Novelty, novelty
from facula.engine.session import Session, session
from facula.engine.targets import template
from facula.engine.trace import structure
from facula.engine.trace.arranged import Arranged, arranged
from facula.engine.trace.kept import Kept
from facula.engine.trace.replay import captures


def nothing_seen(monkeypatch):
    """Until the test ends no graph has been seen, nor a backward pass; nothing is known of structures, and how new what
    has come so far was."""
    fresh, new = Session(), Novelty()
    monkeypatch.setattr(session, "seen", fresh.seen)
    monkeypatch.setattr(session, "plans", fresh.plans)
    monkeypatch.setattr(session, "alike", fresh.alike)
    for name in ("seen", "operations", "streak"):
        monkeypatch.setattr(novelty, name, getattr(new, name))
    monkeypatch.setattr(captures, "unused", 0)
    monkeypatch.setattr(captures, "new", 0.0)
    first = Arranged()
    for name in Arranged.__slots__:
        monkeypatch.setattr(arranged, name, getattr(first, name))
    monkeypatch.setattr(template, "known", Kept(template.known.most, template.known.few))
    monkeypatch.setattr(structure, "credits", {})
