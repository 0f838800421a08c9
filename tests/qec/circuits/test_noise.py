"""Noise models: named points, files, errors, and the statistics of per-location variation."""

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qec.circuits.noise import (
    NOISE_PARAMETERS,
    CircuitNoise,
    LocationVariation,
    depolarizing,
    dump_noise,
    load_noise,
    si1000,
)


def test_there_are_25_parameters() -> None:
    groups = ("prep_", "meas_", "idle_cnot_", "idle_spam_", "cnot_")
    assert [sum(name.startswith(g) for name in NOISE_PARAMETERS) for g in groups] == [2, 2, 3, 3, 15]
    assert len(NOISE_PARAMETERS) == 25


def test_depolarizing_follows_the_paper() -> None:
    noise = depolarizing(0.006)
    assert (noise.prep_x, noise.prep_z, noise.meas_x, noise.meas_z) == pytest.approx([0.004] * 4)
    assert noise.idle_cnot == noise.idle_spam == pytest.approx((0.002,) * 3)
    assert noise.cnot == pytest.approx((0.0004,) * 15)


def test_si1000_rates() -> None:
    noise = si1000(0.001)
    assert (noise.prep_x, noise.prep_z) == pytest.approx([0.002] * 2)
    assert (noise.meas_x, noise.meas_z) == pytest.approx([0.005] * 2)
    assert math.fsum(noise.idle_cnot) == pytest.approx(0.0001)
    assert math.fsum(noise.idle_spam) == pytest.approx(0.002)
    assert math.fsum(noise.cnot) == pytest.approx(0.001)


@given(p=st.floats(0, 0.5, exclude_max=True))
def test_every_physical_rate_is_valid_noise(p: float) -> None:
    assert math.fsum(depolarizing(p).cnot) == pytest.approx(p)


@pytest.mark.parametrize("p", [-0.001, 0.5, 2.0, math.nan, math.inf])
def test_rate_out_of_range_is_named(p: float) -> None:
    with pytest.raises(ValueError, match=rf"p={p!r} is outside"):
        depolarizing(p)
    with pytest.raises(ValueError, match=rf"p={p!r} is outside"):
        si1000(p)


@pytest.mark.parametrize("value", [-0.1, 0.6, math.nan, True, "0.1"])
@pytest.mark.parametrize("name", NOISE_PARAMETERS)
def test_every_parameter_is_checked(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} = {value!r}"):
        CircuitNoise(**{name: value})  # pyright: ignore[reportArgumentType]


def test_channel_totals_are_checked() -> None:
    with pytest.raises(ValueError, match=r"cnot_\* rates sum to 0.75"):
        replace(depolarizing(0.0), cnot_xx=0.4, cnot_zz=0.35)
    with pytest.raises(ValueError, match=r"idle_spam_\* rates sum to 0.6"):
        CircuitNoise(idle_spam_x=0.3, idle_spam_y=0.3)


@given(rates=st.lists(st.floats(0, 0.03), min_size=25, max_size=25))
def test_toml_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, rates: list[float]) -> None:
    noise = CircuitNoise(**dict(zip(NOISE_PARAMETERS, rates, strict=True)))
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    dump_noise(noise, path)
    assert load_noise(path) == noise


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cnot_xy = ", "cnot_yxx = ", r"unknown key 'cnot_yxx' = 0.001; did you mean 'cnot_"),
        ("meas_z = ", "p_meas_Z = ", r"unknown key 'p_meas_Z' = .*did you mean 'meas_z'"),
        ("prep_x = ", "# ", r"missing prep_x; set"),
        ("meas_x = 0.01", "meas_x = 0.7", r"meas_x = 0.7 is not a rate; set it"),
        ("meas_x = 0.01", "meas_x = 'big'", r"meas_x = 'big' is not a rate"),
        ("meas_x = 0.01", "meas_x = = 0.01", r"is not a TOML file"),
    ],
)
def test_bad_file_names_the_key_and_the_fix(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "noise.toml"
    dump_noise(replace(depolarizing(0.015), meas_x=0.01), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        load_noise(path)
    assert str(path) in str(caught.value)


def test_binary_file_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "noise.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a TOML file"):
        load_noise(path)


def test_noise_survives_asdict() -> None:
    assert CircuitNoise(**asdict(si1000(0.003))) == si1000(0.003)


def test_variation_is_seeded_and_log_normal() -> None:
    count, sigma = 40_000, 0.4
    logs = np.log(LocationVariation(sigma=sigma, seed=7).factors(count))
    assert abs(logs.mean()) < 5 * sigma / math.sqrt(count)
    assert abs(logs.std() / sigma - 1) < 5 / math.sqrt(2 * count)
    assert np.array_equal(logs, np.log(LocationVariation(sigma=sigma, seed=7).factors(count)))
    assert not np.array_equal(logs, np.log(LocationVariation(sigma=sigma, seed=8).factors(count)))


@pytest.mark.parametrize(("sigma", "seed"), [(-0.1, 0), (math.inf, 0), (math.nan, 0), (0.1, -1)])
def test_bad_variation_is_named(sigma: float, seed: int) -> None:
    with pytest.raises(ValueError, match=rf"(sigma={sigma!r}|seed={seed!r})"):
        LocationVariation(sigma=sigma, seed=seed)
