"""The third coordinate of a detector is its time; those after it are annotations, and change nothing."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import stim

from decoder_service.streaming import StreamDecoder
from global_decoders.windows import LayeredDem, WindowedDecoder

from ..conftest import Kit

ROUNDS = 16
Annotation = Callable[[list[float], int], list[float]]


def _circuit(rounds: int = ROUNDS) -> stim.Circuit:
    return stim.Circuit.generated(
        "surface_code:rotated_memory_x",
        distance=3,
        rounds=rounds,
        after_clifford_depolarization=0.01,
        before_measure_flip_probability=0.01,
    )


def _annotated(circuit: stim.Circuit, annotate: Annotation, *, shift: tuple[float, ...]) -> stim.Circuit:
    """Detectors with more coordinates, given theirs and their number, and another SHIFT_COORDS."""
    changed = stim.Circuit()
    for k, op in enumerate(circuit[j] for j in range(len(circuit))):
        if isinstance(op, stim.CircuitRepeatBlock):
            body = _annotated(op.body_copy(), annotate, shift=shift)
            changed.append(stim.CircuitRepeatBlock(op.repeat_count, body))
        elif op.name == "DETECTOR":
            changed.append("DETECTOR", op.targets_copy(), annotate(op.gate_args_copy(), k))
        elif op.name == "SHIFT_COORDS":
            changed.append("SHIFT_COORDS", [], shift)
        else:
            changed.append(op)
    return changed


ANNOTATIONS = {
    "a colour": (lambda where, k: [*where, k % 3], (0, 0, 1)),
    "a colour and a basis": (lambda where, k: [*where, k % 3, k % 2], (0, 0, 1, 0, 0)),
    "the round": (lambda where, k: [*where, 0], (0, 0, 1, 1)),
    "minus the time": (lambda where, k: [*where, -where[2]], (0, 0, 1, -1)),
    "a longer shift": (lambda where, k: where, (0, 0, 1, 7, 7)),
}


@functools.cache
def _plain() -> tuple[np.ndarray, np.ndarray, int]:
    """Detections of the circuit without annotations, its predictions in windows, and its layers' cycle."""
    dem = _circuit().detector_error_model(decompose_errors=True)
    detections, _, _ = dem.compile_sampler(seed=1).sample(50)
    return detections, _in_windows(dem, detections), LayeredDem.from_dem(dem).cycle


def _in_windows(dem: stim.DetectorErrorModel, detections: np.ndarray) -> np.ndarray:
    compiled = WindowedDecoder(commit=3, buffer=3).compile_decoder_for_dem(dem=dem)
    packed = np.packbits(detections, axis=1, bitorder="little")
    return compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_change_no_window_and_no_stream(name: str) -> None:
    detections, whole, cycle = _plain()
    annotated = _annotated(_circuit(), ANNOTATIONS[name][0], shift=ANNOTATIONS[name][1])
    other = annotated.detector_error_model(decompose_errors=True)
    assert np.array_equal(whole, _in_windows(other, detections))
    layers = LayeredDem.from_dem(other)
    assert (layers.num_layers, layers.cycle) == (ROUNDS + 1, cycle)
    for given in (other, annotated):
        decoder = StreamDecoder(given, commit=3, buffer=3, input="detectors")
        for shot, bits in enumerate(detections[:10]):
            assert _streamed(decoder, bits) == whole[shot].tobytes()


def test_measurements_of_an_annotated_circuit_are_streamed_for_any_number_of_rounds() -> None:
    annotated = _annotated(_circuit(), ANNOTATIONS["a colour"][0], shift=(0, 0, 1))
    decoder = StreamDecoder(annotated, commit=3, buffer=3)
    for rounds in (12, 48):
        circuit = _circuit(rounds)
        dem = circuit.detector_error_model(decompose_errors=True)
        measured = circuit.compile_sampler(seed=rounds).sample(10)
        detections = circuit.compile_m2d_converter().convert(measurements=measured, append_observables=False)
        whole = WindowedDecoder(commit=3, buffer=3).compile_decoder_for_dem(dem=dem)
        expected = whole.decode_shots_bit_packed(
            bit_packed_detection_event_data=np.packbits(detections, axis=1, bitorder="little")
        )
        for bits, answer in zip(measured, expected, strict=True):
            assert _streamed(decoder, bits, rounds=rounds) == answer.tobytes()


