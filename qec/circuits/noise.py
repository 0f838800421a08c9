"""Circuit-level noise: 25 Pauli rates, named points of that space, TOML files, and per-location variation."""

import math
import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

import numpy as np

TWO_QUBIT_PAULIS = ("IX", "IY", "IZ", "XI", "XX", "XY", "XZ", "YI", "YX", "YY", "YZ", "ZI", "ZX", "ZY", "ZZ")

# Beyond one half a flip is more likely than not, and matching weights turn negative.
MAX_CHANNEL_RATE = 0.5


@dataclass(frozen=True, kw_only=True)
class CircuitNoise:
    """The 25 Pauli rates of a memory circuit (arXiv:2604.12841); each defaults to 0.

    prep_z, prep_x  a qubit prepared in |0> (|+>) comes out as |1> (|->): X (Z) after preparation
    meas_z, meas_x  a Z (X) measurement reports the wrong result: X (Z) before measurement, or, where the
                    ancilla is not reset afterwards, the result alone
    idle_cnot_*     X, Y, Z on every qubit without a gate in a CNOT layer
    idle_spam_*     X, Y, Z on every data qubit while ancillas are prepared, again while they are measured
    cnot_*          the 15 two-qubit Paulis after a CNOT, the control's first, ordered as PAULI_CHANNEL_2's

    The reference implementation's noise files have one idle_spam step a round; half of its rates, to first
    order, is the same noise here.

    Raises:
        ValueError: a rate is negative or not a number, or the rates of one channel sum to more than 0.5.
    """

    prep_x: float = 0.0
    prep_z: float = 0.0
    meas_x: float = 0.0
    meas_z: float = 0.0
    idle_cnot_x: float = 0.0
    idle_cnot_y: float = 0.0
    idle_cnot_z: float = 0.0
    idle_spam_x: float = 0.0
    idle_spam_y: float = 0.0
    idle_spam_z: float = 0.0
    cnot_ix: float = 0.0
    cnot_iy: float = 0.0
    cnot_iz: float = 0.0
    cnot_xi: float = 0.0
    cnot_xx: float = 0.0
    cnot_xy: float = 0.0
    cnot_xz: float = 0.0
    cnot_yi: float = 0.0
    cnot_yx: float = 0.0
    cnot_yy: float = 0.0
    cnot_yz: float = 0.0
    cnot_zi: float = 0.0
    cnot_zx: float = 0.0
    cnot_zy: float = 0.0
    cnot_zz: float = 0.0

    def __post_init__(self) -> None:
        for name in NOISE_PARAMETERS:
            _check_rate(name, getattr(self, name))
        for channel in ("idle_cnot", "idle_spam", "cnot"):
            total = math.fsum(getattr(self, channel))
            if total > MAX_CHANNEL_RATE:
                raise ValueError(
                    f"{channel}_* rates sum to {total:.6g}; lower them to {MAX_CHANNEL_RATE} or less"
                )

    @property
    def idle_cnot(self) -> tuple[float, ...]:
        """X, Y, Z rates of an idle location in a CNOT layer."""
        return (self.idle_cnot_x, self.idle_cnot_y, self.idle_cnot_z)

    @property
    def idle_spam(self) -> tuple[float, ...]:
        """X, Y, Z rates of a data qubit that waits for preparation, or for measurement, of ancillas."""
        return (self.idle_spam_x, self.idle_spam_y, self.idle_spam_z)

    @property
    def cnot(self) -> tuple[float, ...]:
        """The 15 two-qubit rates, in the order of TWO_QUBIT_PAULIS."""
        return tuple(getattr(self, f"cnot_{pauli.lower()}") for pauli in TWO_QUBIT_PAULIS)


NOISE_PARAMETERS = tuple(field.name for field in fields(CircuitNoise))


def depolarizing(p: float) -> CircuitNoise:
    """Uniform circuit-level depolarizing noise (arXiv:2604.12841).

    Preparations and measurements flip with 2p/3; CNOTs and idle locations, in CNOT layers and in preparation
    and measurement, depolarize with p.

    Raises:
        ValueError: p outside [0, 0.5).
    """
    if not 0 <= p < 0.5:
        raise ValueError(f"p={p!r} is outside [0, 0.5); choose a physical error rate such as 0.003")
    return _symmetric(flip_prep=2 * p / 3, flip_meas=2 * p / 3, idle_cnot=p, idle_spam=p, cnot=p)


