"""Blocks to a running service: any cut, any damage, connections lost in mid-shot; the same outputs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from scripts.benchmarks.service.noisy import NoisyClient

PATIENT = {"gap_deadline": 60.0, "faults": 10**6}


def pieces(kit, shots: np.ndarray, shape, rng: random.Random) -> list[bytes]:
    """All rows of the shots, one after the other, cut between rows into pieces of any lengths."""
    rows = [row for shot in shots for row in kit.rows(shot, shape)]
    cut: list[bytes] = []
    while rows:
        count = rng.choice([1, 2, 3, 5, 8, 20])
        cut.append(b"".join(rows[:count]))
        del rows[:count]
    return cut


@pytest.mark.parametrize("window", [3, 64])
def test_any_cut_gives_the_outputs_of_single_rounds(serve, kit, window: int) -> None:
    shots = kit.sample(30, seed=80)
    with serve(worker={"window": window}).client() as client:
        stream = client.open(kit.text, **kit.options)
        for piece in pieces(kit, shots, stream.shape, random.Random(window)):
            client.push_rounds(stream, piece)
        while sum(out.final for out in stream.outputs) < len(shots):
            client.sync(stream)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)
        assert stream.in_flight == 0


@pytest.mark.parametrize("seed", range(2))
def test_mistreated_blocks_cost_nothing(serve, kit, seed: int) -> None:
    shots = kit.sample(60, seed=81 + seed)
    with NoisyClient(serve(worker=PATIENT).address, resend_after=0.02) as client:
        stream = client.open(kit.text, **kit.options)
        client.rng = random.Random(seed)
        for piece in pieces(kit, shots, stream.shape, random.Random(seed)):
            client.push_rounds(stream, piece)
        while sum(out.final for out in stream.outputs) < len(shots):
            client.sync(stream)
        client.rng = None
        stats = client.stats(stream)
        assert min(stats.duplicates, stats.nacks) > 3
        assert (stats.erased, stats.failed, stats.conflicts) == (0, 0, 0)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


def test_connections_lost_in_mid_shot_cost_nothing(serve, kit) -> None:
    shots = kit.sample(40, seed=85)
    rng = random.Random(85)
    with serve(worker=PATIENT).client() as client:
        stream = client.open(kit.text, **kit.options)
        for number, piece in enumerate(pieces(kit, shots, stream.shape, rng)):
            if number % 4 == 3:
                client.sock.shutdown(2)
                client.reconnect()
            client.push_rounds(stream, piece)
        while sum(out.final for out in stream.outputs) < len(shots):
            client.sync(stream)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots)


def test_erased_rounds_in_blocks_are_decoded_as_such(serve, kit) -> None:
    shots = kit.sample(6, seed=86)
    lost = {(1, 2), (3, 0), (3, 1)}
    with serve().client() as client:
        stream = client.open(kit.text, **kit.options)
        for epoch, shot in enumerate(shots):
            rows = kit.rows(shot, stream.shape)
            erased = [(epoch, at) in lost for at in range(len(rows))]
            client.push_rounds(stream, b"".join(rows), erased if any(erased) else None)
        while sum(out.final for out in stream.outputs) < len(shots):
            client.sync(stream)
        assert kit.summaries(list(stream.outputs)) == kit.in_process(shots, erased=lost)
