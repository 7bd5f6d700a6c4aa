"""IR to running machine code: errors, both loaders, what a broken object does."""

import ctypes
import subprocess
import sys

import pytest

import children
from facula import config
from facula.engine.compiler.kernel import Kernel
from facula.engine.runtime.cpu import elf, jit, object_cache, target
from facula.errors import CompileError
from runtime_kernels import scale_kernel

pytestmark = pytest.mark.compiled


def call(address, *args):
    return ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_double] * len(args))(address)(*args)


def test_same_kernel_same_address():
    assert jit.get(scale_kernel(1.0)) == jit.get(scale_kernel(1.0)) != jit.get(scale_kernel(2.0))


@pytest.mark.parametrize("text", [
    "define void @f( {", "define void @f() { ret i32 1 }",
    "define void @f() {\n  br label %nowhere\n}",
    "define i32 @f(i1 %c) {\nentry:\n  br i1 %c, label %a, label %b\na:\n  %x = add i32 1, 2\n  br label %b\n"
    "b:\n  ret i32 %x\n}",
])
def test_bad_text_is_an_exception(text):
    with pytest.raises(CompileError):
        jit.get(Kernel("f", text))


def test_error_shows_the_line():
    with pytest.raises(CompileError, match="%y = fad double"):
        jit.get(Kernel("f", "define double @f(double %x) {\n  %y = fad double %x, %x\n  ret double %y\n}"))


@pytest.mark.parametrize("own", [True, False])
def test_missing_symbol_is_an_exception(own, monkeypatch):
    monkeypatch.setattr(elf, "CAN_LOAD", own and elf.CAN_LOAD)
    with pytest.raises(CompileError, match="no_such_function_anywhere"):
        jit.get(Kernel("f", "declare void @no_such_function_anywhere()\n"
                            "define void @f() {\n  call void @no_such_function_anywhere()\n  ret void\n}"))


def test_missing_name_is_an_exception():
    with pytest.raises(CompileError):
        jit.get(Kernel("absent", "define void @present() {\n  ret void\n}"))


def test_unknown_feature_is_refused_before_llvm_sees_it():
    with pytest.raises(ValueError, match="no_such_feature"):
        target.validate_features("+no_such_feature")
    target.validate_features(target.host().features)


# What objects contain: constants, a jump table, writable data, zeroed data, calls out of the module.
VARIED = """
@table = internal constant [4 x double] [double 1.5, double 2.5, double 3.5, double 4.5]
@counter = internal global double 10.0
@zeroed = internal global [300 x double] zeroinitializer, align 64
declare double @fmod(double, double)
declare ptr @memcpy(ptr, ptr, i64)

define double @varied(double %x, double %which) {
entry:
  %i = fptosi double %which to i64
  switch i64 %i, label %other [ i64 0, label %zero i64 1, label %one i64 2, label %two i64 3, label %three
                                i64 4, label %four i64 5, label %five ]
zero:
  %p = getelementptr [4 x double], ptr @table, i64 0, i64 3
  %a = load volatile double, ptr %p
  ret double %a
one:
  %b = load double, ptr @counter
  %b1 = fadd double %b, %x
  store double %b1, ptr @counter
  ret double %b1
two:
  %c = call double @fmod(double %x, double 3.0)
  ret double %c
three:
  %q = getelementptr double, ptr @zeroed, i64 299
  %r = call ptr @memcpy(ptr %q, ptr @counter, i64 8)
  %d = load double, ptr %q
  ret double %d
four:
  %e = fmul double %x, 1.25
  ret double %e
five:
  %f = frem double %x, 2.0
  ret double %f
other:
  ret double -1.0
}
"""


