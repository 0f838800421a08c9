"""Relay-BP (arXiv:2506.01779): chained belief propagation with disordered memory strengths."""

import dataclasses

import numpy as np
import relay_bp
import sinter
from scipy.sparse import csc_matrix

from global_decoders.compiling import NormalFormDecoder
from global_decoders.packed_shots import PackedShotFormat
from qec import NormalForm


@dataclasses.dataclass(frozen=True)
class RelayBpDecoder(NormalFormDecoder):
    """Relay-BP on the full hypergraph, the package's settings for circuit noise.

    Args:
        gamma0: memory strength of the first, ordered leg.
        pre_iter: BP iterations of the first leg.
        num_sets: legs with random memory strengths.
        set_max_iter: BP iterations of each further leg.
        gamma_range: interval the random strengths are drawn from.
        stop_nconv: solutions to collect before the likeliest is returned.
        seed: of the memory strengths. They are drawn once, when compiling: the library's own draw
            continues from shot to shot, so a shot's answer would depend on the shots before it.
    """

    gamma0: float = 0.1
    pre_iter: int = 60
    num_sets: int = 60
    set_max_iter: int = 60
    gamma_range: tuple[float, float] = (-0.24, 0.66)
    stop_nconv: int = 5
    seed: int = 0

    def compile_normal_form(self, normal: NormalForm) -> "CompiledRelayBp":
        """Components of a mechanism fire together."""
        faults = normal.hyperedges
        strengths = np.random.default_rng(self.seed).uniform(
            *self.gamma_range, size=(self.num_sets, len(faults))
        )
        decoder = relay_bp.RelayDecoderF64(
            faults.check_matrix().tocsr(),
            error_priors=faults.probabilities,
            gamma0=self.gamma0,
            pre_iter=self.pre_iter,
            num_sets=self.num_sets,
            set_max_iter=self.set_max_iter,
            explicit_gammas=strengths,
            stop_nconv=self.stop_nconv,
        )
        runner = relay_bp.ObservableDecoderRunner(
            decoder, csc_matrix(faults.observable_flips.T).tocsr(), include_decode_result=False
        )
        return CompiledRelayBp(runner, shot_format=PackedShotFormat.of_faults(faults))


class CompiledRelayBp(sinter.CompiledDecoder):
    """Decodes a batch at once on one thread (parallel work is sinter's, over processes)."""

    def __init__(self, runner: relay_bp.ObservableDecoderRunner, *, shot_format: PackedShotFormat) -> None:
        self.runner = runner
        self.shot_format = shot_format

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8))."""
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        num_observables = self.shot_format.num_observables
        if not (len(packed) and num_observables and self.shot_format.possible.any()):
            # The library panics on an empty batch and on an empty matrix.
            return np.zeros((len(packed), -(-num_observables // 8)), dtype=np.uint8)
        flips = self.runner.decode_observables_batch(
            self.shot_format.unpacked(packed), parallel=False, progress_bar=False
        )
        return np.packbits(flips, axis=1, bitorder="little")
