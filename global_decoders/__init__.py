"""Global decoders behind one registry of names.

Every decoder is a picklable `sinter.Decoder`; what it compiles to takes and returns bit-packed
shots (uint8, little-endian bits, as in Stim's b8). `pymatching`, `pymatching-correlated` and `trellis`
are always there, the others where their package is installed (`pip install 'qecpipe[decoders]'`).

    decoder_names()      every registered name, installed or not
    make_decoder(name)   the decoder of that name
    is_available(name)   whether `make_decoder(name)` will succeed

A decoder is compiled for a DEM in normal form (`qec.normal_form`), whatever DEM it is given:

    NormalFormDecoder                     base class of decoders that see nothing else
    compile_normal_form(decoder, normal)  any decoder, for the shots of `normal.dem`
    with_certain_flips(compiled, normal)  what that gives, for the shots of the DEM that was read

Most compiled decoders also say how sure they are of every prediction, in nats:

    SoftDecoder                           those that do (a protocol), by `decode_shots_with_gap`
    decode_with_gap(compiled, packed)     predictions and gaps of any of them
    require_gap(compiled, num_detectors)  whether it has any, before shots are decoded
    WithGap, NoGapError                   what they return, and raise
    UnexplainedShotsError                 raised where nothing explains some shots, with their numbers
    decode_explained(decode, packed)      decodes the others
    numbered_after(count)                 has their numbers in a file that is decoded batch by batch
    CalibratedDecoder, CompiledCalibrated any of them, its gaps made log-odds by simulated shots of the DEM
    calibrate_gaps(compiled, dem, shots)  the same of one that is compiled
    GapCalibration                        what makes a gap a log-odds
    CascadeDecoder, CompiledCascade       a slow decoder for the shots that a fast one doubts
    relative_gap(log_odds, predictions)   gaps, from the log-odds of an observable not being flipped

Of simulated shots most are decided, whatever decoder they are for:

    DoubtfulShots(normal)                 chooses those that are worth decoding
    ChosenShots                           which ones, and how many shots each counts for
"""

from global_decoders.calibration import (
    CalibratedDecoder,
    CompiledCalibrated,
    GapCalibration,
    calibrate_gaps,
)
from global_decoders.cascade import CascadeDecoder, CompiledCascade
from global_decoders.compiling import NormalFormDecoder, compile_normal_form, with_certain_flips
from global_decoders.doubtful_shots import ChosenShots, DoubtfulShots
from global_decoders.packed_shots import UnexplainedShotsError, numbered_after
from global_decoders.registry import (
    MissingDecoderError,
    UnknownDecoderError,
    decoder_names,
    is_available,
    make_decoder,
)
from global_decoders.soft_output import (
    NoGapError,
    SoftDecoder,
    WithGap,
    decode_explained,
    decode_with_gap,
    relative_gap,
    require_gap,
)

__all__ = [
    "CalibratedDecoder",
    "CascadeDecoder",
    "ChosenShots",
    "CompiledCalibrated",
    "CompiledCascade",
    "DoubtfulShots",
    "GapCalibration",
    "MissingDecoderError",
    "NoGapError",
    "NormalFormDecoder",
    "SoftDecoder",
    "UnexplainedShotsError",
    "UnknownDecoderError",
    "WithGap",
    "calibrate_gaps",
    "compile_normal_form",
    "decode_explained",
    "decode_with_gap",
    "decoder_names",
    "is_available",
    "make_decoder",
    "numbered_after",
    "relative_gap",
    "require_gap",
    "with_certain_flips",
]
