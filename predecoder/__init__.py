"""A CNN that removes local errors before a global decoder sees the syndrome, or weighs a matching of its own.

Decoders (`sinter.Decoder`): `PredecodedDecoder` is `predecoder+X`, `NeuralMatchingDecoder` is
`neural-matching`, `NeuralEnsembleDecoder` is `neural-ensemble`; where and how their networks run is in
`EngineOptions`. Streams: `StreamPredecoder`. Weights: `load_bundle` gives a network and its `Policies`.

Torch is imported where a network is built or run, not by importing this package.
"""

from predecoder.applicability import LayoutMismatchWarning, ShortExperimentWarning, check_fits
from predecoder.correction import (
    NEURAL_MATCHING,
    Policies,
    PolicyName,
    ResidualLayer,
    ResidualStream,
    StreamPredecoder,
    automatic_policy,
    stream_policy,
)
from predecoder.decoder import CompiledPredecoded, PredecodedDecoder
from predecoder.inference import EngineOptions
from predecoder.neural_ensemble import CompiledNeuralEnsemble, EnsembleShares, NeuralEnsembleDecoder
from predecoder.neural_matching import CompiledNeuralMatching, NeuralMatchingDecoder
from predecoder.weights import (
    Bundle,
    WeightsError,
    WeightsFile,
    load_bundle,
    load_network,
    resolve_weights,
    save_weights,
    shipped_weights,
    trained_to_be_matched,
)

__all__ = [
    "NEURAL_MATCHING",
    "Bundle",
    "CompiledNeuralEnsemble",
    "CompiledNeuralMatching",
    "CompiledPredecoded",
    "EngineOptions",
    "EnsembleShares",
    "LayoutMismatchWarning",
    "NeuralEnsembleDecoder",
    "NeuralMatchingDecoder",
    "Policies",
    "PolicyName",
    "PredecodedDecoder",
    "ResidualLayer",
    "ResidualStream",
    "ShortExperimentWarning",
    "StreamPredecoder",
    "WeightsError",
    "WeightsFile",
    "automatic_policy",
    "check_fits",
    "load_bundle",
    "load_network",
    "resolve_weights",
    "save_weights",
    "shipped_weights",
    "stream_policy",
    "trained_to_be_matched",
]
