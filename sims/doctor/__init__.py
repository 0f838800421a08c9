"""What this installation (`packages`) and this machine (`machine`) are; whether a `model` and `shots` fit."""

from sims.doctor.examine import examine
from sims.doctor.finding import Finding
from sims.doctor.packages import OUR_MODULES

__all__ = ["OUR_MODULES", "Finding", "examine"]