def si1000(p: float) -> CircuitNoise:
    """Superconducting-inspired noise SI1000 (Gidney, Newman, Fowler, Broughton, arXiv:2108.10457).

    Its rates on this project's circuit of CNOTs and native X and Z preparation and measurement: CNOTs
    depolarize with p; qubits that wait in a CNOT layer with p/10; data qubits with 2p while ancillas are
    prepared, and with 2p while they are measured; preparations flip with 2p, measurements with 5p. The
    circuit has no single-qubit gates, so that SI1000's p/10 for them has no place.

    Raises:
        ValueError: p outside [0, 0.1], where the measurement flip 5p would pass one half.
    """
    if not 0 <= p <= 0.1:
        raise ValueError(f"p={p!r} is outside [0, 0.1] (si1000 measures with 5p); choose e.g. 0.003")
    return _symmetric(flip_prep=2 * p, flip_meas=5 * p, idle_cnot=p / 10, idle_spam=2 * p, cnot=p)


def load_noise(path: str | Path) -> CircuitNoise:
    """Noise from a TOML file of all 25 parameters, `name = rate`, named as the fields of CircuitNoise.

    Raises:
        ValueError: not TOML, or a key that is unknown, missing or out of range; names file, key, value and
        the fix. OSError: the file cannot be read.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # both TOMLDecodeError and UnicodeDecodeError
        raise ValueError(f"{path} is not a TOML file: {error}; write one with qec.dump_noise") from error
    for key, value in table.items():
        if key not in NOISE_PARAMETERS:
            close = get_close_matches(key.lower(), NOISE_PARAMETERS, n=1, cutoff=0.5)
            fix = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(NOISE_PARAMETERS)}"
            raise ValueError(f"{path}: unknown key {key!r} = {value!r}; {fix}")
    missing = [name for name in NOISE_PARAMETERS if name not in table]
    if missing:
        raise ValueError(f"{path}: missing {', '.join(missing)}; set each to a rate, 0.0 for none")
    try:
        return CircuitNoise(**table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def dump_noise(noise: CircuitNoise, path: str | Path) -> None:
    """Write `noise` as a TOML file that `load_noise` reads back bit for bit."""
    lines = [f"{name} = {float(getattr(noise, name))!r}\n" for name in NOISE_PARAMETERS]
    Path(path).write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class LocationVariation:
    """Device-like noise: the rates of every location are multiplied by its own factor exp(sigma * N(0, 1)).

    A location is a preparation, measurement, idle step or CNOT at its place in a round's schedule; its
    factor is the same in all rounds, and depends on seed, distance and orientation only. The median factor
    is 1, the mean exp(sigma^2 / 2). A factor is clipped where the location's total rate would pass 0.5.

    Raises:
        ValueError: sigma negative or not finite, or seed negative.
    """

    sigma: float
    seed: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ValueError(f"sigma={self.sigma!r} is not a finite number >= 0; 0.3 is a mild variation")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed!r} is negative; use a non-negative integer")

    def factors(self, count: int) -> np.ndarray:
        """The factors of `count` locations: float64, shape (count,), unclipped."""
        return np.exp(self.sigma * np.random.default_rng(self.seed).standard_normal(count))


def _check_rate(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_CHANNEL_RATE:
        raise ValueError(f"{name} = {value!r} is not a rate; set it to a number in [0, {MAX_CHANNEL_RATE}]")


def _symmetric(
    *, flip_prep: float, flip_meas: float, idle_cnot: float, idle_spam: float, cnot: float
) -> CircuitNoise:
    """Noise that treats all Paulis alike, from the total rate of each kind of location."""
    rates = {"prep_x": flip_prep, "prep_z": flip_prep, "meas_x": flip_meas, "meas_z": flip_meas}
    rates |= {f"idle_cnot_{pauli}": idle_cnot / 3 for pauli in "xyz"}
    rates |= {f"idle_spam_{pauli}": idle_spam / 3 for pauli in "xyz"}
    rates |= {f"cnot_{pauli.lower()}": cnot / 15 for pauli in TWO_QUBIT_PAULIS}
    return CircuitNoise(**rates)
