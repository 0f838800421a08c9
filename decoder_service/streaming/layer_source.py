"""From what is pushed to detector layers, and what a lost round does to them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import stim

from _qecpipe import RoundSource
from decoder_service.streaming.rounds import RoundMap
from global_decoders.windows import Component, LayeredDem

__all__ = ["Input", "checked_bits", "checked_input", "checked_rows", "round_source"]

Input = Literal["measurements", "detectors"]


def round_source(layers: LayeredDem, rounds: RoundMap | None) -> RoundSource:
    """What the rounds of a stream look like, however many it has.

    Args:
        layers: of the experiment as it was given.
        rounds: how detectors follow from measurements; None where detectors are pushed.
    """
    source = RoundSource(
        kinds=list(layers.source),
        cut=layers.cut,
        cycle=layers.cycle,
        given_layers=layers.num_layers,
        num_sites=len(layers.positions),
        measured=rounds is not None,
        depth=0 if rounds is None else rounds.depth,
        num_observables=layers.num_observables,
        observables=[] if rounds is None else [list(bits) for bits in rounds.observables],
        observable_parities=[] if rounds is None else rounds.observable_parities.tolist(),
        certain_observables=list(layers.certain_observables),
    )
    for layer, kind in enumerate(layers.source):
        sites = layers.kinds[kind].sites
        if rounds is None:
            # Each detector may have fired or not.
            lost = [(0, [(0, site)], []) for site in sites]
            terms = [([0], list(range(len(sites) + 1)), list(sites))]
            source.add_round(width=len(sites), terms=terms, parities=[], lost=lost)
            continue
        source.add_round(
            width=rounds.widths[layer],
            terms=rounds.terms(layer, sites),
            parities=[site for site, bit in zip(sites, rounds.parities[layer], strict=True) if bit],
            lost=[_flat(offset, component) for offset, component in rounds.erasures[layer]],
        )
    source.check()
    return source


def _flat(offset: int, component: Component) -> tuple[int, list[tuple[int, int]], list[int]]:
    return offset, list(component.detectors), list(component.observables)


def checked_bits(bits: np.ndarray | None, *, round: int, width: int) -> np.ndarray:
    """uint8 0/1 (width,).

    Raises:
        ValueError: another shape, other values, or packed bits.
    """
    array = np.asarray(bits)
    if bits is None or array.shape != (width,):
        raise ValueError(
            f"round {round} has bits of shape {array.shape}; {width} are due, one number 0 or 1 each"
        )
    if array.dtype.kind not in "biu" or (width and (array.max() > 1 or array.min() < 0)):
        raise ValueError(
            f"round {round} has values {array.min()} to {array.max()} of {array.dtype}; "
            "bits are integers 0 or 1, not packed"
        )
    return array.astype(np.uint8)


def checked_rows(packed_rows: np.ndarray, erased: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """uint8 (rounds, bytes), and uint8 flags (rounds,), of rounds that are pushed at once.

    Raises:
        ValueError: another type or shape.
    """
    rows = np.ascontiguousarray(packed_rows)
    if rows.dtype != np.uint8 or rows.ndim != 2:
        raise ValueError(f"packed_rows of {rows.dtype} and shape {rows.shape}; uint8 (rounds, bytes) are due")
    flags = None if erased is None else np.asarray(erased, dtype=bool).view(np.uint8)
    if flags is not None and flags.shape != rows.shape[:1]:
        raise ValueError(f"erased has shape {flags.shape}; one flag for each of {len(rows)} rounds")
    return rows, flags


def checked_input(input: Input | None, given: stim.Circuit | stim.DetectorErrorModel) -> Input:
    """'measurements' or 'detectors'; the first needs a circuit, whose default it is.

    Raises:
        ValueError: anything else.
    """
    is_circuit = isinstance(given, stim.Circuit)
    chosen: Input = input or ("measurements" if is_circuit else "detectors")
    if chosen not in ("measurements", "detectors") or (chosen == "measurements" and not is_circuit):
        raise ValueError(
            f"input={input!r} with a {type(given).__name__}: use 'detectors', "
            "or 'measurements' with a circuit"
        )
    return chosen
