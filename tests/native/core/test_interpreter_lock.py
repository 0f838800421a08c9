"""The end of a process while a thread is in native code: as quiet as without the thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = '''
import os, socket, sys, threading, time
import _qecpipe
from decoder_service.protocol import Frame, FrameType, encode_block, encode_frame

wide = dict(layers=[(5, 8)], final_bits=8, num_observables=8)

class Decoder:
    model_id = bytes(8)

class Ending:
    """Python flushes it when no other thread may have the interpreter any more, the second time."""
    closed = False
    flushed = 0

    def write(self, text):
        return len(text)

    def flush(self):
        self.flushed += 1
        if self.flushed == 2:
            CASE
            time.sleep(0.5)

session = _qecpipe.Session()
decoder = _qecpipe.PythonDecoder(decoder=Decoder(), **wide)
session.open(0, decoder, commit=2, window=64, gap_deadline_ns=10**9, **wide)
ours, theirs = socket.socketpair()
threading.Thread(target=session.serve, args=(ours.fileno(),), kwargs={"timeout": 60.0}, daemon=True).start()
time.sleep(0.1)
sys.stdout = Ending()
'''
CASES = {
    "the call returns": "theirs.close()",
    "the call needs the interpreter": (
        "theirs.send(encode_frame(Frame(FrameType.ROUNDS, 0, 0, 0, encode_block([b'x']))))"
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_thread_in_native_code_does_not_abort_a_process_that_ends(case: str) -> None:
    """CPython ends such a thread by unwinding its stack; out of a destructor that is std::terminate."""
    program = PROGRAM.replace("CASE", CASES[case])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
