"""A test that counts what is compiled begins with nothing that other tests have had the engine remember."""

from facula.engine.session import Session, session


def nothing_seen(monkeypatch):
    """Until the test ends no graph has been seen, nor a backward pass."""
    fresh = Session()
    monkeypatch.setattr(session, "seen", fresh.seen)
    monkeypatch.setattr(session, "plans", fresh.plans)
