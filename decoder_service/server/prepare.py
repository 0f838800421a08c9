"""The process that builds a model beside a worker.

    python -m decoder_service.server.prepare < request > answer

The request and the answer are MessagePack (`aside.Request`, `aside.Answer`); that a model cannot be used is
an answer too.
"""

from __future__ import annotations

import os
import sys

import msgspec

from decoder_service.server.aside import Answer, Request, image_of

NICENESS = 5


def main() -> None:
    """Answers the request on standard input."""
    os.nice(NICENESS)
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    try:
        answer = Answer(image=image_of(request).encode())
    except (ValueError, IndexError) as error:  # Stim raises the second for an unknown instruction
        answer = Answer(error=str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
