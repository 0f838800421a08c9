"""What a network on a GPU takes, from its operations, bytes and launches: a prediction that needs no GPU.

A `Kernel` counts what one launch does, a `Stage` is some kernels, bytes over the link to the host and time on
the host's cores, and `estimate` gives the seconds of stages on a `Card`, with the term that each spends them
on. `paper` holds the reference paper's networks and its measured times, which the model is checked against
before it is believed. Importing this package needs neither torch nor NumPy nor a GPU.
"""

from cuda.qecpipe.cost.cards import CARDS, Card, card_called
from cuda.qecpipe.cost.estimate import Estimate, Stage, StageTime, estimate
from cuda.qecpipe.cost.kernels import ELEMENT_BYTES, TERMS, Kernel, MatrixProduct, convolution, elementwise
from cuda.qecpipe.cost.paper import Comparison, compare_with_paper

__all__ = [
    "CARDS",
    "ELEMENT_BYTES",
    "TERMS",
    "Card",
    "Comparison",
    "Estimate",
    "Kernel",
    "MatrixProduct",
    "Stage",
    "StageTime",
    "card_called",
    "compare_with_paper",
    "convolution",
    "elementwise",
    "estimate",
]
