"""What a load measured: latencies from when rows were due, backlog, and whether all came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from decoder_service.load.arrivals import Arrival, Checked, Counts, check
from decoder_service.load.plan import LoadPlan
from decoder_service.load.shots import ShotSet

__all__ = ["QUANTILES", "Backlog", "LoadReport", "quantiles_us"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
SHOWN_TIMES = 100
"""Points of the backlog over time."""
GAP_QUANTILES = {"min": 0.0, "p1": 0.01, "p10": 0.1, "p50": 0.5}
"""The shots that are least sure."""
_TAIL = 0.2
_ALLOWED_SHARE = 0.01


@dataclass(frozen=True)
class Backlog:
    """Rows that were due and that no output had answered yet, of all streams together.

    A window's rows wait for its last one, so that about as many as a window commits are always among them.

    Attributes:
        most: at any time.
        end: when the last output was here; 0 after whole shots that all came back.
        over_time: (seconds, most rows up to then from the point before), at most 100 points.
    """

    most: int
    end: int
    over_time: tuple[tuple[float, int], ...]


@dataclass(frozen=True, eq=False)
class LoadReport:
    """Measurements of a run.

    Attributes:
        plan: what was sent when.
        streams: the outputs of each.
        rows_sent: of each stream.
        held_back: times that a due block found no credit at the service.
        overloaded: the run ended early, because rows were overdue for longer than was allowed.
        sent_late: int64 ns that blocks were given to a service's socket after they were due: the load's own
            share of latencies, with what waited for credit; empty in process.
        seconds: from the start to the last output.
        end_lag_ns: median latency of the last fifth of the outputs.
    """

    plan: LoadPlan
    streams: tuple[Checked, ...]
    rows_sent: tuple[int, ...]
    held_back: int = 0
    overloaded: bool = False
    sent_late: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    seconds: float = field(init=False)
    end_lag_ns: float = field(init=False)

    def __post_init__(self) -> None:
        time, late = self._joined("time"), self._joined("late")
        object.__setattr__(self, "seconds", float(time.max(initial=0)) / 1e9)
        tail = late[time >= np.quantile(time, 1 - _TAIL)] if len(time) else late
        object.__setattr__(self, "end_lag_ns", float(np.median(tail)) if len(tail) else float("inf"))

    @classmethod
    def of(
        cls,
        plan: LoadPlan,
        shots: ShotSet,
        arrivals: Sequence[Sequence[Arrival]],
        *,
        rows_sent: Sequence[int],
        held_back: int = 0,
        overloaded: bool = False,
        sent_late: np.ndarray | None = None,
    ) -> LoadReport:
        """Check what came back on each stream and put it together."""
        checked = tuple(
            check(came, shots, plan, stream=stream, rows_sent=sent)
            for stream, (came, sent) in enumerate(zip(arrivals, rows_sent, strict=True))
        )
        given = {} if sent_late is None else {"sent_late": sent_late}
        return cls(plan, checked, tuple(rows_sent), held_back=held_back, overloaded=overloaded, **given)

    @property
    def commits(self) -> Counts:
        """COMMITs of all streams."""
        return reduce(add, (stream.commits for stream in self.streams))

    @property
    def results(self) -> Counts:
        """RESULTs of all streams."""
        return reduce(add, (stream.results for stream in self.streams))

    @property
    def complete(self) -> bool:
        """Every row was sent, and every output came once, unflagged, and says what it should."""
        faults = self.commits.faults + self.results.faults + sum(stream.flagged for stream in self.streams)
        return not self.overloaded and not faults and all(sent == self.plan.rows for sent in self.rows_sent)

    @property
    def sustained(self) -> bool:
        """Whether the backlog stayed bounded, as `keeps_up` with stalls of 1 ms."""
        return self.keeps_up()

    def keeps_up(self, *, stall_ns: float = 1e6) -> bool:
        """Whether at the end of the run outputs were no later than `stall_ns` or a hundredth of the run.

        That is as late as a stall makes them; a decoder that is a hundredth too slow is later.
        """
        allowed = max(stall_ns, _ALLOWED_SHARE * self.plan.rows * self.plan.period_ns)
        return self.complete and self.end_lag_ns <= allowed

    def latency(self, kind: str, *, stream: int | None = None) -> np.ndarray:
        """int64 ns of all outputs of a kind: 'commit' or 'result' from when the row that allows it was due,
        'service' inside the decoder."""
        chosen = self.streams if stream is None else (self.streams[stream],)
        if kind == "service":
            return np.concatenate([one.inside for one in chosen])
        if kind not in ("commit", "result"):
            raise ValueError(f"there are no latencies of {kind!r}; it is commit, result or service")
        return np.concatenate([one.late[one.final == (kind == "result")] for one in chosen])

    def backlog(self) -> Backlog:
        """Due rows without an output, just before each output came."""
        time = self._joined("time")
        order = np.argsort(time, kind="stable")
        gained = np.concatenate([np.diff(one.row, prepend=-1) for one in self.streams])[order]
        done = np.cumsum(gained)
        waiting = self.plan.rows_due(time[order]) - (done - gained)
        if not len(waiting):
            return Backlog(0, sum(self.rows_sent), ())
        edges = np.unique(np.linspace(0, len(waiting), SHOWN_TIMES + 1).astype(np.int64))
        most = np.maximum.reduceat(waiting, edges[:-1])
        over_time = tuple(
            (round(float(t) / 1e9, 9), int(rows))
            for t, rows in zip(time[order][edges[1:] - 1], most, strict=True)
        )
        return Backlog(int(waiting.max()), int(sum(self.rows_sent) - done[-1]), over_time)

    def _joined(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(stream, name) for stream in self.streams])

    def _gaps(self) -> dict[str, float | None]:
        """Quantiles of RESULTs; None is an infinite gap, where nothing explains the other class."""
        gaps = self._joined("gaps")
        if not len(gaps):
            return {}
        values = np.quantile(gaps, list(GAP_QUANTILES.values()), method="inverted_cdf")
        shown = [round(float(value), 4) if np.isfinite(value) else None for value in values]
        return {"results": len(gaps)} | dict(zip(GAP_QUANTILES, shown, strict=True))

    def as_json(self) -> dict[str, Any]:
        """Numbers and names for a file; latencies in µs."""
        backlog = self.backlog()
        return {
            "period_us": self.plan.period_ns / 1000,
            "rounds": sum(self.rows_sent),
            "streams": self.plan.streams,
            "rounds_per_frame": self.plan.rounds_per_block,
            "rounds_per_shot": self.plan.rows_per_shot,
            "seconds": round(self.seconds, 6),
            "commits": asdict(self.commits),
            "results": asdict(self.results),
            "flagged": sum(stream.flagged for stream in self.streams),
            "latency_us": {
                kind: quantiles_us(self.latency(kind)) for kind in ("commit", "result", "service")
            },
            "commit_latency_us_by_stream": [
                quantiles_us(self.latency("commit", stream=stream)) for stream in range(self.plan.streams)
            ],
            "backlog": asdict(backlog) | {"bounded": self.sustained},
            "gaps_nats": self._gaps(),
            "sent_late_us": quantiles_us(self.sent_late),
            "held_back": self.held_back,
            "overloaded": self.overloaded,
        }


def quantiles_us(values_ns: np.ndarray) -> Mapping[str, float]:
    """Quantiles of ns in µs, each a value that occurred; empty where there are no values."""
    if not len(values_ns):
        return {}
    found = np.quantile(values_ns, list(QUANTILES.values()), method="inverted_cdf") / 1000
    return dict(zip(QUANTILES, (round(float(value), 3) for value in found), strict=True))
