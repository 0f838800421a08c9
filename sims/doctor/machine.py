"""What the machine is: processor, instruction sets, memory, compiler, GPU."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sims.doctor.finding import Finding
from sims.sweeps.collect import usable_cores

_COMPILERS = ("c++", "g++", "clang++")
_INSTRUCTION_SETS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f", "avx512bw", "avx512vl"),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AVX-512 bf16": ("avx512_bf16",),
    "AMX": ("amx_tile",),
    "AMX bf16": ("amx_bf16",),
    "AMX int8": ("amx_int8",),
    "NEON": ("asimd",),
    "SVE": ("sve",),
}
"""Names, and the flags of /proc/cpuinfo of which one says so (for AVX-512: all of them)."""
_SHOWN_ABSENT = {"x86_64": ("AVX2", "AVX-512", "VNNI", "AMX"), "aarch64": ("NEON", "SVE")}
_MEASURED = ("qecpipe", "numpy", "stim", "pymatching", "torch")
"""Packages whose versions measurements depend on."""
_ALL_NEEDED = ("AVX-512",)


def processor() -> Iterator[Finding]:
    """The processor, what of its instructions matters here, and what uses them."""
    import torch

    info = cpu_info()
    name = info.get("model name") or platform.processor() or platform.machine()
    yield Finding("processor", "name", f"{name} ({platform.machine()})")
    found, absent = instruction_sets(info, platform.machine())
    yield Finding("processor", "instruction sets", ", ".join(found) or "none of those that matter")
    if absent:
        yield Finding("processor", "does not have", ", ".join(absent))
    if "AMX bf16" not in found:
        bfloat16 = "natively" if "AVX-512 bf16" in found else "emulated, slower than float32"
        yield Finding("processor", "bfloat16", f"no AMX: --precision bfloat16 would run {bfloat16} here")
    yield Finding("processor", "torch uses", torch.backends.cpu.get_cpu_capability())
    yield Finding("processor", "cores", f"{len(usable_cores())} usable of {os.cpu_count()}")
    yield Finding("processor", "torch threads", str(torch.get_num_threads()))
    memory = _memory_gib()
    if memory is not None:
        yield Finding("processor", "memory", f"{memory:.1f} GiB")
    yield _compiler()


def about_machine() -> dict[str, Any]:
    """What a measurement has to say of where it ran: processor, instruction sets, cores, versions."""
    info = cpu_info()
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "instruction_sets": instruction_sets(info, platform.machine())[0],
        "cores": len(usable_cores()),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _MEASURED},
    }


def cpu_info() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    entries: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        key, separator, value = line.partition(":")
        if not separator:
            break
        entries[key.strip()] = value.strip()
    return entries


def instruction_sets(info: dict[str, str], machine: str) -> tuple[list[str], list[str]]:
    """(present, absent) names of instruction sets; absent are those that such machines may have."""
    flags = set((info.get("flags") or info.get("Features") or "").split())
    present = [
        name
        for name, needed in _INSTRUCTION_SETS.items()
        if (all if name in _ALL_NEEDED else any)(flag in flags for flag in needed)
    ]
    return present, [name for name in _SHOWN_ABSENT.get(machine, ()) if name not in present]


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return None


def _compiler() -> Finding:
    """What builds the extension."""
    path = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if path is None:
        missing = f"no C++ compiler ({', '.join(_COMPILERS)}) on the PATH; such as: apt install g++"
        return Finding("processor", "compiler", missing, "note")
    try:
        run = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("processor", "compiler", f"{path} does not run: {error}", "note")
    lines = run.stdout.splitlines() or [""]
    return Finding("processor", "compiler", f"{path}: {lines[0]}")


def gpu() -> Iterator[Finding]:
    """Every GPU that torch offers, and whether `--device` can use it; or why there is none."""
    import torch

    from cuda.qecpipe import cuda_status

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            what = f"{properties.name} (sm_{properties.major}{properties.minor}, {memory:.0f} GiB)"
            reason = cuda_status(index).reason
            if reason is None:
                yield Finding("gpu", f"cuda:{index}", what)
            else:
                yield Finding("gpu", f"cuda:{index}", f"{what}, which --device cannot use: {reason}", "note")
        return
    if torch.version.cuda is None:
        reason = f"torch {torch.__version__} is built without CUDA; install a CUDA build to use a GPU"
    elif not Path("/proc/driver/nvidia/version").exists():
        reason = f"torch is built for CUDA {torch.version.cuda}, but no NVIDIA driver is loaded"
    else:
        reason = (
            f"torch is built for CUDA {torch.version.cuda} and a driver is loaded, but it offers no device"
        )
    yield Finding("gpu", "none", reason, "note")
