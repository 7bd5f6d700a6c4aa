"""The object cache: whatever happens to the disk, work goes on and nothing wrong is ever loaded."""

import errno
import os
import subprocess
import sys

import pytest

from facula import config
from facula.engine.runtime.cpu import jit, object_cache
from runtime_kernels import SCALE

pytestmark = pytest.mark.compiled


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(config.CACHE_DIR, "value", str(tmp_path))
    monkeypatch.setattr(object_cache, "_written_since_check", None)
    return tmp_path


def test_store_and_load(cache):
    assert object_cache.load("name") is None
    assert object_cache.store("name", b"payload")
    assert object_cache.load("name") == b"payload"
    assert object_cache.store("name", b"") and object_cache.load("name") == b""
    assert not [p for p in os.listdir(cache) if p.startswith(".")]


def damages(content):
    yield "empty", b""
    yield "truncated header", content[:20]
    yield "truncated payload", content[:-1]
    yield "longer", content + b"x"
    yield "other magic", b"X" + content[1:]
    for at in (9, 39, 41, len(content) - 1):
        yield f"bit flipped at {at}", content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]
    yield "zeros", bytes(len(content))


def test_damaged_entries_read_as_absent(cache):
    object_cache.store("name", b"payload " * 10)
    path = cache / "name.facula"
    for what, content in list(damages(path.read_bytes())):
        path.write_bytes(content)
        assert object_cache.load("name") is None, what


def test_an_entry_under_another_name_is_absent(cache):
    object_cache.store("name", b"payload")
    os.rename(cache / "name.facula", cache / "other.facula")
    assert object_cache.load("other") is None


def test_damaged_entry_is_compiled_again_and_replaced(cache):
    ir = SCALE.format(addend=91.0)
    image = jit.object_bytes(ir)
    (path,) = (p for p in cache.iterdir() if not p.name.startswith("host-"))
    path.write_bytes(path.read_bytes()[:200])
    assert jit.object_bytes(ir) == image
    compiled = jit.statistics["compiled"]
    assert jit.object_bytes(ir) == image
    assert jit.statistics["compiled"] == compiled  # this time from disk


def test_read_only_directory(cache, monkeypatch):
    os.chmod(cache, 0o500)
    real = os.open

    def refuse(path, flags, *rest, **named):  # root may write anywhere: say no for the system
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert object_cache.store("name", b"payload") is False
    assert jit.object_bytes(SCALE.format(addend=92.0)).startswith(b"\x7fELF")
    os.chmod(cache, 0o700)


def test_full_disk(cache, monkeypatch):
    class Full:
        def __init__(self, descriptor, *_, **__):
            self.descriptor = descriptor

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self.descriptor)

        def write(self, content):
            os.write(self.descriptor, content[:5])
            return 5

    real = open
    monkeypatch.setattr("builtins.open",
                        lambda f, *a, **k: Full(f) if isinstance(f, int) else real(f, *a, **k))
    assert object_cache.store("name", b"payload") is False
    monkeypatch.undo()
    assert not os.listdir(cache)  # no torn file is left behind


def test_no_place_at_all(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setattr(config.CACHE_DIR, "value", str(blocked / "below"))
    assert object_cache.directory() == ""
    assert object_cache.load("name") is None and object_cache.store("name", b"x") is False
    assert jit.object_bytes(SCALE.format(addend=93.0)).startswith(b"\x7fELF")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777])
def test_directory_that_others_can_write_to_is_not_used(monkeypatch, tmp_path, mode):
    tmp_path.chmod(mode)
    monkeypatch.setattr(config.CACHE_DIR, "value", str(tmp_path))
    assert object_cache.directory() == "" and "others may write to it" in object_cache.statistics()["refused"][0]


def test_limit_zero_turns_it_off(cache, monkeypatch):
    monkeypatch.setattr(config.CACHE_LIMIT, "value", 0)
    assert object_cache.store("name", b"x") is False and object_cache.load("name") is None


def test_eviction_takes_the_longest_unused(cache):
    for k in range(10):
        object_cache.store(f"entry{k}", bytes(1000))
        os.utime(cache / f"entry{k}.facula", (1000 + k, 1000 + k))
    assert object_cache.load("entry0") is not None  # used now, so it stays
    (cache / ".123-1-dead.facula-new").write_bytes(b"left by a writer that was killed")
    os.utime(cache / ".123-1-dead.facula-new", (1, 1))
    (cache / ".124-1-beef.facula-new").write_bytes(b"being written")
    object_cache.evict(str(cache), 5000)
    left = sorted(os.listdir(cache))
    assert left == [".124-1-beef.facula-new", "entry0.facula", "entry8.facula", "entry9.facula"]


