"""What the tests of sims share: a decoder with a pre-decoder's shape and a way to run the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sinter
import stim

from global_decoders import make_decoder
from sims.cli import main

RunCli = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


class FirstDetectorPredecoded(sinter.Decoder):
    """A pre-decoder that resolves nothing but a real shape: it clears detector 0 and flips nothing.

    Its answers are those of PyMatching on shots without detector 0, so that every count of a sampler
    can be worked out independently.
    """

    def compile_decoder_for_dem(self, *, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
        return CompiledFirstDetector(make_decoder("pymatching").compile_decoder_for_dem(dem=dem), dem)


class CompiledFirstDetector(sinter.CompiledDecoder):
    batch_shots = 64

    def __init__(self, global_decoder: sinter.CompiledDecoder, dem: stim.DetectorErrorModel) -> None:
        self.global_decoder = global_decoder
        self.flip_bytes = (dem.num_observables + 7) // 8

    def propose(self, packed: np.ndarray) -> np.ndarray:
        return packed[:, :1] & 1

    def apply(self, packed: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        residual = packed.copy()
        residual[:, :1] ^= moves
        return residual, np.zeros((len(packed), self.flip_bytes), np.uint8)

    def decode_to_residual(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.apply(packed, self.propose(packed))

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        residual, flips = self.decode_to_residual(bit_packed_detection_event_data)
        return flips ^ self.global_decoder.decode_shots_bit_packed(bit_packed_detection_event_data=residual)


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> RunCli:
    """Run a `qecpipe` command line in this process; gives (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def refused(run_cli: RunCli) -> Refused:
    """Run a command line that must fail, with one short line and no other output; gives the line."""

    def run(*arguments: object) -> str:
        code, out, err = run_cli(*arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert len(err) < 420
        return err

    return run


@pytest.fixture(scope="session")
def two_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights of two small untrained networks that seldom propose a move, so that decoding stays quick."""
    import torch

    from predecoder import save_weights
    from predecoder.network import DenseConfig, make_network

    folder = tmp_path_factory.mktemp("weights")
    paths = (folder / "one.safetensors", folder / "two.safetensors")
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        network = make_network(DenseConfig(channels=8, residual_blocks=1))
        with torch.no_grad():
            network.head.bias.sub_(10.0)  # type: ignore[union-attr]
        save_weights(network, path, {})
    return paths


@pytest.fixture
def predecoded() -> sinter.Decoder:
    return FirstDetectorPredecoded()
