"""The committed frames still parse to the same fields, and the encoder still makes the same bytes."""

from __future__ import annotations

import importlib.util
import json
import struct
import zlib
from pathlib import Path

import pytest

from decoder_service.protocol import Frame, FrameParser, FrameType, encode_frame

GOLDEN = Path(__file__).with_name("golden_frames.json")
ENTRIES = json.loads(GOLDEN.read_text())
SCRIPT = Path(__file__).resolve().parents[3] / "scripts/benchmarks/service/golden_frames.py"


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["name"] for entry in ENTRIES])
def test_frame(entry: dict) -> None:
    frame = Frame(
        FrameType[entry["type"]],
        entry["stream"],
        entry["epoch"],
        entry["sequence"],
        bytes.fromhex(entry["payload"]),
        entry["flags"],
    )
    data = bytes.fromhex(entry["frame"])
    assert encode_frame(frame) == data
    assert FrameParser().feed(data) == [frame]


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["name"] for entry in ENTRIES])
def test_header_is_where_the_page_says(entry: dict) -> None:
    """Reads the byte table of docs/protocol.md directly, independently of the package's struct."""
    data = bytes.fromhex(entry["frame"])
    little = lambda at, size: int.from_bytes(data[at : at + size], "little")  # noqa: E731
    assert data[0:2] == b"QD"
    assert data[2] == 2
    assert data[3] == FrameType[entry["type"]]
    assert (little(4, 4), little(8, 4), little(16, 8)) == (
        entry["stream"],
        entry["epoch"],
        entry["sequence"],
    )
    assert little(12, 4) == len(data) - 32
    assert little(24, 4) == zlib.crc32(data[32:])
    assert little(28, 2) == entry["flags"]
    assert struct.unpack_from("<H", data, 30)[0] == zlib.crc32(data[:30]) % 65536


def test_every_type_has_a_frame() -> None:
    assert {entry["type"] for entry in ENTRIES} == {kind.name for kind in FrameType}


def test_script_regenerates_the_file() -> None:
    spec = importlib.util.spec_from_file_location("golden_frames", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.golden_text() == GOLDEN.read_text()
