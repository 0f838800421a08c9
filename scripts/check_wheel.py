"""Decodes with an installed wheel, and makes sure that it is its files that do, not a source tree's.

python scripts/check_wheel.py
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np

import _qecpipe
import qecpipe

SHOTS = 2000


def main() -> None:
    """Fails with a message where something is missing or wrong."""
    home = Path(str(importlib.metadata.distribution("qecpipe").locate_file("")))
    for module in (_qecpipe, qecpipe):
        assert Path(str(module.__file__)).parent == home, f"{module.__file__} is not of the wheel in {home}"
    print(f"_qecpipe {_qecpipe.VERSION}, {_qecpipe.COMPILER}, runs {', '.join(_qecpipe.instruction_sets())}")

    circuit = qecpipe.memory_circuit(distance=5, rounds=5, noise=qecpipe.depolarizing(0.006))
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    packed, truth = circuit.compile_detector_sampler(seed=1).sample(
        SHOTS, separate_observables=True, bit_packed=True
    )
    errors = {}
    for name, weights in (
        ("pymatching", "default"),
        ("predecoder+pymatching", "fast"),
        ("neural-matching", "realtime"),
    ):
        compiled = qecpipe.make_decoder(name, weights=weights).compile_decoder_for_dem(dem=dem)
        predictions = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        errors[name] = int(np.any(predictions != truth, axis=1).sum())
        print(f"{name}: {errors[name]} errors in {SHOTS} shots")
    assert 0 < errors["neural-matching"] < errors["pymatching"] < SHOTS // 10, errors


if __name__ == "__main__":
    main()
