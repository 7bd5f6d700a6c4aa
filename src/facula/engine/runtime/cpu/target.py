"""The processor that kernels are compiled for.

Asking LLVM means importing llvmlite (60 to 110 ms, 46 MB), which a warm start does without: its answer is
kept on disk beside the kernels, under a name that changes with the processor and with the llvmlite
installed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

from facula.config import BACKEND, VECTOR_BYTES
from facula.engine.runtime.cpu import object_cache, probe, processor
from facula.errors import BackendUnavailable

# Features LLVM may report that no kernel should be built with: APX, AMX and the like bring nothing to our
# code, which may fault where the system does not save their state.
_UNWANTED = ("amx-", "egpr", "push2pop2", "ppx", "ndd", "ccmp", "cf", "nf", "zu", "shstk", "kl", "widekl")


@dataclass(frozen=True)
class Target:
    """What the emitters and the JIT need to know about the machine."""

    triple: str
    cpu: str
    features: str  # LLVM's comma-separated list, "+avx2,-sse4a,..."
    vector_bytes: int  # widest vector register worth using: 64, 32 or 16
    llvm_version: str
    tune: str = ""  # LLVM's name of a processor to schedule for, where `cpu` names none
    caches: tuple[int, int, int] = (0, 0, 0)  # bytes of the three levels; 0 where it is not known

    @property
    def attributes(self) -> str:
        """Function attributes for every kernel. Without the widths LLVM splits 512-bit vectors in two."""
        bits = self.vector_bytes * 8
        tune = f'"tune-cpu"="{self.tune}" ' if self.tune else ""
        return (f'nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}" '
                f'"target-cpu"="{self.cpu}" {tune}"target-features"="{self.features}"')

    @property
    def fingerprint(self) -> str:
        """Everything besides the IR that object code depends on."""
        return f"{self.triple}|{self.cpu}|{self.tune}|{self.features}|{self.llvm_version}"

    def has(self, feature: str) -> bool:
        """Is `feature`, by LLVM's name for it, present?

        >>> Target("x86_64-linux", "generic", "+avx2,-fma", 32, "22").has("fma")
        False
        """
        return "+" + feature in self.features.split(",")


@functools.cache
def host() -> Target:
    """The machine we run on, with registers as wide as FACULA_VECTOR_BYTES allows. BackendUnavailable if llvmlite is
    missing, or if no machine code can be made here."""
    found = _machine()
    if isinstance(found, str):
        raise BackendUnavailable(f"LLVM ends the process here, so no kernels are compiled: {found}")
    return narrowed(found, VECTOR_BYTES.value)


@functools.cache
def _machine() -> Target | str:
    """The machine as it is, or why nothing can be compiled for it."""
    name = "host-" + _machine_id()
    saved = object_cache.load(name)
    if saved is not None:
        try:
            known = json.loads(saved)
            return known if isinstance(known, str) else Target(**{**known, "caches": tuple(known["caches"])})
        except (ValueError, TypeError, KeyError):
            pass  # written by another version: ask again
    asked = _ask_llvm()
    found = asked if _is_sure(asked) else _tried(asked)
    object_cache.store(name, json.dumps(found if isinstance(found, str) else asdict(found)).encode())
    return found


def _is_sure(found: Target) -> bool:
    """Is this a kind of processor that all tests run on? Others are tried first."""
    return found.triple.startswith("x86_64") and found.vector_bytes >= 32


def _tried(found: Target) -> Target | str:
    """`found`, or what all machines of its architecture have, or why LLVM lives through neither."""
    least = replace(found, cpu="generic", tune="", features=_least(found), vector_bytes=16)
    first = probe.fault(found, target_machine)
    return found if not first else least if not probe.fault(least, target_machine) else first


def _least(found: Target) -> str:
    """`found.features` without all that not each processor of the architecture has."""
    kept = {"fp-armv8", "neon", "64bit", "cx8", "fxsr", "mmx", "sse", "sse2", "cmov"}
    return ",".join(f if f[1:] in kept else "-" + f[1:] for f in filter(None, found.features.split(",")))


def narrowed(full: Target, most: int) -> Target:
    """`full` as a machine whose vectors have `most` bytes at most. Fused multiply-add stays: at 16 bytes that is x86-64
    with AVX and without AVX2, since its multiply-add instructions are of AVX's form.

    >>> narrowed(Target("x86_64-linux", "skylake", "+avx,+avx2,+avx512f,+fma,+vaes", 64, "22"), 16).features
    '+avx,-avx2,-avx512f,+fma,-vaes'
    """
    if full.vector_bytes <= most:
        return full
    gone = ("avx512", "avx10") if most >= 32 else ("avx512", "avx10", "avx2", "avxifma", "avxneconvert", "avxvnni",
                                                   "vaes", "vpclmulqdq", "sha512", "sm4")  # these imply avx2
    features = ",".join("-" + f[1:] if f[1:].startswith(gone) else f for f in full.features.split(","))
    return replace(full, features=features, vector_bytes=most)


@functools.cache
def available() -> bool:
    """Can machine code be made and run here? Cheap: does not import llvmlite."""
    return sys.maxsize > 2**32 and importlib.util.find_spec("llvmlite") is not None


def usable() -> bool:
    """Are kernels compiled in this process? Not if it was started to compile none, without llvmlite, or where LLVM
    cannot serve the machine. What is decided by it is decided once: it does not follow BACKEND where that changes."""
    try:
        return BACKEND.at_start != "interpreter" and available() and host() is not None
    except BackendUnavailable:
        return False


def _machine_id() -> str:
    """A digest of the processor's description and of the llvmlite installed, without loading either."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        raise BackendUnavailable(
            "compiling kernels needs llvmlite, which is not installed. Install it (pip install llvmlite), "
            "or run with FACULA_BACKEND=interpreter")
    found = os.stat(spec.origin)
    parts = (spec.origin, found.st_mtime_ns, found.st_size, platform.machine(), sys.platform,
             processor.description())
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _ask_llvm() -> Target:
    import llvmlite.binding as llvm

    _initialize()
    triple, cpu, tune = llvm.get_process_triple(), llvm.get_host_cpu_name() or "generic", ""
    if _is_arm_linux():
        # A processor's name would bring features with it that the system may have taken away: it is for scheduling.
        known = dict.fromkeys(processor.arm_features(), True)
        cpu, tune = "generic", cpu
    else:
        known = llvm.get_host_cpu_features()
    chosen = {name: on and not _unwanted(name) for name, on in known.items()}
    features = ",".join(("+" if on else "-") + name for name, on in sorted(chosen.items()))
    if chosen.get("avx512f") and chosen.get("avx512dq") and chosen.get("avx512bw") and chosen.get("avx512vl"):
        width = 64
    else:
        width = 32 if chosen.get("avx2") and chosen.get("fma") else 16
    version = ".".join(str(part) for part in llvm.llvm_version_info)
    return Target(triple, cpu, features, width, version, tune, processor.caches())


