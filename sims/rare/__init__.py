"""Rare events: logical error rates far below what counting errors reaches, of any decoder.

collect_rare(tasks, decoders, folder=..., seed=...)   yields a Collected for each of sinter's tasks
Collected            a task's rate with its interval; `.stats` is sinter's row, of effective counts
RareRate             the mean of independent estimates; ENOUGH_ANCESTORS says when to rely on it
Effort, Until        the size of one estimate, and how many there are

In the order in which a task goes through them: `noise` (a DEM's noise, made stronger), `failures` (what the
decoder gets wrong), `moves` (of Markov chains over faults), `splitting` (one estimate), `runs` (as workers
make it), `log` (what is there already), `estimate` (the mean of several), `collect`.

Example:
    >>> import sinter, stim
    >>> from global_decoders import make_decoder
    >>> from sims.rare import Effort, Until, collect_rare
    >>> circuit = stim.Circuit.generated(
    ...     "repetition_code:memory", distance=5, rounds=5, before_round_data_depolarization=1e-4)
    >>> task = sinter.Task(circuit=circuit, decoder="pymatching", json_metadata={"d": 5})
    >>> (found,) = collect_rare(
    ...     [task], {"pymatching": make_decoder("pymatching")}, folder=tmp_path, seed=1,
    ...     effort=Effort(chains=64, steps=4), until=Until(repetitions=4))
    >>> found.rare.rate.low < 10 * 5 * (1e-4 * 2 / 3) ** 3 < found.rare.rate.high
    True
    >>> found.stats.json_metadata["estimator"]
    'splitting'
"""

from sims.rare.collect import Collected, Until, collect_rare
from sims.rare.estimate import ENOUGH_ANCESTORS, RareRate
from sims.rare.log import RareLogError
from sims.rare.splitting import Effort

__all__ = ["ENOUGH_ANCESTORS", "Collected", "Effort", "RareLogError", "RareRate", "Until", "collect_rare"]
