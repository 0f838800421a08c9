"""The C client of the examples, which was written from docs/protocol.md, against a server."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).resolve().parents[3] / "decoder_service/examples/client.c"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    built = tmp_path_factory.mktemp("client") / "client"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1"]
    subprocess.run([compiler, *flags, "-o", str(built), str(SOURCE)], check=True)
    return built


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_page_suffices_for_a_client_in_c(serve, kit, client: Path, tmp_path: Path, rows: int) -> None:
    """However it cuts shots into blocks, it prints what a decoder in process commits."""
    shots = kit.sample(12, seed=70)
    circuit = tmp_path / "circuit.stim"
    circuit.write_text(kit.text)
    b8 = tmp_path / "shots.b8"
    b8.write_bytes(np.packbits(shots, axis=1, bitorder="little").tobytes())
    digest = hashlib.sha256(kit.text.encode()).hexdigest()
    command = [client, serve().address, circuit, digest, str(kit.options["commit"]), b8, str(rows)]
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    expected = [
        f"{'RESULT' if final else 'COMMIT'} shot={epoch} upto={upto} flips={flips.hex()}"
        + (f" observables={readout.hex()}" if readout else "")
        for epoch, final, upto, flips, readout, *_ in kit.in_process(shots)
    ]
    assert done.stdout.splitlines() == expected


def test_what_the_server_refuses_is_said(serve, kit, client: Path, tmp_path: Path) -> None:
    circuit = tmp_path / "circuit.stim"
    circuit.write_text("not a circuit")
    digest = hashlib.sha256(circuit.read_bytes()).hexdigest()
    command = [client, serve().address, circuit, digest, "2", circuit, "1"]
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert b"message" in done.stderr