OTHERS = [".bashrc", ".123-1-notes", "thesis.txt", "a" * 64, ".git", "entry.facula.bak", "entry", "x y.facula"]


def test_files_that_are_no_entries_are_left_alone(cache, monkeypatch):
    for name in OTHERS:
        (cache / name).write_bytes(bytes(3000))
        os.utime(cache / name, (1, 1))
    os.symlink(cache / "thesis.txt", cache / "link.facula")
    os.mkfifo(cache / "pipe.facula")
    os.mkdir(cache / "folder.facula")
    monkeypatch.setattr(config.CACHE_LIMIT, "value", 4000)
    for k in range(20):
        object_cache.store(f"entry{k}", bytes(1000))
    object_cache.evict(str(cache), 0)
    assert sorted(os.listdir(cache)) == sorted([*OTHERS, "link.facula", "pipe.facula", "folder.facula"])
    assert object_cache.statistics()["entries"] == 0


def test_entries_that_are_not_what_they_seem_are_not_read(cache):
    object_cache.store("name", b"payload")
    content = (cache / "name.facula").read_bytes()
    (cache / "elsewhere").write_bytes(content)
    (cache / "name.facula").unlink()
    os.symlink(cache / "elsewhere", cache / "name.facula")
    assert object_cache.load("name") is None
    (cache / "name.facula").unlink()
    os.mkfifo(cache / "name.facula")  # nobody writes: reading it must not wait
    assert object_cache.load("name") is None
    (cache / "name.facula").unlink()
    for mode, found in ((0o600, b"payload"), (0o644, b"payload"), (0o620, None), (0o602, None), (0o666, None)):
        (cache / "name.facula").write_bytes(content)
        (cache / "name.facula").chmod(mode)
        assert object_cache.load("name") == found, oct(mode)
    assert object_cache.store("name", b"new") and object_cache.load("name") == b"new"  # is replaced
    assert (cache / "name.facula").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may give files away")
def test_what_belongs_to_somebody_else_is_not_used(cache, monkeypatch):
    object_cache.store("name", b"payload")
    os.chown(cache / "name.facula", 12345, -1)
    assert object_cache.load("name") is None
    os.chown(cache, 12345, -1)
    monkeypatch.setattr(object_cache, "_directory", None)
    assert object_cache.directory() == "" and "belongs to user 12345" in object_cache.statistics()["refused"][0]


def test_a_link_planted_in_the_shared_temporary_folder_is_not_followed(monkeypatch, tmp_path):
    home, shared = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    shared.mkdir()
    os.symlink(home, shared / f"facula-{os.getuid()}")
    monkeypatch.setattr(config.CACHE_DIR, "value", "")
    monkeypatch.setattr(object_cache, "_directory", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setattr(object_cache.tempfile, "gettempdir", lambda: str(shared))
    assert object_cache.directory() == "" and not os.listdir(home)
    os.unlink(shared / f"facula-{os.getuid()}")
    monkeypatch.setattr(object_cache, "_directory", None)
    assert object_cache.directory() == str(shared / f"facula-{os.getuid()}")
    monkeypatch.undo()
    object_cache._directory = None


def test_the_directory_stays_bounded(cache, monkeypatch):
    monkeypatch.setattr(config.CACHE_LIMIT, "value", 20_000)
    for k in range(200):
        object_cache.store(f"entry{k}", bytes(1000))
    assert object_cache.statistics()["bytes"] <= 20_000 * 17 // 16 + 1100


WORKER = """
import sys
sys.path[:0] = {tests!r}
from runtime_kernels import scale_kernel
from facula.engine.runtime.cpu import jit
for k in range(12):
    jit.get(scale_kernel(200.0 + k))
print(jit.statistics["compiled"], jit.statistics["loaded"])
"""


def test_processes_share_a_directory(tmp_path, python_environment):
    environment = {**python_environment, "FACULA_CACHE_DIR": str(tmp_path)}
    script = WORKER.format(tests=sys.path)

    def start():
        return subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE,
                                text=True)

    together = [start() for _ in range(3)]
    assert [p.communicate()[0].split()[1] for p in together] == ["12"] * 3
    assert start().communicate()[0].split() == ["0", "12"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