def test_an_iteration_may_hold_several_layers() -> None:
    """REPEAT bodies of two rounds, whose detectors have times 0 and 1 before SHIFT_COORDS(0, 0, 2)."""
    single = _circuit(ROUNDS)
    parts = [single[k] for k in range(len(single))]
    (at,) = (k for k, op in enumerate(parts) if isinstance(op, stim.CircuitRepeatBlock))
    block = parts[at]
    assert isinstance(block, stim.CircuitRepeatBlock)
    assert block.repeat_count % 2 == 1
    first = stim.Circuit()
    for op in block.body_copy():
        if isinstance(op, stim.CircuitInstruction) and op.name != "SHIFT_COORDS":
            first.append(op)
    # After the shift a round's detectors have time 0; those of the second round of the body have time 1.
    second = _annotated(first, lambda where, k: [*where[:2], where[2] + 1], shift=())
    double = stim.Circuit()
    for op in [*parts[:at], *block.body_copy()]:
        double.append(op)
    double.append("SHIFT_COORDS", [], [0, 0, 1])
    body = first + second
    body.append("SHIFT_COORDS", [], [0, 0, 2])
    double.append(stim.CircuitRepeatBlock((block.repeat_count - 1) // 2, body))
    for op in parts[at + 1 :]:
        # After the last shift the last layer has time 0, not 1 as in what Stim writes.
        if isinstance(op, stim.CircuitInstruction) and op.name == "DETECTOR":
            double.append("DETECTOR", op.targets_copy(), [*op.gate_args_copy()[:2], 0.0])
        else:
            double.append(op)
    assert double.num_detectors == single.num_detectors
    dems = [c.detector_error_model(decompose_errors=True) for c in (single, double)]
    detections, _, _ = dems[0].compile_sampler(seed=3).sample(50)
    packed = np.packbits(detections, axis=1, bitorder="little")
    answers = [
        WindowedDecoder(commit=2, buffer=3)
        .compile_decoder_for_dem(dem=dem)
        .decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        for dem in dems
    ]
    assert np.array_equal(answers[0], answers[1])
    decoder = StreamDecoder(double, commit=2, buffer=3, input="detectors")
    for bits, answer in zip(detections[:10], answers[1], strict=False):
        assert _streamed(decoder, bits) == answer.tobytes()


def test_layers_may_share_a_time() -> None:
    """Without the last SHIFT_COORDS the last two layers have one time: they are two all the same."""
    circuit = _circuit(12)
    where = circuit.get_detector_coordinates()
    shared = stim.Circuit()
    count = 0
    for op in circuit.flattened():
        assert isinstance(op, stim.CircuitInstruction)
        if op.name == "DETECTOR":
            x, y, t = where[count]
            shared.append("DETECTOR", op.targets_copy(), [x, y, min(t, 11)])
            count += 1
        else:
            shared.append(op)
    dems = [c.detector_error_model(decompose_errors=True) for c in (circuit, shared)]
    assert [LayeredDem.from_dem(dem).num_layers for dem in dems] == [13, 13]
    measured = circuit.compile_sampler(seed=2).sample(10)
    decoders = [StreamDecoder(c, commit=3, buffer=3) for c in (circuit, shared)]
    for bits in measured:
        assert len({_streamed(decoder, bits, rounds=12) for decoder in decoders}) == 1


def test_detectors_of_one_place_and_time_are_told_apart_by_their_order() -> None:
    """Where places have one detector or two at a time, layers are the times."""
    lines = [f"detector(0, 0, {t}, {k}) D{2 * t + k}" for t in range(12) for k in (0, 1)]
    lines += ["detector(1, 0, 5) D24", "error(0.1) D24"]
    lines += [f"error(0.1) D{2 * t + k} D{2 * t + k + 2} L{k}" for t in range(11) for k in (0, 1)]
    lines += [f"error(0.1) D{k}\nerror(0.1) D{22 + k}" for k in (0, 1)]
    layers = LayeredDem.from_dem(stim.DetectorErrorModel("\n".join(lines)))
    assert layers.num_layers == 12
    assert layers.positions == ((0.0, 0.0, 0), (0.0, 0.0, 1), (1.0, 0.0, 0))


def _streamed(decoder: StreamDecoder, bits: np.ndarray, *, rounds: int = ROUNDS) -> bytes:
    return Kit.stream(decoder, bits, rounds)[0].frame
