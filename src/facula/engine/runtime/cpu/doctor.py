"""Facts about the machine, for `facula doctor` and `facula explain`: what it is, and how fast it can be.

The two speeds are the limits a kernel is held against: memory traffic of a plain copy, and float32
multiply-adds from registers. They are measured with kernels of our own in about 0.5 s, and kept on disk.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import platform
import struct

from facula.engine.runtime.buffer import allocate
from facula.engine.runtime.cpu import jit, launch, limits, object_cache, processor, target
from facula.engine.runtime.cpu.pool import workers
from facula.errors import BackendUnavailable

COPY_BYTES = 128 << 20  # far beyond most caches
_COPY_TILES, _FMA_TILES = 256, 64
_FMA_CHAINS = 12  # latency 4, two a cycle: eight chains would do on today's cores
_FMA_TURNS = 2_500  # a tile


def report(measure: bool = True) -> dict[str, object]:
    """Everything, section by section. `measure=False` leaves out what takes time."""
    found: dict[str, object] = {"machine": machine(), "versions": versions(), "threads": threads(),
                                "cache": object_cache.statistics(), "jit": dict(jit.statistics)}
    if measure and _host() is not None:
        found["speed"] = speed()
    return found


def machine() -> dict[str, object]:
    """Processor and vector width. Without llvmlite, only what the system tells."""
    found: dict[str, object] = {"system": platform.platform(), "processor": processor.name(),
                                "cpus": os.cpu_count(), "memory": _memory_bytes()}
    host = _host()
    if host is not None:
        found["llvm_cpu"] = host.cpu
        found["vector_bits"] = host.vector_bytes * 8
        found["features"] = [f[1:] for f in host.features.split(",") if f.startswith("+")]
    return found


def versions() -> dict[str, object]:
    """Python and the libraries below us; None for one that is not installed."""
    found: dict[str, object] = {"python": platform.python_version()}
    for name in ("numpy", "llvmlite"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    host = _host()
    found["llvm"] = host.llvm_version if host is not None else None
    return found


def _host() -> target.Target | None:
    """None where no kernels are compiled: llvmlite is missing, or LLVM cannot serve this machine."""
    try:
        return target.host() if target.available() else None
    except BackendUnavailable:
        return None


def threads() -> dict[str, object]:
    """How many threads compute, and what limits them."""
    return {"threads": workers.size, **limits.reasons(), "running": workers.running}


def speed(again: bool = False) -> dict[str, float]:
    """`copy_gbs` and `fma_gflops` with all threads, `copy_gbs_one` and `fma_gflops_one` with one.

    A copy of n bytes counts as 2n bytes of traffic. The answer is kept on disk; `again` measures anew.
    """
    name = object_cache.key("speed", target.host().fingerprint, processor.name(), str(workers.size))
    saved = None if again else object_cache.load(name)
    if saved is not None:
        try:
            return dict(json.loads(saved))
        except ValueError:
            pass
    copy, fma = _copy_speed(1), _fma_speed(1)
    many = workers.size
    found = {"copy_gbs_one": copy, "fma_gflops_one": fma,
             "copy_gbs": _copy_speed(many) if many > 1 else copy,
             "fma_gflops": _fma_speed(many) if many > 1 else fma}
    object_cache.store(name, json.dumps(found).encode())
    return found


def _best_ns(function: str, args: list[int], tiles: int, many: int, bufs: bytes) -> int:
    """The shortest of five runs."""
    if many > 1 and not workers.running:
        workers.start()
    address = jit.module(_ir(), ("copy", "fma"))[function]
    program = launch.program([(address, args, tiles, 1e9 if many > 1 else 0.0)])
    took = ctypes.c_int64()
    best = 1 << 62
    for _ in range(5):
        launch.run_timed()(program, bufs, b"", ctypes.addressof(took))
        best = min(best, took.value)
    return max(best, 1)


def _copy_speed(many: int) -> float:
    source, sink = allocate(COPY_BYTES), allocate(COPY_BYTES)
    ctypes.memset(source.ptr, 1, COPY_BYTES)  # pages never written all map to one page of zeros
    bufs = struct.pack("=2Q", source.ptr, sink.ptr)
    return 2 * COPY_BYTES / _best_ns("copy", [COPY_BYTES // _COPY_TILES], _COPY_TILES, many, bufs)


def _fma_speed(many: int) -> float:
    lanes = target.host().vector_bytes // 4
    flops = 2 * lanes * _FMA_CHAINS * _FMA_TURNS * _FMA_TILES
    return flops / _best_ns("fma", [_FMA_TURNS], _FMA_TILES, many, b"")


def _ir() -> str:
    """`@copy`: args[0] bytes a tile, bufs[0] to bufs[1]. `@fma`: args[0] turns a tile of all chains.

    The chains begin with different values: LLVM would make equal ones into one.
    """
    host = target.host()
    lanes = host.vector_bytes // 4
    vector = f"<{lanes} x float>"
    chains = range(_FMA_CHAINS)
    one = "splat (float {}.0)"
    phis = "\n".join(f"  %a{k} = phi {vector} [ {one.format(k + 1)}, %entry ], [ %b{k}, %loop ]"
                     for k in chains)
    fma = f"call {vector} @llvm.fma.v{lanes}f32"
    steps = "\n".join(f"  %b{k} = {fma}({vector} %a{k}, {vector} %f, {vector} %f)" for k in chains)
    stores = "\n".join(f"  %p{k} = getelementptr i8, ptr %scratch, i64 {k * 64}\n"
                       f"  store {vector} %b{k}, ptr %p{k}" for k in chains)
    return f"""
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})

define void @copy(ptr %args, ptr %bufs, ptr %nums, i64 %lo, i64 %hi, ptr %scratch) #0 {{
entry:
  %x = load ptr, ptr %bufs
  %y.at = getelementptr ptr, ptr %bufs, i64 1
  %y = load ptr, ptr %y.at
  %bytes = load i64, ptr %args
  %begin = mul i64 %lo, %bytes
  %end = mul i64 %hi, %bytes
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %p = getelementptr i8, ptr %x, i64 %i
  %q = getelementptr i8, ptr %y, i64 %i
  %v = load {vector}, ptr %p, align 4
  store {vector} %v, ptr %q, align 4
  %next = add i64 %i, {host.vector_bytes}
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}}

define void @fma(ptr %args, ptr %bufs, ptr %nums, i64 %lo, i64 %hi, ptr %scratch) #0 {{
entry:
  %turns = load i64, ptr %args
  %tiles = sub i64 %hi, %lo
  %count = mul i64 %tiles, %turns
  %start = sitofp i64 %turns to float
  %small = fmul float %start, 0x3DF0000000000000
  %one = insertelement {vector} poison, float %small, i32 0
  %f = shufflevector {vector} %one, {vector} poison, <{lanes} x i32> zeroinitializer
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{steps}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %done
done:
{stores}
  ret void
}}

attributes #0 = {{ {host.attributes} }}
"""


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
