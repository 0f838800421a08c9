"""Microseconds a round of decoders with a network on a device, beside matching on one core of that machine.

Of every patch and error rate: the engine alone (packed shots to logits on the host), `neural-matching`, and
`predecoder+pymatching`; PyMatching and correlated PyMatching, in one thread. For batches of 1, 16 and 1,024
shots all take turns on the same shots, in an order that rotates, warm. Matchers get no more of a batch's
shots than half a second allows: their time is proportional to the shots.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import stim

from global_decoders import compile_normal_form, make_decoder
from predecoder import NeuralMatchingDecoder, PredecodedDecoder, load_bundle
from predecoder.inference import DeviceEngine, Engine, EngineOptions, make_engine
from qec import DecodingProblem, normal_form
from scripts.gpu.kit import Deadline, Report, about, flags, memory

__all__ = ["main"]

CELLS = (
    (13, 0.006), (31, 0.006), (5, 0.006), (21, 0.006), (9, 0.006), (17, 0.006),
    (13, 0.003), (5, 0.003), (9, 0.003), (21, 0.003), (17, 0.003), (31, 0.003),
)  # fmt: skip
"""Distances and error rates, what matters most first: time may run out."""
BATCHES = (1, 16, 1024)
SMALL_CELLS, SMALL_BATCHES = ((3, 0.006), (3, 0.003)), (1, 8)
_SEED = 20_261_128
_TURNS = {1: 60, 16: 20, 1024: 7}
_SECONDS_OF_MATCHER = 0.5


@dataclass
class Contender:
    """A decoder that takes turns.

    Attributes:
        shots: that it gets of a batch at most.
        times: seconds of its turns.
    """

    name: str
    run: Callable[[np.ndarray], object]
    shots: int
    times: list[float]


def main() -> int:
    """Measure until the time is over; returns 0 if every cell that was begun has been measured."""
    parser = flags(__doc__ or "", seconds=170)
    parser.add_argument("--weights", default="accurate")
    parser.add_argument("--precision", nargs="*", default=["float32", "bfloat16"])
    given = parser.parse_args()
    deadline = Deadline(given.seconds)
    weights = load_bundle(given.weights).file
    report = Report(
        given.out / "latency.json", about=about(given.device), weights=given.weights, sha256=weights.sha256
    )
    cells, batches = (SMALL_CELLS, SMALL_BATCHES) if given.small else (CELLS, BATCHES)
    failures = 0
    for distance, p in cells:
        if deadline.left < (0.25 if distance > 20 else 0.1) * given.seconds:
            print(f"no time left for d={distance} p={p:g}", flush=True)
            continue
        begun = time.monotonic()
        circuit, dem = memory(distance, p)
        packed, _ = circuit.compile_detector_sampler(seed=_SEED).sample(
            max(batches), separate_observables=True, bit_packed=True
        )
        try:
            contenders = list(_contenders(dem, given, packed))
        except Exception as error:  # noqa: BLE001 - said, and the next cell is measured
            failures += 1
            report.add(d=distance, p=p, error=f"{type(error).__name__}: {error}")
            continue
        print(f"d={distance} p={p:g}: built in {time.monotonic() - begun:.1f} s", flush=True)
        for batch in batches:
            shots = packed[:batch]
            failures += _measure(report, contenders, shots, distance, p, deadline, small=given.small)
    return min(failures, 1)


def _contenders(dem: stim.DetectorErrorModel, given, packed: np.ndarray) -> Iterator[Contender]:
    """Those with a network in every precision that the device has, and the matchers."""
    normal, most = normal_form(dem), len(packed)
    for name in ("pymatching", "pymatching-correlated"):
        compiled = compile_normal_form(make_decoder(name), normal)
        run = _decoding(compiled)
        run(packed[:1])
        begun = time.perf_counter()
        run(packed[:4])
        one = (time.perf_counter() - begun) / 4
        yield Contender(name, run, max(1, min(most, int(_SECONDS_OF_MATCHER / one))), [])
    problem, bundle = DecodingProblem.from_normal_form(normal), load_bundle(given.weights)
    for precision in given.precision:
        engine = make_engine(problem, bundle.network, EngineOptions(given.device, precision=precision))
        yield Contender(f"engine {precision}", _running(engine), most, [])
        options = {"weights": given.weights, "device": given.device, "precision": precision}
        matching = NeuralMatchingDecoder(**options).compile_normal_form(normal)
        yield Contender(f"neural-matching {precision}", _decoding(matching), most, [])
        predecoded = PredecodedDecoder(make_decoder("pymatching"), **options).compile_normal_form(normal)
        yield Contender(f"predecoder+pymatching {precision}", _decoding(predecoded), most, [])


def _running(engine: Engine) -> Callable[[np.ndarray], object]:
    """Logits in the host's memory, as matchings take them: int8 where devices hand those down."""
    if isinstance(engine, DeviceEngine):
        return lambda packed: sum(1 for _ in engine.batches(packed))
    return engine


def _decoding(compiled) -> Callable[[np.ndarray], object]:
    return lambda packed: compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)


def _measure(
    report: Report,
    contenders: list[Contender],
    packed: np.ndarray,
    distance: int,
    p: float,
    deadline: Deadline,
    *,
    small: bool,
) -> int:
    """One batch's rows; returns how many contenders failed."""
    working, failed = [], 0
    for one in contenders:
        one.times = []
        try:
            one.run(packed[: one.shots])  # warm
            one.run(packed[: one.shots])
        except Exception as error:  # noqa: BLE001 - said, and the others are measured
            failed += 1
            said = f"{type(error).__name__}: {error}"
            report.add(d=distance, p=p, batch=len(packed), decoder=one.name, error=said)
        else:
            working.append(one)
    turns = 3 if small else next(turns for size, turns in _TURNS.items() if len(packed) <= size)
    for turn in range(turns):
        if turn > 2 and deadline.left < 0:
            break
        for k in range(len(working)):
            one = working[(turn + k) % len(working)]
            given = packed[: one.shots] if len(packed) > 1 else packed
            begun = time.perf_counter()
            one.run(given)
            one.times.append((time.perf_counter() - begun) / len(given))
    for one in working:
        us = 1e6 * np.array(one.times) / distance
        report.add(
            d=distance,
            p=p,
            batch=len(packed),
            decoder=one.name,
            us_per_round=float(np.median(us)),
            p10=float(np.quantile(us, 0.1)),
            p90=float(np.quantile(us, 0.9)),
            turns=len(us),
            shots=min(one.shots, len(packed)),
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
