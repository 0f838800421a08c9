"""Sentences on data: what could not be learned from them, and what is unlike the circuit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from noise_learning.estimators.certain_errors import CertainErrors
from noise_learning.models.structure import Structure

_SOME = 5  # how many of a list are named


def mechanism_notes(
    structure: Structure, used: Structure, errors: CertainErrors, at_half: np.ndarray
) -> Iterator[str]:
    """What is told apart by the circuit only, not learned, above 1/2, or at 1/2; one sentence each."""
    whole = sum(any(len(part[0]) > 2 for part in m.components) for m in structure.mechanisms)
    if whole:
        yield (
            f"{_mechanisms(whole, 'is', 'are')} not decomposed into edges: decoders that match edges do not "
            f"see {'it' if whole == 1 else 'them'}"
        )
    unseen = int(np.count_nonzero((used.set_of < 0) & (structure.set_of >= 0)))
    if unseen:
        flip = _mechanisms(unseen, "flips", "flip")
        yield f"{flip} no other detectors: not learned, the model's rates are kept"
    sizes = np.bincount(used.set_of[used.set_of >= 0], minlength=len(used.merged))
    shared = int(sizes[used.merged & (sizes > 1)].sum())
    if shared:
        yield (
            f"{_mechanisms(shared, 'differs', 'differ')} from others only in such detectors: what was "
            "learned of them together is divided as the circuit's rates are"
        )
    if errors.sets:
        text = (
            f"{_mechanisms(len(errors.sets), 'is', 'are')} above 1/2 where the circuit says below, or the "
            f"converse: {_names(errors.sets)}; which observables they flip is the circuit's word, not learned"
        )
        yield f"{text}; nearly as likely: {_names(errors.alternatives)}" if errors.alternatives else text
    if at_half.any():
        sets = [structure.mechanisms[j].detectors for j in np.flatnonzero(at_half)]
        yield f"{_mechanisms(len(sets), 'happens', 'happen')} in half of the shots: {_names(sets)}"


def near_notes(near_half: Mapping[int, int]) -> Iterator[str]:
    """Whose rate is what makes detectors fire as often as they do."""
    if near_half:
        is_are = _mechanisms(len(near_half), "is", "are")
        yield (
            f"{is_are} as likely as how often the detector fires asks for, all others that flip it being as "
            f"the circuit's rates say: {_names([(d,) for d in near_half])}"
        )


def _mechanisms(count: int, one: str, several: str) -> str:
    """Such as '2 mechanisms flip'."""
    return f"1 mechanism {one}" if count == 1 else f"{count} mechanisms {several}"


def dropped_notes(structure: Structure, dropped: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    """How many equations were dropped, and the first few."""
    if not dropped:
        return ()
    return (
        f"{len(dropped)} of {len(structure.subsets)} equations dropped, of detectors from which nothing is "
        f"learned or with a moment not above its error: {_names(dropped)}",
    )


def _names(sets: Sequence[tuple[int, ...]]) -> str:
    """Such as 'D1*D2, D3', the first few."""
    some = ", ".join("D" + "*D".join(map(str, members)) for members in sets[:_SOME])
    return f"{some}, ..." if len(sets) > _SOME else some
