"""Imports point down only, function-level ones too: docs/architecture.md as a test. Runs alone too."""

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "facula"
# Lowest first; a module belongs to the entry with the longest prefix of its name. What no entry names
# (nn, optim, autograd, the tensor's methods, the package itself) is a public module, above ops and below the
# command line.
LAYERS = [
    ["dtypes", "devices", "errors", "config", "version", "torch_version", "defaults", "numeric_limits",
     "size", "layouts", "undisturbed", "absent", "futures"],
    ["engine.graph", "engine.compiler.kernel", "engine.compiler.instructions", "engine.runtime.buffer", "engine.debug"],
    # Compiler and runtime are beside each other: neither imports the other. What leans on CPython is the runtime's.
    ["engine.compiler", "engine.runtime", "engine.cpython"],
    ["engine", "rng"],
    # An operation makes tensors and records itself; a tensor has the operations as methods.
    ["ops", "_tensor.cells", "_tensor.handle", "_tensor.reading", "_tensor.tape", "_tensor.refusing",
     "_tensor.assigning", "_tensor.outside", "_tensor.storages", "_tensor.mapped_files",
     "_tensor.layout", "utils.hooks", "autograd.graph",
     "autograd.modes"],
    ["_tensor.printing", "_tensor.exchange"],
    [""],
    ["testing", "compat", "cli", "__main__"],
]
# Modules of one layer that may not see each other, and packages that nothing here may import.
STRANGERS = {frozenset(("engine.compiler", "engine.runtime")), frozenset(("engine.compiler", "engine.cpython"))}
# What only these may reach for: the processor is asked through its target.
PRIVATE = {"engine.runtime.cpu": ("engine.targets", "engine.runtime", "engine.cpython")}
FOREIGN = {"torch", "scipy", "matplotlib", "sklearn", "tqdm"}
# A library routine that SciPy has and Facula reaches when it is asked for: names of (module, package).
ALLOWED_FOREIGN: set[tuple[str, str]] = set()


def place(module):
    """(layer, its entry) of a dotted name below facula."""
    fits = [(len(prefix), level, prefix) for level, layer in enumerate(LAYERS) for prefix in layer
            if not prefix or module == prefix or module.startswith(prefix + ".")]
    return max(fits)[1:]


def imported(path, module, is_package):
    """(line, absolute dotted name) of everything that a file imports when it runs, wherever it says so."""
    tree = ast.parse(path.read_text(), str(path))
    guarded = [b for b in ast.walk(tree) if isinstance(b, ast.If) and "TYPE_CHECKING" in ast.dump(b.test)]
    typing_only = {id(node) for block in guarded for s in block.body for node in ast.walk(s)}
    parts = ["facula", *filter(None, module.split("."))]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = parts[:len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*up, *filter(None, [node.module])])
            for alias in node.names:  # a module (`from facula import nn`), or a name in one
                name = f"{base}.{alias.name}"
                below = SOURCE.joinpath(*name.split(".")[1:])
                yield node.lineno, name if below.is_dir() or below.with_suffix(".py").exists() else base


def violations():
    for path in sorted(SOURCE.rglob("*.py")):
        inner = path.relative_to(SOURCE).with_suffix("")
        is_package = inner.name == "__init__"
        module = ".".join(inner.parts[:-1] if is_package else inner.parts)
        level, room = place(module)
        for line, name in imported(path, module, is_package):
            where = f"src/facula/{path.relative_to(SOURCE)}:{line}: imports {name}"
            head, _, target = name.partition(".")
            if head in FOREIGN and (module, head) not in ALLOWED_FOREIGN:
                yield f"{where}, which is not a dependency of Facula"
            elif head == "facula":
                above, other = place(target)
                if above > level:
                    yield f"{where}, which is above {module or 'facula'}"
                elif frozenset((room, other)) in STRANGERS:
                    yield f"{where}: {room} and {other} may not import each other"
                yield from (f"{where}, which only {', '.join(rooms)} may" for inner, rooms in PRIVATE.items()
                            if within(target, (inner,)) and not within(module, rooms))


def within(module, packages):
    return any(module == package or module.startswith(package + ".") for package in packages)


def circles():
    """Sets of modules that import each other, in a round, wherever in their files they say so. A package stands in
    for none of its modules: what it imports to offer it is its own business."""
    imports = {}
    for path in sorted(SOURCE.rglob("*.py")):
        inner = path.relative_to(SOURCE).with_suffix("")
        is_package = inner.name == "__init__"
        module = ".".join(inner.parts[:-1] if is_package else inner.parts)
        names = {name.partition(".")[2] for _, name in imported(path, module, is_package) if name.startswith("facula")}
        imports[module] = names - {module}
    reaches = {module: set() for module in imports}
    for module, reached in reaches.items():
        stack = [module]
        while stack:
            for name in imports.get(stack.pop(), ()):
                if name in imports and name not in reached:
                    reached.add(name)
                    stack.append(name)
    rounds = {frozenset(m for m in reached if module in reaches[m]) for module, reached in reaches.items()
              if module in reached}
    yield from ("in a round: " + ", ".join(m or "facula" for m in sorted(found)) for found in rounds)


def test_imports_point_down_only():
    assert not list(violations())


def test_no_import_circles():
    assert not list(circles())


def test_files_that_architecture_names_are_there():
    root = SOURCE.parent.parent
    named = set(re.findall(r"`([\w./]+\.py)`", (root / "docs" / "architecture.md").read_text()))
    files = {f"/{path.relative_to(root)}" for top in ("src", "tests", "tools", "bench")
             for path in (root / top).rglob("*.py")}
    assert len(named) > 60
    assert [name for name in sorted(named) if not any(path.endswith("/" + name) for path in files)] == []


if __name__ == "__main__":
    found = [*violations(), *circles()]
    raise SystemExit("\n".join(found) if found else None)
