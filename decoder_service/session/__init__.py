"""The semantics of a stream as pure code: order, duplicates, gaps, credits, RESET, RELOAD, outputs.

    StreamSession          one stream: frames and times in, frames out
    Ordering               data frames into order; AcceptResult says what became of a row
    StreamShape            rounds of a shot and their widths
    Row, Skip, Swap        what is to be done next: decode, abandon shots, take another model
    Outcome                what a decoder committed
    RoundDecoder           what a stream asks of a decoder

No sockets, no clock of its own, no decoder: docs/protocol.md, section Semantics, is its specification.
Servers run `_qecpipe.Session` (native/service), which is tested to say the same, frame by frame.
"""

from decoder_service.session.ordering import Ordering
from decoder_service.session.outputs import KEPT_OUTPUTS, Outcome
from decoder_service.session.round_decoder import RoundDecoder
from decoder_service.session.rows import AcceptResult, Judged, OrderingConfig, Row, Skip, erased_round
from decoder_service.session.shape import StreamShape
from decoder_service.session.stream import StreamSession, Swap

__all__ = [
    "KEPT_OUTPUTS",
    "AcceptResult",
    "Judged",
    "Ordering",
    "OrderingConfig",
    "Outcome",
    "RoundDecoder",
    "Row",
    "Skip",
    "StreamSession",
    "StreamShape",
    "Swap",
    "erased_round",
]
