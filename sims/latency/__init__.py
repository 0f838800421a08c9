"""Time of every decoding stage on the same shots (`measure`), and the tables and files of it (`report`)."""

from sims.latency.measure import DecoderLatency, LatencyPlan, StageTimes, measure
from sims.latency.report import LatencyPoint, latency_table, summary_frame, write_report

__all__ = [
    "DecoderLatency",
    "LatencyPlan",
    "LatencyPoint",
    "StageTimes",
    "latency_table",
    "measure",
    "summary_frame",
    "write_report",
]
