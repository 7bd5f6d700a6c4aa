"""What the documents say of files, names, commands and settings is there; their code runs (test_documents_code.py)."""

import importlib
import re
import subprocess
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import facula
from facula import config

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
SOURCES = ROOT / "src" / "facula"
# A part of a path in capitals stands for any name (KIND.py, FOLDER/); code has quotes, brackets or spaces.
PATH = re.compile(r"(?![/~])[\w./{},*-]+(?:\.(?:py|pyi|md|txt|html|toml|proto|sh)|/)")
STANDS_FOR = re.compile(r"(^|[/.])[A-Z]{2,}([/.]|$)")
# What examples call their things, what only programs or other libraries have.
VARIABLES = {"loss", "run", "step", "x", "optimizer"}
ELSEWHERE = {"facula.privateuseone", "aten.linear.default", "torch.nn.sequential", "torch.x.y",
             "torch.ops.NAMESPACE.NAME"}
FENCE = re.compile(r"^```.*?^```", re.M | re.S)


@cache
def files():
    """All files and folders of the project, below its root."""
    kept = [path for top in ("src", "tests", "tools", "docs", "examples", "bench", ".ci")
            for path in (ROOT / top).rglob("*") if "__pycache__" not in path.parts]
    return {str(path.relative_to(ROOT)) for path in [*kept, *ROOT.glob("*")]}


@cache
def ends():
    """What a document may call a file: its path, without as many folders as it likes."""
    return {one.split("/", k)[-1] for one in files() for k in range(one.count("/") + 1)}


@cache
def sources():
    return "".join(path.read_text(encoding="utf-8") for folder in ("src", "tools", "tests", "bench")
                   for path in (ROOT / folder).rglob("*.py"))


@cache
def text_of(path):
    return path.read_text(encoding="utf-8")


@cache
def quoted(document):
    """What stands in backquotes in a document's text, each with the number of its line."""
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), document.read_text(encoding="utf-8"))
    return [(code, text[:found.start()].count("\n") + 1) for found in re.finditer(r"`([^`\n]+)`", text)
            for code in [found[1]]]


def spread(path):
    """`a/{b,c}.py` as `a/b.py` and `a/c.py`."""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    return [one for part in found[1].split(",") for one in spread(path[:found.start()] + part + path[found.end():])]


def is_there(path):
    path = path.rstrip("/").removesuffix("/...")
    return path in ends() if "*" not in path else any(fnmatch(one, path) for one in ends())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_exist(document):
    missing = [f"line {line}: {path}" for code, line in quoted(document)
               if PATH.fullmatch(code) and not STANDS_FOR.search(code)
               for path in spread(code) if not is_there(path)]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    assert all((document.parent / link).exists() for link in links)


@cache
def stems():
    found = {}
    for path in SOURCES.rglob("*.py"):
        found.setdefault(path.parent.name if path.name == "__init__.py" else path.stem, []).append(path)
    return found


def is_named(code):
    """`recorder.put_back`: does a file of that name have it? None: there is no such file."""
    words = code.split(".")
    if code in ELSEWHERE:
        return None
    if words[0] in ("facula", "torch"):
        return is_public(words)
    if is_public(["facula", *words]):
        return True
    at = [k for k, word in enumerate(words[:-1]) if word in stems()]
    if not at or words[0] in VARIABLES:
        return None
    return any(all(re.search(rf"\b{word}\b", text) for word in words[k + 1:])
               for k in at for text in map(text_of, stems()[words[k]]))


def is_public(words):
    held = facula
    for k, part in enumerate(words[1:], 2):
        try:
            held = getattr(held, part)
        except AttributeError:
            try:
                held = importlib.import_module(".".join(words[:k]))
            except ImportError:
                return False
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_are_where_they_are_said_to_be(document):
    wrong = [f"line {line}: {code}" for code, line in quoted(document)
             for name in [code.partition("(")[0]]
             if re.fullmatch(r"[a-z_]+(\.\w+)+", name) and not PATH.fullmatch(name) and is_named(name) is False]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_settings_options_and_targets_exist(document):
    text = document.read_text(encoding="utf-8")
    settings = set(re.findall(r"\bFACULA_[A-Z_]+\b", text))
    assert not {name for name in settings if name not in config.SETTINGS and f'"{name}"' not in sources()}
    targets = set(re.findall(r"^([\w-]+)(?:[\w -]*):", (ROOT / "Makefile").read_text(), re.M)) | {"test-interpreter"}
    named = {word for words in re.findall(r"`make ([a-z -]+)`|^make ([a-z-]+)", text, re.M)
             for word in " ".join(words).split()}
    assert not named - targets
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+\b", text))
    other = {"--grep"}  # git's
    assert not {option for option in options - other if option not in sources() and f'"{option[2:]}"' not in sources()}


def test_every_room_is_in_the_plan_of_the_house():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in SOURCES.iterdir() if (path / "__init__.py").exists()}
    assert not {room for room in rooms if not re.search(rf"`(?:[\w/]*/)?{room}/", text)}


def test_commands_are_known():
    """`facula NAME` for every NAME in the documents."""
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    named = set(re.findall(r"`facula ([a-z]+)\b", text)) | set(re.findall(r"^facula ([a-z]+)\b", text, re.M))
    done = subprocess.run([sys.executable, "-m", "facula", "--help"], capture_output=True, text=True, timeout=120)
    assert named and not {name for name in named if not re.search(rf"\b{name}\b", done.stdout)}
