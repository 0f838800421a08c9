"""Engines that turn bit-packed shots into a network's logits, and the numerics they are asked for.

Importing this package does not import torch.
"""

from predecoder.inference.precision import PRECISIONS, Precision, PrecisionChoice, choose_precision

__all__ = ["PRECISIONS", "Precision", "PrecisionChoice", "choose_precision"]
