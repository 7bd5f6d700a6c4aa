"""Groups in words, for FACULA_DEBUG=3."""

from __future__ import annotations

from facula.engine.compiler.groups import Group


def groups_text(groups: list[Group]) -> str:
    """What fuse.py decided: a line a group."""
    lines = [f"{len(groups)} groups"]
    for k, group in enumerate(groups):
        members = ", ".join(f"{n!r}{' (row)' if n in group.rows else ''}" for n in group.members)
        inlined = f"; inlined: {', '.join(map(repr, group.inlined))}" if group.inlined else ""
        where = "a step of its own" if group.single else f"loop over {_space(group.dims, group.reduced)}"
        lines.append(f"{k:3} {where}: {members}{inlined}")
    return "\n".join(lines)


def _space(dims: tuple[int, ...], reduced: tuple[bool, ...] | None) -> str:
    flags = reduced or (False,) * len(dims)
    return "x".join(f"{n}{'(reduced)' if r else ''}" for n, r in zip(dims, flags, strict=True)) or "one point"

