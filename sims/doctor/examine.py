"""What is installed here: versions, where modules come from, processor, GPU, weights, decoders."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sims.sweeps.collect import usable_cores

OUR_MODULES = (
    "qec",
    "global_decoders",
    "predecoder",
    "noise_learning",
    "decoder_service",
    "sims",
    "cuda.qecpipe",
)
_INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: a topic, what was found, and whether it needs attention."""

    section: str
    name: str
    value: str
    level: Literal["ok", "note", "problem"] = "ok"


def examine() -> Iterator[Finding]:
    """All findings, in the order in which they are read."""
    yield from _versions()
    yield from _modules()
    yield from _processor()
    yield from _gpu()
    yield from _weights()
    yield from _decoders()


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "python", f"{platform.python_version()} ({platform.platform()})")
    yield Finding("versions", "qecpipe", importlib.metadata.version("qecpipe"))
    for requirement in importlib.metadata.requires("qecpipe") or ():
        needed, _, condition = requirement.partition(";")
        if "extra" in condition and "decoders" not in condition:
            continue
        package = re.split(r"[^A-Za-z0-9_.-]", needed.strip(), maxsplit=1)[0]
        try:
            yield Finding("versions", package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("versions", package, "not installed", "note" if condition else "problem")


def _modules() -> Iterator[Finding]:
    """Where each of our modules is imported from: all from one tree, or something shadows them."""
    home = Path(__file__).resolve().parents[2]
    for name in OUR_MODULES:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            spec = None
        if spec is None or spec.origin is None:
            yield Finding("modules", name, "not found; install qecpipe again (pip install -e .)", "problem")
            continue
        origin = Path(spec.origin).resolve().parent
        if origin != home.joinpath(*name.split(".")):
            yield Finding(
                "modules",
                name,
                f"{origin}: not beside {home / 'sims'}; uninstall the unrelated PyPI package of that name",
                "problem",
            )
        else:
            yield Finding("modules", name, str(origin))


def _processor() -> Iterator[Finding]:
    import torch

    flags = _cpu_flags()
    found = [name for name in _INSTRUCTION_SETS if name in flags]
    yield Finding("processor", "instruction sets", ", ".join(found) or "none of those that matter were found")
    yield Finding("processor", "torch uses", torch.backends.cpu.get_cpu_capability())
    if "amx_bf16" not in flags:
        yield Finding("processor", "AMX", "no: the network runs in fp32 or slower bf16 here", "note")
    yield Finding("processor", "cores", f"{len(usable_cores())} usable of {os.cpu_count()}")
    yield Finding("processor", "torch threads", str(torch.get_num_threads()))
    yield _native_code()


def _native_code() -> Finding:
    """Whether the pre-decoder's C++ can be compiled and loaded here."""
    from predecoder.native import NativeUnavailableError, load_library

    try:
        for name in ("network", "matching", "residual"):
            load_library(name)
    except NativeUnavailableError as error:
        reason = " ".join(str(error).split())
        return Finding("processor", "native code", f"no, Python does its work more slowly: {reason}", "note")
    return Finding("processor", "native code", "compiled for this machine")


def _cpu_flags() -> set[str]:
    """Flags of the first processor in /proc/cpuinfo; empty where there is no such file."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return set()
    for line in info.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            major, minor = torch.cuda.get_device_capability(index)
            yield Finding("gpu", f"cuda:{index}", f"{torch.cuda.get_device_name(index)} (sm_{major}{minor})")
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


def _weights() -> Iterator[Finding]:
    import predecoder

    folder = Path(predecoder.__file__).parent / "weights"
    names = sorted({path.stem for path in folder.glob("*.safetensors")} | {"default"})
    for name in names:
        try:
            weights = predecoder.resolve_weights(name)
        except (ValueError, OSError) as error:
            yield Finding("weights", name, " ".join(str(error).split()), "problem")
        else:
            yield Finding("weights", name, f"sha256 {weights.sha256}, {weights.path}")


def _decoders() -> Iterator[Finding]:
    from global_decoders import decoder_names, is_available, make_decoder

    for name in decoder_names():
        if is_available(name):
            yield Finding("decoders", name, f"yes, and as predecoder+{name}")
            continue
        try:
            make_decoder(name)
        except ImportError as error:
            yield Finding("decoders", name, " ".join(str(error).split()), "note")
