"""The cost model: near the paper's measured times, and with the properties that time has."""

import itertools
import json
import subprocess
import sys

import pytest

from cuda.qecpipe.cost import (
    CARDS,
    Kernel,
    MatrixProduct,
    Stage,
    card_called,
    compare_with_paper,
    convolution,
    elementwise,
    estimate,
)
from cuda.qecpipe.cost.paper import MATCHING_AFTER, NETWORKS, network_stages

H100 = card_called("NVIDIA H100 80GB HBM3")


def test_within_a_factor_of_two_of_every_time_that_the_paper_measured() -> None:
    comparisons = list(compare_with_paper())
    assert {(one.network, one.distance) for one in comparisons} == set(
        itertools.product((1, 4, 5), (13, 21, 31))
    )
    assert [one for one in comparisons if not 0.5 <= one.ratio <= 2] == []
    assert sum(one.fitted for one in comparisons) == 18
    assert len(comparisons) == 30


def test_networks_without_measured_numbers_are_in_the_order_of_the_papers_figure() -> None:
    """Network 3, of 5 x 5 x 5 kernels, takes longest at d = 13, and network 5, the widest, at d = 31."""
    longest = {}
    for d in (13, 31):
        times = {
            number: estimate(
                network_stages(number, cells=d**3, activation="gelu"), card_called("GB300"), shots=1
            ).alone
            for number in NETWORKS
        }
        longest[d] = max(times, key=lambda number: times[number])
    assert longest == {13: 3, 31: 5}


def test_sums_with_pymatching_are_the_papers_published_figure() -> None:
    """Model 4 and PyMatching at p = 0.006: 5.8, 12 and 27 µs a round at d = 13, 21 and 31."""
    measured = {
        one.distance: one.measured
        for one in compare_with_paper()
        if (one.network, one.activation, one.table) == (4, "gelu", "VII")
    }
    after = MATCHING_AFTER[0.006][4]
    assert {d: round(measured[d] + after[d], 1) for d in (13, 21, 31)} == {13: 5.8, 21: 12.0, 31: 26.6}


def test_parameters_of_the_papers_networks_are_those_it_says() -> None:
    """Table II's numbers of parameters (network 1: 912,272 there, which its shape does not give)."""
    counts = {}
    for number, of in NETWORKS.items():
        channels = (4, *of.channels)
        weights = sum(of.size**3 * a * b for a, b in itertools.pairwise(channels))
        counts[number] = weights + sum(of.channels)
    assert counts == {1: 912_772, 2: 3_595_012, 3: 4_224_388, 4: 1_797_764, 5: 7_134_468}


def test_operations_and_bytes_of_a_convolution_are_those_counted_by_hand() -> None:
    kernel = convolution("a", cells=1000, inputs=48, outputs=48, taps=27, precision="bfloat16")
    assert kernel.operations == 2 * 1000 * 27 * 48 * 48
    assert kernel.bytes == 2 * (1000 * 96 + 27 * 48 * 48)
    exact = convolution("a", cells=1000, inputs=48, outputs=48, taps=27, precision="float32")
    assert exact.product is None
    assert (exact.operations, exact.bytes) == (kernel.operations, 2 * kernel.bytes)
    added = convolution("a", cells=1000, inputs=48, outputs=48, taps=1, precision="bfloat16", added=True)
    assert added.bytes == 2 * (1000 * (48 + 2 * 48) + 48 * 48)


def test_few_inputs_and_outputs_are_filled_up_to_what_matrix_units_take() -> None:
    narrow = convolution("a", cells=128, inputs=4, outputs=4, taps=27, precision="fp8")
    assert narrow.product == MatrixProduct(rows=128, columns=16, depth=27 * 16)


def test_fewer_tiles_than_multiprocessors_take_the_time_of_one() -> None:
    def seconds(cells: int) -> float:
        kernel = convolution("a", cells=cells, inputs=64, outputs=64, taps=27, precision="bfloat16")
        return sum(kernel.terms(H100).values())

    one = seconds(1)
    assert seconds(128 * 132) == pytest.approx(one)
    assert seconds(128 * 132 + 1) > 1.5 * one


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_no_kernel_is_faster_than_the_card(card) -> None:
    for cells, channels in itertools.product((1, 1000, 10**6), (16, 48, 256)):
        kernel = convolution(
            "a",
            cells=cells,
            inputs=channels,
            outputs=channels,
            taps=27,
            precision="bfloat16",
            activation=True,
        )
        seconds = sum(kernel.terms(card).values())
        assert seconds >= kernel.operations / card.matrix_rates["bfloat16"]
        assert seconds >= kernel.bytes / card.cache_rate


def test_sustained_time_is_that_of_the_busiest_resource() -> None:
    """And directions of the link do not wait for each other; a core takes whole shots."""
    stages = [
        Stage("up", link_bytes=50e9 * 1e-3),
        Stage("work", (elementwise("copy", read=1.0, written=1.0, precision="float32", launches=500),)),
        Stage("down", link_bytes=50e9 * 2e-3),
        Stage("match", host_seconds=10 * 4e-3),
    ]
    found = estimate(stages, H100, shots=10, cores=4)
    assert found.resources == pytest.approx({"card": 5e-4, "link": 2e-3, "host": 3 * 4e-3}, rel=1e-3)
    assert found.sustained == pytest.approx(12e-3)
    assert (found.binding, found.alone_binding) == ("host", "host")
    assert found.alone == pytest.approx(5e-4 + 1e-3 + 2e-3 + 12e-3 + 12e-6, rel=1e-3)
    assert estimate(stages, H100, shots=10, cores=16).binding == "host"
    assert estimate(stages[:3], H100, shots=10).binding == "link"
    assert estimate(stages[1:2], H100, shots=10).binding == "launches"


def test_what_cannot_be_is_refused() -> None:
    fp8 = Kernel("a", "fp8", bytes=1.0, product=MatrixProduct(1, 16, 16))
    with pytest.raises(ValueError, match=r"A100 has no matrix units for precision='fp8'; use one of float32"):
        estimate([Stage("a", (fp8,))], card_called("A100"), shots=1)
    with pytest.raises(ValueError, match="card 'RTX' is unknown; the model knows A100, H100, H200, GB300"):
        card_called("RTX")
    with pytest.raises(ValueError, match="cores=0 is less than 1"):
        estimate([], H100, shots=1, cores=0)


def test_the_model_needs_neither_numpy_nor_torch() -> None:
    script = "import json, sys; import cuda.qecpipe.cost.paper; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch"} & set(json.loads(run.stdout))
