"""The `qecpipe` command: finds the verb, runs it, and turns user errors into one line.

Each verb is a module of this package with `run(arguments: list[str]) -> int` and `RESUME_HINT: str`,
imported only when it is called, so that `qecpipe --help` needs neither numpy nor torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from sims.plain_warnings import plain_warnings
from sims.run_failed import RunFailedError

__all__ = ["main"]

_GROUPS = {
    "simulated circuits": {
        "sweep": "count logical errors of decoders over distances and physical error rates",
        "rare": "estimate logical error rates that are too small to be counted",
        "merge": "put the shards of a sweep together",
        "fit": "fit error suppression and thresholds to what sweeps counted",
        "plot": "draw the plots of sweeps again from their CSV files",
        "latency": "measure the time per round of every stage, with and without the pre-decoder",
    },
    "shots from a file": {
        "decode": "decode measurements or detection events, and say how sure each answer is",
        "compare": "compare decoders, or files of predictions, on the same shots",
        "learn-noise": "fit a detector error model with error bars to detection events",
        "fine-tune": "adapt a network to a device, by its shots",
        "doctor": "check this installation; or whether shots fit a detector error model",
    },
    "streams": {
        "serve": "decode streams of syndromes for experiment control, over a socket",
        "stream": "send rounds at a fixed period to a decoder, and measure when corrections come back",
    },
    "networks": {
        "train": "train a network from a TOML configuration",
        "calibrate": "measure a dense network's activations, so that it runs in int8",
        "export": "write a network as an ONNX or torch.export file, for TensorRT and other runtimes",
        "roofline": "predict the time per round on GPUs, beside the reference paper's measured times",
    },
}
VERBS = {verb: summary for verbs in _GROUPS.values() for verb, summary in verbs.items()}
"""What each verb does, by its name."""
_EXTRAS = {
    "service": ("hdrh", "msgspec", "prometheus_client", "structlog"),
    "export": ("onnx", "onnxruntime"),
}
"""Packages that some verbs need, by the extra that installs them."""
RUN_FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `qecpipe` command line and return its exit code.

    0 is success, 1 a run that broke or a check that failed, 2 an error in what the user gave (both in one
    line on stderr, no traceback), 130 Ctrl-C, 141 a closed pipe.
    `qecpipe --traceback VERB ...` shows the traceback of such an error instead.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    show_traceback = arguments[:1] == ["--traceback"]
    if show_traceback:
        arguments = arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version", "version"):
        print(f"qecpipe {_version()}")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        return _fail(_unknown_verb(verb))
    hint = "nothing was done"
    try:
        module = importlib.import_module(f"sims.cli.{verb.replace('-', '_')}")
        hint = module.RESUME_HINT
        with plain_warnings(f"qecpipe {verb}"):
            return module.run(arguments[1:])
    except KeyboardInterrupt:
        print(f"\nqecpipe {verb}: interrupted; {hint}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (ValueError, OSError, ImportError) as error:
        if show_traceback:
            raise
        return _fail(f"qecpipe {verb}: {_one_line(error)}")
    except (RunFailedError, MemoryError) as error:
        if show_traceback:
            raise
        reason = str(error) or "out of memory"
        return _fail(f"qecpipe {verb}: {reason}", code=RUN_FAILED)


def _help() -> str:
    width = max(map(len, VERBS))
    groups = "\n\n".join(
        "\n".join([f"{group}:", *(f"  {verb:<{width}}  {summary}" for verb, summary in verbs.items())])
        for group, verbs in _GROUPS.items()
    )
    return (
        "usage: qecpipe VERB [flags]\n\n"
        "Decode the rotated surface code: circuits, networks, matching, noise learning, streams.\n\n"
        f"{groups}\n\n"
        "qecpipe VERB --help lists a verb's flags; qecpipe --version prints the version;\n"
        "qecpipe --traceback VERB ... shows where an error came from."
    )


def _version() -> str:
    from importlib.metadata import version

    return version("qecpipe")


def _unknown_verb(verb: str) -> str:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"qecpipe: unknown verb {verb!r}; {guess}the verbs are {', '.join(VERBS)}"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        fix = "check its permissions" if isinstance(error, PermissionError) else "check the path"
        return f"{error.filename}: {error.strerror}; {fix}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ModuleNotFoundError):
        for extra, packages in _EXTRAS.items():
            if error.name in packages:
                return f"this verb needs the package {error.name}; pip install 'qecpipe[{extra}]'"
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str, *, code: int = USAGE_ERROR) -> int:
    print(message, file=sys.stderr)
    return code
