"""Load on a decoder: rounds that are due at a fixed period, what must come back, and how late it comes.

    StreamOptions                 windows, decoder and network of a stream
    sample_shots -> ShotSet       shots of a circuit, with the outputs that a stream must give for them
    LoadPlan                      period, rounds of a block, number of shots and streams
    run_in_process, run_service   send them when they are due, to decoders here or to a service -> LoadReport
    quantiles_us, QUANTILES       how latencies are summed up

A generator that waits for answers before it sends hides every stall behind fewer samples (coordinated
omission). Here every round has a time at which it is due, and what waits, wherever it waits, counts.
"""

from decoder_service.load.in_process import run_in_process
from decoder_service.load.plan import LoadPlan
from decoder_service.load.report import QUANTILES, Backlog, LoadReport, quantiles_us
from decoder_service.load.service import run_service
from decoder_service.load.shots import Answer, ShotSet, StreamOptions, sample_shots

__all__ = [
    "QUANTILES",
    "Answer",
    "Backlog",
    "LoadPlan",
    "LoadReport",
    "ShotSet",
    "StreamOptions",
    "quantiles_us",
    "run_in_process",
    "run_service",
    "sample_shots",
]
