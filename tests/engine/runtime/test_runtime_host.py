"""What the host is taken for: the processor's word, a child that tries it, and stand-ins for missing instructions."""

import ctypes
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from facula.engine.runtime.cpu import doctor, half_code, jit, probe, processor, target
from facula.engine.runtime.cpu.target import target_machine as machine
from facula.errors import BackendUnavailable

pytestmark = pytest.mark.compiled


def test_the_processor_is_asked_itself(monkeypatch):
    """An emulator shows its host's /proc/cpuinfo: code for AVX-512 ran on a Haswell, and ended there."""
    features = processor._features()
    if not features:
        pytest.skip("not an x86-64")
    flag = {name: bool(features[3] & 1 << bit) for name, bit in (("avx2", 5), ("avx512f", 16))}
    host = target._machine()
    assert flag == {name: host.has(name) for name in flag}
    name = target._machine_id()
    assert target._machine_id() == name
    monkeypatch.setattr(processor, "_features", lambda: [features[0], *features[1:3], features[3] ^ 1 << 16])
    assert target._machine_id() != name


def test_the_caches_are_told_by_the_processor():
    told = processor.caches()
    assert told == target._machine().caches
    assert all(size == 0 or 1 << 10 <= size <= 1 << 32 for size in told)
    said = Path("/proc/cpuinfo")
    emulated = said.exists() and ("avx2" in said.read_text()) is not target.host().has("avx2")  # it tells of another
    if processor._cpuid() is not None and not emulated and all(told) and all(system := processor._caches_of_system()):
        assert told[:2] == system[:2]  # a hypervisor may cut the third


def test_caches_in_the_form_of_either_maker():
    """One level of 48 KiB in 12 ways, one of 2 MiB in 16: by Intel's leaf, or by AMD's, whose leaf 4 is empty."""
    levels = [(1 | 1 << 5, 11 << 22 | 63, 63), (2 | 1 << 5, 7 << 22 | 63, 63), (3 | 2 << 5, 15 << 22 | 63, 2047)]

    def asked(at):
        def ask(leaf, part):
            if leaf in (0, 0x80000000):
                return leaf + 0x20, 0, 0, 0
            if leaf == 0x80000001:
                return 0, 0, processor._TOPOLOGY, 0
            return (*levels[part], 0) if leaf == at and part < len(levels) else (0, 0, 0, 0)
        return ask

    for leaf in (4, 0x8000001D):
        assert processor._caches_by_cpuid(asked(leaf)) == (48 << 10, 2 << 20, 0)
    assert processor._caches_by_cpuid(asked(5)) == (0, 0, 0)


def test_arm_features_come_from_the_kernels_words(monkeypatch):
    monkeypatch.setattr(processor, "_kernel_words", lambda: [1 << 8 | 1 << 20 | 1 << 22, 1 << 14])
    assert processor.arm_features() == {"fp-armv8", "neon", "lse", "dotprod", "bf16"}
    monkeypatch.setattr(processor, "_kernel_words", list)
    assert processor.arm_features() == {"fp-armv8", "neon"}


@pytest.mark.skipif(sys.platform != "linux", reason="no child is asked elsewhere")
def test_what_llvm_asserts_ends_a_child_only():
    host = target._machine()
    assert probe.run(host, machine) == probe._FOUND and probe.fault(host, machine) == ""
    least = dataclasses.replace(host, cpu="generic", features=target._least(host), vector_bytes=16)
    assert probe.fault(least, machine) == ""
    if "+64bit" in host.features:
        ended = probe.fault(dataclasses.replace(host, features=host.features.replace("+64bit", "-64bit")), machine)
        assert "LLVM ERROR" in ended
    assert "knows no feature" in probe.fault(dataclasses.replace(host, features=host.features + ",+flux"), machine)


@pytest.mark.skipif(sys.platform != "linux", reason="no child is asked elsewhere")
def test_a_crash_of_the_child_is_told_by_its_signal(monkeypatch):
    monkeypatch.setattr(probe, "run", lambda *_: ctypes.string_at(8))
    assert probe.fault(target._machine(), machine).startswith("SIGSEGV")
    monkeypatch.setattr(probe, "run", lambda *_: 1.0)
    assert "gave 1.0" in probe.fault(target._machine(), machine)


def test_a_machine_that_llvm_cannot_serve_is_taken_for_less_or_refused(monkeypatch):
    host = target._machine()
    monkeypatch.setattr(probe, "fault", lambda candidate, _: "" if candidate.cpu == "generic" else "SIGILL: ")
    fallen = target._tried(host)
    assert fallen.cpu == "generic" and fallen.vector_bytes == 16 and not fallen.has("avx2")
    monkeypatch.setattr(probe, "fault", lambda *_: "SIGILL: 1")
    assert target._tried(host) == "SIGILL: 1"
    monkeypatch.setattr(target, "_machine", lambda: "SIGILL: 1")
    monkeypatch.setattr(target, "host", target.host.__wrapped__)
    with pytest.raises(BackendUnavailable, match="SIGILL: 1"):
        target.host()
    assert doctor.versions()["llvm"] is None and "llvm_cpu" not in doctor.machine()


def test_halves_without_instructions_for_them():
    """The bits of NumPy's conversions, all halves and what rounds to them; of NaN the payload's upper bits, quieted."""
    called = half_code.text(target.host().attributes) + "".join(f"""
define void @{name}(ptr %from, ptr %to, i64 %n) {{
start:
  br label %turn
turn:
  %i = phi i64 [ 0, %start ], [ %next, %turn ]
  %here = getelementptr {given}, ptr %from, i64 %i
  %there = getelementptr {made}, ptr %to, i64 %i
  %x = load {given}, ptr %here
  %y = call {made} @{function}({given} %x)
  store {made} %y, ptr %there
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %turn, label %end
end:
  ret void
}}""" for name, function, given, made in (("widened", half_code.NAMES[0], "half", "float"),
                                          ("narrowed", half_code.NAMES[1], "float", "half")))
    where = jit.module(called, ["widened", "narrowed"])

    def of_each(name, given, dtype):
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(where[name])
        given, out = np.ascontiguousarray(given), np.zeros(given.shape, dtype)
        run(given.ctypes.data, out.ctypes.data, given.size)
        return out

    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    wide = of_each("widened", halves, np.float32)
    real = ~np.isnan(halves)
    assert (wide[real].view(np.uint32) == halves[real].astype(np.float32).view(np.uint32)).all()
    assert np.isnan(wide[~real]).all()
    exact = wide[real & np.isfinite(wide)]
    near = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))]
    between = (exact[:-1].astype(np.float64) + exact[1:]) / 2
    special = [65504, 65519.99, 65520, 65536, 1e30, np.inf, -np.inf, 1e-40, 2**-25, 2**-24, 3 * 2**-25, -2**-26]
    floats = np.concatenate([*near, between.astype(np.float32), np.float32(special)]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = floats.astype(np.float16)
    assert (of_each("narrowed", floats, np.float16).view(np.uint16) == expected.view(np.uint16)).all()
    assert np.isnan(of_each("narrowed", np.float32([np.nan, -np.nan]), np.float16)).all()
