"""The process that builds a model beside a worker.

    python -m decoder_service.server.prepare PARENT < request > answer

PARENT is the process that starts it and that it ends with, however that ends. The request and the answer are
MessagePack (`build_process.Request`, `build_process.Answer`); that a model cannot be used is an answer too.
"""

from __future__ import annotations

import os
import signal
import sys

import msgspec

from decoder_service.server.build_process import Answer, Request, serialized_for
from decoder_service.server.lifetime import end_with

NICENESS = 5


def main(arguments: list[str]) -> None:
    """Answers the request on standard input."""
    end_with(int(arguments[0]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)  # the worker ignores them, and that is inherited
    os.nice(NICENESS)
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    try:
        answer = Answer(serialized=serialized_for(request).encode())
    except (ValueError, IndexError) as error:  # Stim raises the second for an unknown instruction
        answer = Answer(error=str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
