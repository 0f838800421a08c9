"""Streaming decoding for experiment control. Nothing is public yet."""
