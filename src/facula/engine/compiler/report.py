"""Groups and loop nests in words, for FACULA_DEBUG=3."""

from __future__ import annotations

from facula.engine.compiler.affine import Affine
from facula.engine.compiler.groups import Group
from facula.engine.compiler.loops import Nest, postorder
from facula.engine.compiler.values import Val


def groups_text(groups: list[Group]) -> str:
    """What fuse.py decided: a line a group."""
    lines = [f"{len(groups)} groups"]
    for k, group in enumerate(groups):
        members = ", ".join(f"{n!r}{' (row)' if n in group.rows else ''}" for n in group.members)
        inlined = f"; inlined: {', '.join(map(repr, group.inlined))}" if group.inlined else ""
        where = "a step of its own" if group.single else f"loop over {_space(group.dims, group.reduced)}"
        lines.append(f"{k:3} {where}: {members}{inlined}")
    return "\n".join(lines)


def nest_text(nest: Nest, title: str) -> str:
    """The nest as a program: its loops, a line a value, its stores."""
    vectors = f"vectors of {nest.lanes} along the {'last dimension' if nest.columns else 'reduced ones'}"
    chunk = f", reduced in chunks of {nest.chunk}" if nest.chunk else ""
    lines = [f"loops of [{title}]: over {_space(nest.sizes, nest.reduced)}, {vectors}{chunk}"]
    names: dict[Val, str] = {}
    for v in postorder([s.value for s in nest.stores]):
        names[v] = f"v{len(names)}"
        reads = ", ".join(names[a] for a in v.args)
        lines.append(f"{names[v]} = {v.op}{_payload(v.payload)}({reads}):{v.dtype.name}")
    for s in nest.stores:
        lines.append(f"store {s.node!r}{_map(s.map)} = {names[s.value]}")
    return "\n".join(lines)


def _space(dims: tuple[int, ...], reduced: tuple[bool, ...] | None) -> str:
    flags = reduced or (False,) * len(dims)
    return "x".join(f"{n}{'(reduced)' if r else ''}" for n, r in zip(dims, flags, strict=True)) or "one point"


def _map(map: Affine) -> str:
    terms = [f"{s}*i{d}" for d, s in enumerate(map.strides) if s]
    terms += [f"{scale}*number{at}" for at, scale in map.nums] + ([str(map.const)] if map.const else [])
    return "[" + (" + ".join(terms) or "0") + "]"


def _payload(payload: object) -> str:
    if payload is None:
        return ""
    if isinstance(payload, Affine):
        return _map(payload)
    if isinstance(payload, tuple):
        return " " + " ".join(_map(p) if isinstance(p, Affine) else repr(p) for p in payload)
    return f" {payload!r}"
