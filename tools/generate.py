"""What is derived from the operations and lies in files: the methods that mypy sees of Tensor, and docs/reference/.

    python tools/generate.py            writes them
    python tools/generate.py --check    says which are not up to date, and fails if there are any
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import facula.nn.functional  # noqa: E402, F401  (its operations are defined there)
from facula.ops import op  # noqa: E402

TYPES = ROOT / "src" / "facula" / "_tensor" / "types.pyi"
MARK = "    # ---- from here on written by tools/generate.py ----\n"
PAGES = {
    "": ("torch", "Functions of the root"),
    "Tensor": ("tensor", "Methods of Tensor that are no functions"),
    "nn.functional": ("nn_functional", "nn.functional"),
    "linalg": ("linalg", "linalg"),
    "special": ("special", "special"),
    "fft": ("fft", "fft"),
    "signal.windows": ("signal_windows", "signal.windows"),
}


def types() -> str:
    """`types.pyi`: what stands above the mark is written by hand."""
    text = TYPES.read_text()
    head = text[: text.index(MARK)] + MARK
    declared = set(re.findall(r"^    (?:def )?(\w+)[:(]", head, re.MULTILINE))
    names = [
        name
        for name, form in sorted(op.METHODS.items())
        if name not in declared and inspect.unwrap(form).__annotations__.get("return") in ("Tensor", op.Tensor)
    ]
    return head + "".join(f"    {name}: _Method\n" for name in names)


def signature(operation: op.Operation) -> str:
    """The parameters with their defaults, in one line."""
    parts = []
    try:
        parameters = operation.signature.parameters.values()
    except ValueError:
        return "(...)"
    star = False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is p.empty else f"={p.default!r}"
        parts.append(mark + p.name + ("=..." if " at 0x" in default else default))
    return f"({', '.join(parts)})"


def entry(operation: op.Operation, name: str) -> str:
    """One operation: how it is called, what it does, under which other names."""
    summary = operation.doc.split("\n\n")[0].replace("\n", " ")
    others = sorted({s for s in operation.spellings if s != name})
    lines = [f"### `{name}{signature(operation)}`", ""]
    lines += [summary, ""] if summary else []
    if operation.formula is not None:
        lines += ["Elementwise: its gradients are derived from its formula.", ""]
    if operation.takes_out:
        lines += ["Takes `out=`.", ""]
    if others:
        lines += ["Also " + ", ".join(f"`{other}`" for other in others) + ".", ""]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """The reference, a page for each module: an operation stands under its first name."""
    found = {}
    for space, (file, title) in PAGES.items():
        entries = [
            (operation.name, operation)
            for operation in op.operations()
            if operation.name.rpartition(".")[0] == space
        ]
        text = f"# {title}\n\n<!-- written by tools/generate.py from the operations -->\n\n"
        text += "\n".join(entry(operation, name) for name, operation in sorted(entries, key=lambda e: e[0]))
        found[ROOT / "docs" / "reference" / f"{file}.md"] = text
    return found


def stale() -> dict[Path, str]:
    """The files that are not what they should be, with what they should be."""
    wanted = {TYPES: types(), **pages()}
    return {path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text}


def main() -> int:
    found = stale()
    for path, text in found.items():
        print(("stale: " if "--check" in sys.argv else "writes ") + str(path.relative_to(ROOT)))
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return 1 if found and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