@pytest.mark.parametrize("load", [elf.load, jit._load_with_llvm], ids=["own loader", "LLVM's"])
def test_both_loaders(load):
    if load is elf.load and not elf.CAN_LOAD:
        pytest.skip("the own loader is for Linux on x86-64")
    where = load(jit.object_bytes(VARIED), ["varied"], {})["varied"]
    got = [call(where, 7.5, which) for which in (0, 1, 1, 2, 3, 4, 5, 9)]
    assert got == [4.5, 17.5, 25.0, 1.5, 25.0, 9.375, 1.5, -1.0]


@pytest.mark.skipif(not elf.CAN_LOAD, reason="the own loader is for Linux on x86-64")
def test_damaged_objects_are_refused_not_run():
    image = jit.object_bytes(VARIED)
    for bad in (b"", b"\x7fELF", image[:100], image[:len(image) // 2], b"MZ" + image[2:]):
        with pytest.raises(elf.Unsupported):
            elf.load(bad, ["varied"], {})


def test_the_same_text_over_other_imports_is_another_module():
    """It was found by text alone once: whoever came second wrote into the first one's list."""
    text = "@cell = external global i64\ndefine double @read() {\n  %x = load i64, ptr @cell\n" \
           "  %y = sitofp i64 %x to double\n  ret double %y\n}"
    cells = [ctypes.c_int64(4), ctypes.c_int64(7)]
    read = [jit.module(text, ["read"], {"cell": ctypes.addressof(cell)})["read"] for cell in cells]
    assert [call(address) for address in read] == [4, 7]


def test_imported_symbols():
    text = ("@answer = external global double\n"
            "define double @f() {\n  %x = load double, ptr @answer\n  ret double %x\n}")
    cell = ctypes.c_double(42.0)
    where = jit.module(text, ["f"], {"answer": ctypes.addressof(cell)})["f"]
    assert call(where) == 42.0


def test_settings_are_documented_and_checked(python_environment):
    assert {"FACULA_BACKEND", "FACULA_EAGER", "FACULA_NUM_THREADS", "FACULA_CACHE_DIR", "FACULA_CACHE_LIMIT",
            "FACULA_DEBUG"} <= set(config.SETTINGS)
    assert all(setting.doc and setting.owner for setting in config.SETTINGS.values())
    wrong = subprocess.run([sys.executable, "-c", "import facula.config"], capture_output=True, text=True,
                           env={**python_environment, "FACULA_DEBUG": "loud"})
    assert wrong.returncode != 0 and "FACULA_DEBUG='loud'" in wrong.stderr
    assert config._size("3M") == 3 << 20


def test_importing_the_runtime_imports_no_llvmlite(tmp_path):
    script = ("import sys; from facula.engine.runtime.cpu import plan, doctor\n"
              "assert 'llvmlite' not in sys.modules\n"
              "from facula.engine.runtime.cpu import launch; launch.run(); print('llvmlite' in sys.modules)")
    said = [children.printed(script, FACULA_CACHE_DIR=str(tmp_path)).strip() for _ in range(2)]
    assert said[0] == "True"
    assert said[1] == str(not elf.CAN_LOAD)  # a warm start finds its objects on disk


def test_key_depends_on_the_processor_and_the_text():
    host = target.host()
    assert len({object_cache.key(a, b) for a in ("x", "y") for b in (host.fingerprint, "else")}) == 4
    assert object_cache.key("ab", "c") != object_cache.key("a", "bc")


@pytest.mark.processes
@pytest.mark.parametrize("most", [64, 32, 16])
def test_vectors_can_be_kept_narrow(most):
    script = ("from facula.engine.runtime.cpu import target; import facula; h = target.host()\n"
              "print(h.vector_bytes, h.has('avx512f'), h.has('fma'), float(facula.ones(100).sum()))")
    said = children.printed(script, FACULA_VECTOR_BYTES=str(most)).split()
    host = target._machine()
    assert int(said[0]) == min(most, host.vector_bytes)
    assert said[1] == str(host.has("avx512f") and most == 64) and said[2] == str(host.has("fma"))
    assert float(said[3]) == 100.0
