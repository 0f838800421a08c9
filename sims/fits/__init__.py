"""What a sweep's counts say together: how fast errors fall with the distance, and where they stop falling.

`suppression` fits Λ, `threshold` the physical error rate at which all distances are equal. Both take binomial
likelihoods, with intervals of the profile likelihood, and say how well the model holds (`likelihood`).
"""

from sims.fits.likelihood import Counts, Goodness
from sims.fits.suppression import Suppression, fit_suppression
from sims.fits.threshold import Threshold, fit_threshold

__all__ = ["Counts", "Goodness", "Suppression", "Threshold", "fit_suppression", "fit_threshold"]
