"""Numerics are chosen, not found: the precision that an engine computes in.

- `float32`: the same predictions on every machine but for rounding (at most one shot in 10^4). On a CPU one
  machine gives a shot the same bits alone, in a batch, in a tile and in a stream.
- `bfloat16`: products of bfloat16 numbers. Several times faster on GPUs and on CPUs with AMX, emulated
  elsewhere; logits depend on the machine and on a batch's size. It runs only where it is asked for.
- `float16`: on GPUs, as fast as bfloat16 and eight times finer, up to 65,504. On a CPU it is not run: few
  processors multiply such numbers. It, too, runs only where it is asked for.
- `int8`: the integers that a network was calibrated for, quantized or dense. The same bits on every machine,
  alone, in a batch and in a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from predecoder.network import Int8Support

__all__ = ["PRECISIONS", "Precision", "PrecisionChoice", "choose_precision"]

Precision = Literal["float32", "bfloat16", "float16", "int8"]
PrecisionChoice = Literal["auto", "float32", "bfloat16", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def choose_precision(choice: PrecisionChoice, *, int8: Int8Support, device_type: str) -> Precision:
    """Return the precision that `choice` means for a network on a device.

    'auto' is the weights' own: int8 for a quantized network on a CPU, float32 otherwise. It is never a type
    of 16 bits.

    Args:
        choice: one of `PRECISIONS`, or 'auto'.
        int8: whether the network can run in it, and does by default (`Network.int8`).
        device_type: 'cpu' or 'cuda'.

    Raises:
        ValueError: an unknown choice, or one that the network or the device does not have.
    """
    if choice == "auto":
        return "int8" if int8 == "default" and device_type == "cpu" else "float32"
    if choice in ("float32", "bfloat16") or (choice == "float16" and device_type != "cpu"):
        return choice
    if choice == "float16":
        raise ValueError(
            "precision='float16' is computed on GPUs only, not on 'cpu'; use 'float32', or 'bfloat16' where "
            "the processor multiplies such numbers"
        )
    if choice != "int8":
        raise ValueError(f"precision={choice!r} is unknown; use one of auto, {', '.join(PRECISIONS)}")
    if int8 == "none":
        raise ValueError(
            "precision='int8' needs a quantized network, such as the shipped weights 'fast' and 'realtime', "
            "or a dense one with ranges, which qecpipe calibrate measures; use 'float32' with this one"
        )
    if device_type != "cpu":
        raise ValueError(
            f"precision='int8' is computed on CPUs only, not on {device_type!r}; use device 'cpu', or "
            "precision 'float32'"
        )
    return choice