def _is_arm_linux() -> bool:
    return sys.platform == "linux" and platform.machine() == "aarch64"


def _unwanted(feature: str) -> bool:
    return any(feature == name or (name.endswith("-") and feature.startswith(name)) for name in _UNWANTED)


def validate_features(features: str) -> None:
    """ValueError on a feature LLVM does not know for this machine: given one, LLVM ends the process."""
    import llvmlite.binding as llvm

    known = set(llvm.get_host_cpu_features()) | {"64bit"}
    if _is_arm_linux():
        known |= processor.ARM_FEATURES
    for item in filter(None, features.split(",")):
        if item[0] not in "+-" or item[1:] not in known:
            raise ValueError(f"LLVM {llvm.llvm_version_info} knows no feature {item!r} of this processor")


@functools.cache
def _initialize() -> None:
    """Register LLVM's native code generator. (`llvm.initialize()` itself raises in recent versions.)"""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def target_machine(host_target: Target) -> Any:
    """A new LLVM TargetMachine: not safe to share between threads, so every compilation holds jit's lock."""
    import llvmlite.binding as llvm

    _initialize()
    validate_features(host_target.features)
    found = llvm.Target.from_triple(host_target.triple)
    return found.create_target_machine(cpu=host_target.cpu, features=host_target.features, opt=3, reloc="pic",
                                       codemodel="small")
