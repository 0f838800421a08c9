"""What this installation and machine are."""

from sims.doctor.examine import OUR_MODULES, Finding, examine

__all__ = ["OUR_MODULES", "Finding", "examine"]
