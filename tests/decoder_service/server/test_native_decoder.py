"""The stream itself in the data plane, and the same stream through Python: the same frames."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import pytest
import stim

import _qecpipe
from decoder_service.building import build_decoder
from decoder_service.protocol import (
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Open,
    decode_commit,
    encode_block,
    encode_frame,
    without_times,
)
from decoder_service.server.server_stream import ServerStream
from decoder_service.store import StreamHead

OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


class Bench:
    """A session with one stream, decoded by the stream itself or through Python."""

    def __init__(self, options: Open, text: str, *, python: bool) -> None:
        decoder = build_decoder(options, text)
        self.session = _qecpipe.Session()
        head = StreamHead(0, options, 256, 10**9)
        self.stream = ServerStream(head, decoder, cast(Any, None), self.session)
        shape = self.shape = decoder.shape
        if python:
            widths = (list(shape.layers), shape.final_bits, shape.num_observables)
            self.stream.native = _qecpipe.PythonDecoder(
                decoder=decoder, layers=widths[0], final_bits=widths[1], num_observables=widths[2]
            )
        assert isinstance(self.stream.native, _qecpipe.StreamRowDecoder) != python
        self.session.open(
            0,
            self.stream.native,
            layers=list(shape.layers),
            final_bits=shape.final_bits,
            num_observables=shape.num_observables,
            commit=shape.commit,
            window=256,
            gap_deadline_ns=10**9,
        )
        self.session.announce(0)
        self.blocked = 0

    def feed(self, *frames: Frame) -> list[Frame]:
        """What is said to these, without times."""
        self.session.feed(b"".join(map(encode_frame, frames)))
        more = True
        while more:
            more = self.session.work()
            for event in self.session.take_events():
                if isinstance(event, _qecpipe.Blocked):
                    self.blocked += 1
                    self.stream.build_missing()
                    self.session.unblock(0)
                    more = True
                elif isinstance(event, _qecpipe.Swapped):
                    self.stream.swapped()
        items = FrameParser().feed(self.session.take_output())
        said = [item for item in items if isinstance(item, Frame) and item.type != FrameType.CREDIT]
        return list(map(without_times, said))

    def reload(self, circuit: stim.Circuit) -> None:
        model = self.stream.decoder.inner.prepare(
            circuit.detector_error_model(decompose_errors=True), rounds=self.shape.rounds
        )
        self.stream.prepare(model)
        self.session.swap(0, "ab" * 32, "dem")


def blocks(kit, shot: np.ndarray, epoch: int, shape, rng: random.Random, *, lost: float) -> list[Frame]:
    """A shot in blocks of any sizes, some rounds of it erased."""
    rows, at, made = kit.rows(shot, shape), 0, []
    while at < len(rows):
        count = rng.randint(1, len(rows) - at)
        erased = [rng.random() < lost and at + k < shape.rounds for k in range(count)]
        final = at + count > shape.rounds
        payload = encode_block(rows[at : at + count], erased if any(erased) else None)
        kind = FrameType.FINAL if final else FrameType.ROUNDS
        made.append(Frame(kind, 0, epoch, at, payload, Flag.ERASED if any(erased) else 0))
        at += count
    return made


MATCHING = [
    (name, None, mode, measured)
    for name in ("pymatching", "pymatching-correlated")
    for mode in ("sliding", "parallel")
    for measured in (True, False)
]
NEURAL = [("neural-matching", "realtime", "sliding", True), ("pymatching", "realtime", "parallel", False)]


@pytest.mark.parametrize(("decoder", "predecoder", "mode", "measured"), [*MATCHING, *NEURAL])
def test_the_same_frames_as_through_python(
    kit, decoder: str, predecoder: str | None, mode: str, measured: bool
) -> None:
    """Blocks, erased rounds whose windows are not built, a RELOAD in mid-shot, and what follows it; with gaps
    where the decoder has them."""
    text = kit.text if measured else str(kit.circuit.detector_error_model(decompose_errors=True))
    given = {"kind": "circuit" if measured else "dem", "mode": mode, "decoder": decoder}
    given |= {} if predecoder is None else {"predecoder": predecoder}
    gap = decoder != "pymatching"
    given |= {"gap": gap}
    options = Open(model="0" * 64, **given, **kit.options)  # pyright: ignore[reportArgumentType]
    native, python = Bench(options, text, python=False), Bench(options, text, python=True)
    rng = random.Random(3)
    shots = kit.sample(24, seed=71) if measured else _detections(kit, native.shape)
    gaps: list[bool] = []
    for epoch, shot in enumerate(shots):
        for number, frame in enumerate(blocks(kit, shot, epoch, native.shape, rng, lost=0.1)):
            if epoch == 12 and number == 1:
                native.reload(kit.other)
                python.reload(kit.other)
            said = native.feed(frame)
            assert said == python.feed(frame)
            gaps += [bool(one.flags & Flag.GAP) for one in said if one.type == FrameType.RESULT]
    assert len(gaps) == len(shots)
    assert any(gaps) == gap
    assert native.stream.decoder.model_id == python.stream.decoder.model_id
    assert native.session.stats(0) == python.session.stats(0)
    assert native.session.outputs(0) >= 3 * len(shots)
    assert python.blocked == 0


def _detections(kit, shape) -> np.ndarray:
    return kit.circuit.compile_detector_sampler(seed=5).sample(24).astype(np.uint8)


def test_a_reload_brings_its_noise_features(kit) -> None:
    """A noise-conditioned network decodes on as if the stream had been opened with the new model."""
    options = Open(
        model="0" * 64, kind="circuit", decoder="neural-matching", predecoder="fast-matching", **kit.options
    )
    reloaded, fresh, old = (
        Bench(options, text, python=False) for text in (kit.text, str(kit.other), kit.text)
    )
    reloaded.reload(kit.other)
    random_bits = np.random.default_rng(5).integers(0, 2, size=(20, kit.circuit.num_measurements))
    answers: list[list[bytes]] = [[], [], []]
    for epoch, shot in enumerate(random_bits.astype(np.uint8)):
        frames = blocks(kit, shot, epoch, fresh.shape, random.Random(epoch), lost=0)
        for bench, found in zip((reloaded, fresh, old), answers, strict=True):
            said = [reply for frame in frames for reply in bench.feed(frame)]
            found += [decode_commit(one.payload).frame_bits for one in said if one.type in OUTPUTS]
    assert answers[0] == answers[1] != answers[2]
    assert len(answers[0]) >= 4 * len(random_bits)
