"""Streaming decoding for experiment control.

So far in process only: `decoder_service.stream_decoder.StreamDecoder`.
"""
