"""Time of every decoding stage on the same shots (`measure`), and the tables and files of it (`report`)."""

from sims.latency.measure import Contender, DecoderLatency, LatencyPlan, StageTimes, contenders, measure
from sims.latency.report import LatencyPoint, latency_table, summary_frame, write_report

__all__ = [
    "Contender",
    "DecoderLatency",
    "LatencyPlan",
    "LatencyPoint",
    "StageTimes",
    "contenders",
    "latency_table",
    "measure",
    "summary_frame",
    "write_report",
]
