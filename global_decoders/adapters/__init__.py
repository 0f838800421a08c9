"""Adapters to decoder libraries, one file each, imported by the registry when they are asked for."""
