"""Our circuits against a second implementation of the paper's definitions, mechanism by mechanism.

It builds the memory experiment of arXiv:2604.12841 as its reference implementation does (rows down, columns
to the right, last round without noise, X basis, orientation XV) with nothing of `qec` in it.
"""

from collections.abc import Sequence

import pytest
import stim

from qec import depolarizing, memory_circuit

Point = tuple[int, int]
Detector = tuple[Point, int]
P = 0.006
_X_ORDER = ((-1, 1), (1, 1), (-1, -1), (1, -1))  # (down, right): NE, SE, NW, SW
_Z_ORDER = ((-1, 1), (-1, -1), (1, 1), (1, -1))  # NE, NW, SE, SW


def reference_circuit(d: int, rounds: int) -> tuple[stim.Circuit, list[Detector]]:
    """The circuit without coordinates, and where and when each of its detectors is."""
    data = [(2 * i + 1, 2 * j + 1) for i in range(d) for j in range(d)]
    points = [(i, j) for i in range(d + 1) for j in range(d + 1)]
    x = [(2 * i, 2 * j) for i, j in points if (i + j) % 2 == 0 and 0 < i < d]
    z = [(2 * i, 2 * j) for i, j in points if (i + j) % 2 == 1 and 0 < j < d]
    index = {q: k for k, q in enumerate((*data, *x, *z))}
    ancillas = len(x) + len(z)
    circuit, detectors = stim.Circuit(), list[Detector]()

    def numbers(qubits: Sequence[Point]) -> list[int]:
        return [index[q] for q in qubits]

    def rec(back: int) -> stim.GateTarget:
        return stim.target_rec(back)

    def one_round(p: float, *, first: bool) -> None:
        circuit.append("RX", numbers(x))
        circuit.append("Z_ERROR", numbers(x), 2 * p / 3)
        circuit.append("RZ", numbers(z))
        circuit.append("X_ERROR", numbers(z), 2 * p / 3)
        if not first:
            circuit.append("DEPOLARIZE1", numbers(data), p)
        for x_step, z_step in zip(_X_ORDER, _Z_ORDER, strict=True):
            pairs = [(q, (q[0] + x_step[0], q[1] + x_step[1])) for q in x]
            pairs += [((q[0] + z_step[0], q[1] + z_step[1]), q) for q in z]
            busy = [q for pair in pairs if set(pair) <= set(index) for q in pair]
            circuit.append("CX", numbers(busy))
            circuit.append("DEPOLARIZE2", numbers(busy), p)
            circuit.append("DEPOLARIZE1", numbers([q for q in index if q not in busy]), p)
        circuit.append("Z_ERROR", numbers(x), 2 * p / 3)
        circuit.append("MX", numbers(x))
        circuit.append("X_ERROR", numbers(z), 2 * p / 3)
        circuit.append("MZ", numbers(z))
        circuit.append("DEPOLARIZE1", numbers(data), p)

    circuit.append("RX", numbers(data))
    circuit.append("Z_ERROR", numbers(data), 2 * P / 3)
    for t in range(rounds):
        one_round(P if t < rounds - 1 else 0.0, first=t == 0)
        for k, q in enumerate((*x, *z) if t else x):
            before = [rec(k - 2 * ancillas)] if t else []
            circuit.append("DETECTOR", [rec(k - ancillas), *before])
            detectors.append((q, t))
    circuit.append("MX", numbers(data))
    for k, (i, j) in enumerate(x):
        support = [data.index(q) for q in data if abs(q[0] - i) == abs(q[1] - j) == 1]
        circuit.append("DETECTOR", [*(rec(n - d * d) for n in support), rec(k - ancillas - d * d)])
        detectors.append(((i, j), rounds))
    circuit.append("OBSERVABLE_INCLUDE", [rec(n - d * d) for n in range(d)], 0)
    return circuit, detectors


def mechanisms(circuit: stim.Circuit, detectors: Sequence[Detector]) -> dict[frozenset, float]:
    """Probability of every mechanism, named by the parts that Stim decomposes it into."""
    found: dict[frozenset, float] = {}
    for error in circuit.detector_error_model(decompose_errors=True).flattened():
        if isinstance(error, stim.DemInstruction) and error.type == "error":
            parts = frozenset(
                frozenset(
                    detectors[target.val] if target.is_relative_detector_id() else target.val
                    for target in part
                )
                for part in error.target_groups()
            )
            p, known = error.args_copy()[0], found.get(parts, 0.0)
            found[parts] = known * (1 - p) + p * (
                1 - known
            )  # the order of the parts does not tell them apart
    return {parts: p for parts, p in found.items() if p > 0}


@pytest.mark.parametrize(("distance", "rounds"), [(3, 2), (3, 3), (5, 5), (7, 4)])
def test_every_mechanism_is_the_references(distance: int, rounds: int) -> None:
    ours = memory_circuit(
        distance=distance, rounds=rounds, noise=depolarizing(P), orientation="XV", perfect_last_round=True
    )
    coordinates = ours.get_detector_coordinates()
    where = [coordinates[k] for k in range(ours.num_detectors)]
    expected = mechanisms(*reference_circuit(distance, rounds))
    found = mechanisms(ours, [((int(y), int(x)), int(t)) for x, y, t in where])
    assert found.keys() == expected.keys()
    assert [found[parts] for parts in expected] == pytest.approx(list(expected.values()), rel=1e-12)
