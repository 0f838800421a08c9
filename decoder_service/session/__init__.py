"""The semantics of a stream as pure code: order, duplicates, gaps, credits, RESET, RELOAD, outputs."""

from decoder_service.session.ordering import Ordering
from decoder_service.session.outputs import KEPT_OUTPUTS, Outcome
from decoder_service.session.rows import AcceptResult, OrderingConfig, Row, Skip, erased_round
from decoder_service.session.shape import StreamShape
from decoder_service.session.stream import StreamSession, Swap

__all__ = [
    "KEPT_OUTPUTS",
    "AcceptResult",
    "Ordering",
    "OrderingConfig",
    "Outcome",
    "Row",
    "Skip",
    "StreamSession",
    "StreamShape",
    "Swap",
    "erased_round",
]
