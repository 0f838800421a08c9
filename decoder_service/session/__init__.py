"""The semantics of a stream as pure code: order, duplicates, gaps, credits, RESET, RELOAD, outputs."""

from decoder_service.session.intake import Intake
from decoder_service.session.outputs import KEPT_OUTPUTS, Outcome
from decoder_service.session.rows import IntakeConfig, Row, Skip, Verdict, erased_round
from decoder_service.session.shape import StreamShape
from decoder_service.session.stream import StreamSession, Swap

__all__ = [
    "KEPT_OUTPUTS",
    "Intake",
    "IntakeConfig",
    "Outcome",
    "Row",
    "Skip",
    "StreamSession",
    "StreamShape",
    "Swap",
    "Verdict",
    "erased_round",
]
