"""One import for a notebook: the names that README and tutorials use.

    import qecpipe

    circuit = qecpipe.memory_circuit(distance=5, rounds=5, noise=qecpipe.depolarizing(0.006))
    decoder = qecpipe.make_decoder("neural-matching", weights="fast-matching")

Names are imported when they are first used, so `import qecpipe` is immediate. They live in `qec`,
`global_decoders`, `predecoder`, `noise_learning`, `decoder_service` and `sims`, which stay importable; other
projects on PyPI install packages of some of those names, and `qecpipe doctor` says whose are found.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decoder_service import DecoderClient, StreamDecoder
    from noise_learning import learn_noise
    from qec import (
        DecodingProblem,
        depolarizing,
        iter_shots,
        load_noise,
        memory_circuit,
        si1000,
        stim_memory_circuit,
        write_shots,
    )
    from sims import make_decoder, sinter_decoders

    __version__: str

__all__ = [
    "DecoderClient",
    "DecodingProblem",
    "StreamDecoder",
    "__version__",
    "depolarizing",
    "iter_shots",
    "learn_noise",
    "load_noise",
    "make_decoder",
    "memory_circuit",
    "si1000",
    "sinter_decoders",
    "stim_memory_circuit",
    "write_shots",
]

_QEC = (
    *("DecodingProblem", "depolarizing", "iter_shots", "load_noise"),
    *("memory_circuit", "si1000", "stim_memory_circuit", "write_shots"),
)
_HOME = {
    **dict.fromkeys(_QEC, "qec"),
    **dict.fromkeys(("make_decoder", "sinter_decoders"), "sims"),
    **dict.fromkeys(("DecoderClient", "StreamDecoder"), "decoder_service"),
    "learn_noise": "noise_learning",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("qecpipe")
    if name not in _HOME:
        raise AttributeError(f"qecpipe has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
