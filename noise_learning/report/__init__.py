"""What was learned, for people: Markdown, tables, rates by location class."""

from noise_learning.report.location_rates import LocationClass, gather_location_classes
from noise_learning.report.markdown import ReportContext, assumed_model, largest_deviations, render_report
from noise_learning.report.mechanism_table import mechanism_frame
from noise_learning.report.rounds import MeasuredRounds, render_rounds_report

__all__ = [
    "LocationClass",
    "MeasuredRounds",
    "ReportContext",
    "assumed_model",
    "gather_location_classes",
    "largest_deviations",
    "mechanism_frame",
    "render_report",
    "render_rounds_report",
]
