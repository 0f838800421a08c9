"""What to do without native code: say so once, and go on."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TypeVar

from predecoder.native.library import NativeUnavailableError

__all__ = ["native_or_none"]

_T = TypeVar("_T")
logger = logging.getLogger(__name__)


def native_or_none(make: Callable[[], _T]) -> _T | None:
    """What `make` makes, or None, with the reason in the log, where native code is not to be had."""
    try:
        return make()
    except NativeUnavailableError as error:
        _log_once(str(error))
        return None


@functools.cache
def _log_once(reason: str) -> None:
    logger.warning("going on without this native code, which is slower: %s", reason)
