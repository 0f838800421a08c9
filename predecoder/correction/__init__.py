"""From a network's logits to committed moves: policies, and what carries them out.

`Policies` are what a network's logits were calibrated for; they are stored with its weights.
"""

from predecoder.correction.policies import (
    REFERENCE_DENSITY,
    SMALL_PATCH,
    AbstainPolicy,
    Policies,
    PolicyName,
    ThresholdPolicy,
)

__all__ = [
    "REFERENCE_DENSITY",
    "SMALL_PATCH",
    "AbstainPolicy",
    "Policies",
    "PolicyName",
    "ThresholdPolicy",
]
