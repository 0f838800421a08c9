"""The normal form of a detector error model: what every decoder, window, stream and estimator sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import stim

from qec.dem.blocks import ambiguous
from qec.dem.certain import certain_errors, flips_of_certain
from qec.dem.faults import Faults, merged
from qec.dem.mechanisms import Block, Line, Mechanism, read
from qec.dem.rewriting import (
    edges_told_apart,
    edges_whole,
    equal_merged,
    likeliest_win,
    relabeled,
    without_certain,
)
from qec.dem.tables import DemTables

__all__ = ["NormalForm", "normal_form"]


@dataclass(frozen=True, eq=False)
class NormalForm:
    """A DEM in normal form, and what always happens besides.

    A shot of the DEM that was read is a shot of `dem` XOR the certain flips: decode `shot ^ detector_flips`
    with `dem`, and XOR the prediction with `observable_flips`.

    Attributes:
        dem: no probability is 0 or above 1/2; errors of at most two detectors are edges, whatever was
            suggested; mechanisms with the same detectors flip the same observables, the likeliest (those
            of three detectors and more are listed once for each decomposition); equal mechanisms of a
            block are one. The very DEM that was read, if it was like that.
        certain: what always happens: `error(1)` instructions in the same REPEAT blocks.
        detector_flips: uint8 `(ceil(num_detectors / 8),)`, bit-packed LSB first: those of `certain`.
        observable_flips: uint8 `(ceil(num_observables / 8),)`, the same.
    """

    dem: stim.DetectorErrorModel
    certain: stim.DetectorErrorModel
    detector_flips: np.ndarray
    observable_flips: np.ndarray
    _exact: Block = field(repr=False)
    _edges: Block = field(repr=False)
    _normal: Block = field(repr=False)

    @property
    def num_detectors(self) -> int:
        return self.dem.num_detectors

    @property
    def num_observables(self) -> int:
        return self.dem.num_observables

    @property
    def has_certain_flips(self) -> bool:
        """Whether a shot without errors differs from zero."""
        return bool(self.detector_flips.any() or self.observable_flips.any())

    @cached_property
    def exact_dem(self) -> stim.DetectorErrorModel:
        """What has exactly the statistics of the DEM that was read, but for the certain flips.

        Components are those that were suggested, of edges too, and mechanisms with the same detectors may
        flip different observables. The mechanisms of `tables`, in their order.
        """
        return _as_dem(self._exact, of=self.dem)

    @cached_property
    def tables(self) -> DemTables:
        """`exact_dem` as sparse tables."""
        return DemTables.from_mechanisms(
            self._exact.errors(), num_detectors=self.num_detectors, num_observables=self.num_observables
        )

    @cached_property
    def matching_dem(self) -> stim.DetectorErrorModel:
        """`dem` for a matcher, which knows one set of observables for each edge: the likeliest.

        Differs from `dem` only where components with the same detectors flip other observables.
        """
        return self.dem if self._matching is self._normal else _as_dem(self._matching, of=self.dem)

    @cached_property
    def correlated_dem(self) -> stim.DetectorErrorModel:
        """`matching_dem` for a matcher that learns from each edge what the others of its mechanism do.

        An error of two detectors, of different stabilizer types say, then tells more by the two edges that
        Stim suggests for it than by an edge of its own. It stays decomposed where it never happens
        alone and is rarer than each of the two alone. Flat if anything differs from `matching_dem`.
        """
        return self._dem_of(self._correlated)

    @cached_property
    def decomposed_dem(self) -> stim.DetectorErrorModel:
        """`correlated_dem` with every error decomposed that never happens alone, however likely it is.

        Where noise is biased, that is a Y error likelier than an X or a Z error at a corner of the patch. No
        edge then joins the graphs of the two stabilizer types, by a cycle of which an observable could be
        flipped. Flat if anything differs from `matching_dem`.
        """
        return self._dem_of(self._decomposed)

    def matched(self, *, decomposed: bool) -> Iterator[Mechanism]:
        """The mechanisms of `correlated_dem`, or of `decomposed_dem`, in their order, without reading it."""
        return (self._decomposed if decomposed else self._correlated).errors()

    @cached_property
    def _matching(self) -> Block:
        return relabeled(self._normal, by=self._edges)

    @cached_property
    def _correlated(self) -> Block:
        return self._with_edges_told_apart(likely=False)

    @cached_property
    def _decomposed(self) -> Block:
        return self._with_edges_told_apart(likely=True)

    def _with_edges_told_apart(self, *, likely: bool) -> Block:
        apart = edges_told_apart(self._unrolled, likely=likely)
        if not apart:
            return self._matching
        edges = equal_merged(edges_whole(self._unrolled, but=apart))
        return relabeled(likeliest_win(edges), by=edges)

    @cached_property
    def _unrolled(self) -> Block:
        """`exact_dem` without REPEAT blocks."""
        errors = self._exact.errors()
        flat = [line for line in self.exact_dem.flattened() if isinstance(line, stim.DemInstruction)]  # all
        return Block(tuple(Line(0, line, next(errors) if line.type == "error" else None) for line in flat))

    def _dem_of(self, block: Block) -> stim.DetectorErrorModel:
        return self.matching_dem if block is self._matching else _as_dem(block, of=self.dem)

    @cached_property
    def hyperedges(self) -> Faults:
        """One fault for each set of detectors: the components of a mechanism fire together."""
        return merged(
            ((m.probability, m.symptoms) for m in self._exact.errors()),
            num_detectors=self.num_detectors,
            num_observables=self.num_observables,
        )

    @cached_property
    def edges(self) -> Faults:
        """One fault for each component's set of detectors: the components of a mechanism stand alone."""
        return merged(
            ((m.probability, part) for m in self._edges.errors() for part in m.components),
            num_detectors=self.num_detectors,
            num_observables=self.num_observables,
        )


def normal_form(dem: stim.DetectorErrorModel) -> NormalForm:
    """Bring a DEM into normal form.

    Targets that an error names twice cancel. An error above 1/2 is one that always happened and one of
    1 - p. REPEAT blocks stay and are read once, so millions of rounds cost nothing, as long as no two
    iterations (or an iteration and what is outside) flip the same detectors and other observables; a DEM
    where some do is unrolled. Equal mechanisms of different iterations may stay apart.
    """
    block = read(dem)
    if ambiguous(block):
        dem = dem.flattened()
        block = read(dem)
    certain = certain_errors(block)
    detectors, observables = flips_of_certain(
        certain, num_detectors=dem.num_detectors, num_observables=dem.num_observables
    )
    exact = without_certain(block)
    edges = equal_merged(edges_whole(exact))
    normal = likeliest_win(edges)
    return NormalForm(
        dem=dem if normal is block and block.as_read else _as_dem(normal, of=dem),
        certain=certain.emit(),
        detector_flips=detectors,
        observable_flips=observables,
        _exact=exact,
        _edges=edges,
        _normal=normal,
    )


def _as_dem(block: Block, *, of: stim.DetectorErrorModel) -> stim.DetectorErrorModel:
    """A block as a DEM that counts the detectors and observables of `of`, which it was made from."""
    dem = block.emit()
    last = stim.DetectorErrorModel()
    if dem.num_detectors < of.num_detectors:
        last.append("detector", [], [stim.target_relative_detector_id(of.num_detectors - 1)])
    if dem.num_observables < of.num_observables:
        last.append("logical_observable", [], [stim.target_logical_observable_id(of.num_observables - 1)])
    return last + dem if len(last) else dem
