"""The engine on devices of the host: results, order of calls, buffers, what it does when a device fails."""

import itertools
import threading

import numpy as np
import pytest

from cuda.qecpipe import (
    CpuDriver,
    CudaEngine,
    DeviceLostError,
    DeviceMemoryError,
    GraphCaptureError,
    Program,
    common_parts,
    in_order,
)


def run(engine: CudaEngine, packed: np.ndarray) -> np.ndarray:
    """Logits of all shots, batch by batch."""
    jobs = ((engine, packed[part]) for part in engine.parts(len(packed)))
    return np.concatenate([found["logits"].copy() for found in in_order(jobs)])


@pytest.mark.parametrize("scale", [None, 8.0])
@pytest.mark.parametrize("count", [1, 3, 16, 63, 64, 65, 333])
def test_batches_of_any_number_of_shots(program, expected, shots, late_driver, scale, count) -> None:
    """On a device that does everything as late as it may, whether or not the last batch is full."""
    made, packed = program(scale), shots(count)
    for driver in (CpuDriver(), late_driver()):
        found = run(CudaEngine(made, driver, batch_shots=64), packed)
        np.testing.assert_array_equal(found, expected(made, packed), strict=True)


def test_what_is_asked_of_a_device_and_in_which_order(program, shots, recording_driver) -> None:
    driver = recording_driver()
    engine = CudaEngine(program(), driver, batch_shots=4)
    engine.warm(4)
    prepared = [
        "on stream {}",
        "pinned (4, 5)",
        "memory (4, 5)",
        "memory (4, 2, 1, 3, 16)",
        "pinned (164,)",
        "memory (164,)",
        "capture",
        "launch blocked_input_float32",
        "launch quantize_moves_float32",
        "captured",
        "off stream {}",
    ]
    assert driver.calls == [call.format(k) for k in (1, 2) for call in prepared]
    driver.calls.clear()
    run(engine, shots(12))
    started = [
        "on stream {}",
        "copy 20 uint8",
        "replay",
        "copy 164 int8",
        "record",
        "off stream {}",
    ]
    # What was made last is used first. The second batch begins before the first is waited for.
    order = [(2, started), (1, started), (2, ["wait stream {}"]), (2, started), (1, ["wait stream {}"])]
    order.append((2, ["wait stream {}"]))
    assert driver.calls == [call.format(k) for k, calls in order for call in calls]


def test_no_memory_is_asked_for_once_it_is_warm(program, shots) -> None:
    driver = CpuDriver()
    engine = CudaEngine(program(), driver, batch_shots=64)
    engine.warm(100)
    before = driver.allocations()
    assert before > 0
    for _ in range(5):
        run(engine, shots(100))
    assert driver.allocations() == before


def test_batches_are_of_few_sizes_and_never_mostly_empty(program, late_driver) -> None:
    engine = CudaEngine(program(), late_driver(), batch_shots=1000)
    for count in (1, 2, 3, 5, 8, 100, 500, 999, 1000, 1001, 2345):
        parts = list(engine.parts(count))
        assert parts[0].start == 0
        assert parts[-1].stop == count
        assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
    sizes = sorted(engine._idle)
    assert sizes == [1, 4, 16, 64, 256, 1000]
    assert [part.stop - part.start for part in engine.parts(2345)] == [1000, 1000, 256, 64, 16, 9]


def test_what_a_batch_that_nobody_waited_for_occupies_is_used_again(
    program, expected, shots, late_driver
) -> None:
    made, packed = program(), shots(64)
    engine = CudaEngine(made, late_driver(), batch_shots=16)
    jobs = in_order((engine, packed[part]) for part in engine.parts(64))
    next(jobs)
    jobs.close()  # with a second batch under way
    np.testing.assert_array_equal(run(engine, packed), expected(made, packed), strict=True)


def test_threads_share_an_engine(program, expected, shots) -> None:
    made, packed = program(), [shots(count) for count in (150, 200, 250, 300)]
    engine = CudaEngine(made, CpuDriver(), batch_shots=16)
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda k=k: found.update({k: run(engine, packed[k])})) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        np.testing.assert_array_equal(found[k], expected(made, packed[k]), strict=True)


def test_a_device_with_less_memory_has_smaller_batches(program, expected, shots, recording_driver) -> None:
    made, packed, driver = program(), shots(200), recording_driver()

    def at_most_16(shape: tuple[int, ...]) -> Exception | None:
        return DeviceMemoryError("too little") if len(shape) == 5 and shape[0] > 16 else None

    driver.fail["memory"] = at_most_16
    engine = CudaEngine(made, driver, batch_shots=256)
    assert engine.batch_shots == 256
    np.testing.assert_array_equal(run(engine, packed), expected(made, packed), strict=True)
    assert engine.batch_shots == 16
    assert driver.calls.count("release") == 2  # 256 shots did not fit, nor did 64
    driver.calls.clear()
    run(engine, packed)
    assert not [call for call in driver.calls if call.startswith(("memory", "pinned", "capture"))]


def full(driver) -> None:
    """From now on the device has no memory left."""
    driver.fail["memory"] = lambda shape: DeviceMemoryError(f"too little memory for {shape}")


def asked(driver) -> list[str]:
    """What was allocated, or tried to."""
    return [call for call in driver.calls if call.startswith(("memory", "pinned", "capture", "release"))]


def test_what_does_not_fit_leaves_what_is_ready(program, expected, shots, recording_driver) -> None:
    """Where nothing smaller fits, larger batches that are ready are used, though mostly empty."""
    made, driver = program(), recording_driver()
    engine = CudaEngine(made, driver, batch_shots=256)
    engine.warm(256)
    full(driver)
    for count in (50, 20, 1):  # they want 64, 16 and 1
        np.testing.assert_array_equal(
            run(engine, shots(count)), expected(made, shots(count)), strict=True, err_msg=str(count)
        )
    assert engine.batch_shots == 256
    assert sorted(engine._idle) == [256]
    driver.calls.clear()
    for count in (50, 20, 1, 600):
        run(engine, shots(count))
    assert not asked(driver)  # it is known what does not fit


def test_the_smallest_batch_that_is_ready_and_holds_the_shots_is_used(
    program, shots, recording_driver
) -> None:
    driver = recording_driver()
    engine = CudaEngine(program(), driver, batch_shots=256)
    engine.warm(256)
    engine.warm(16)
    full(driver)
    engine.warm(50)  # 64 do not fit
    assert engine._usable == [1, 4, 16, 256]
    assert [list(engine.parts(count)) for count in (16, 17, 50)] == [
        [slice(0, 16)],
        [slice(0, 16), slice(16, 17)],
        [slice(0, 50)],
    ]
    assert (engine._chosen(3), engine._chosen(50)) == (16, 256)  # 4 do not fit either; 1 was tried for 17
    driver.fail.clear()
    driver.calls.clear()
    engine.warm(50)
    assert not asked(driver)  # nor later: what a number of shots needs stays what it was


def test_parts_that_were_cut_stay_good_whatever_other_threads_find(
    program, expected, shots, recording_driver
) -> None:
    made, driver = program(), recording_driver()
    engine = CudaEngine(made, driver, batch_shots=64)
    parts = list(engine.parts(64))
    full(driver)
    thread = threading.Thread(target=lambda: run(engine, shots(9)))
    thread.start()
    thread.join()
    (found,) = in_order((engine, shots(64)[part]) for part in parts)
    np.testing.assert_array_equal(found["logits"], expected(made, shots(64)), strict=True)


@pytest.mark.parametrize("most", [0, 4, 16])
def test_parts_that_all_devices_take(program, expected, shots, recording_driver, most) -> None:
    """One has 64 ready and no room for more; one holds less than 64; one all."""
    made, drivers = program(), [recording_driver(k) for k in range(3)]
    engines = [CudaEngine(made, driver, batch_shots=64) for driver in drivers]
    engines[0].warm(64)
    for driver, limit in ((drivers[0], most), (drivers[1], 16)):
        driver.fail["memory"] = lambda shape, limit=limit: (
            DeviceMemoryError("too little") if shape[0] > limit and len(shape) == 5 else None
        )
    for count in (1, 3, 9, 23, 64, 150):
        parts = list(common_parts(engines, count))
        assert [shot for part in parts for shot in range(count)[part]] == list(range(count))
        for driver in drivers:
            driver.calls.clear()
        for engine in engines:
            found = [one["logits"].copy() for one in in_order((engine, shots(count)[part]) for part in parts)]
            np.testing.assert_array_equal(np.concatenate(found), expected(made, shots(count)), strict=True)
        assert not any(asked(driver) for driver in drivers)


def test_a_device_without_memory_for_one_shot(program, shots, recording_driver) -> None:
    driver = recording_driver()
    driver.fail["pinned"] = lambda shape: DeviceMemoryError(f"device has too little memory for {shape}")
    with pytest.raises(DeviceMemoryError, match=r"too little memory for \(1, 5\)"):
        run(CudaEngine(program(), driver, batch_shots=64), shots(9))


def test_a_network_that_cannot_be_captured(program, shots, recording_driver) -> None:
    driver = recording_driver()
    driver.fail["capture"] = lambda: GraphCaptureError("cuda:0 failed to capture a graph: no such algorithm")
    with pytest.raises(GraphCaptureError, match="no such algorithm"):
        run(CudaEngine(program(), driver), shots(9))


@pytest.mark.parametrize("call", ["copy", "replay", "record", "wait"])
def test_a_device_that_is_lost_is_lost_for_good(program, shots, recording_driver, call) -> None:
    driver = recording_driver()
    engine = CudaEngine(program(), driver, batch_shots=16)
    run(engine, shots(32))
    driver.fail[call] = lambda *_: DeviceLostError("cuda:0 failed: an illegal memory access")
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        run(engine, shots(64))
    driver.fail.clear()
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        run(engine, shots(1))


def test_a_lost_device_leaves_the_batches_of_others(program, expected, shots, recording_driver) -> None:
    made, drivers = program(), [recording_driver(k) for k in range(2)]
    lost, healthy = engines = [CudaEngine(made, driver, batch_shots=4) for driver in drivers]
    for engine in engines:
        engine.warm(4)
    jobs = in_order((engine, shots(4)) for engine in (healthy, lost, healthy, lost, lost))
    next(jobs)  # both of the lost device's and one of the healthy one's are under way
    drivers[0].fail["wait"] = lambda: DeviceLostError("cuda:0 failed to compute")
    with pytest.raises(DeviceLostError, match="cuda:0 failed to compute"):
        jobs.close()
    assert [len(engine._idle[4]) for engine in engines] == [2, 2]
    np.testing.assert_array_equal(run(healthy, shots(9)), expected(made, shots(9)), strict=True)


@pytest.mark.parametrize("call", ["copy", "replay", "record"])
def test_a_batch_that_did_not_begin_occupies_nothing(
    program, expected, shots, recording_driver, call
) -> None:
    """Ctrl-C, say, before all was queued: what was is over before the memory's next batch."""
    made, driver = program(), recording_driver()
    engine = CudaEngine(made, driver, batch_shots=4)
    engine.warm(4)
    driver.fail[call] = lambda *_: KeyboardInterrupt()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            engine.submit(shots(4), wait=False)
    driver.fail.clear()
    assert len(engine._idle[4]) == 2
    np.testing.assert_array_equal(run(engine, shots(12)), expected(made, shots(12)), strict=True)


def test_who_waits_for_a_device_learns_that_it_is_lost(program, shots, recording_driver) -> None:
    driver = recording_driver()
    engine = CudaEngine(program(), driver, batch_shots=4)
    engine.warm(4)
    held = [engine.submit(shots(4)) for _ in range(2)]
    assert held[0] is not None
    assert engine.submit(shots(4), wait=False) is None
    errors: list[Exception] = []

    def third() -> None:
        try:
            engine.submit(shots(4))
        except DeviceLostError as error:
            errors.append(error)

    thread = threading.Thread(target=third, daemon=True)
    thread.start()
    driver.fail["wait"] = lambda: DeviceLostError("cuda:0 failed to compute")
    with pytest.raises(DeviceLostError):
        held[0].results()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert [str(error) for error in errors] == ["cuda:0 failed to compute"]


def test_bad_shots_are_named(program, shots, late_driver) -> None:
    engine = CudaEngine(program(), late_driver(), batch_shots=4)
    with pytest.raises(ValueError, match=r"shape \(2, 4\); use 1 to 4 shots of 5 bytes"):
        engine.submit(np.zeros((2, 4), dtype=np.uint8))
    for count in (0, 9):
        with pytest.raises(ValueError, match=rf"shape \({count}, 5\); use 1 to \d shots"):
            engine.submit(shots(count))
    for kind in (np.float32, np.int8, bool):
        with pytest.raises(ValueError, match=rf"a batch is {np.dtype(kind)} of .*, uint8"):
            engine.submit(shots(2).astype(kind))
    with pytest.raises(ValueError, match="batch_shots=0"):
        CudaEngine(program(), late_driver(), batch_shots=0)


def test_half_types_are_handed_down_as_int8(program) -> None:
    made = program()
    with pytest.raises(ValueError, match="bfloat16 are handed down as int8: give a scale"):
        Program(
            made.source,
            made.num_detectors,
            made.network,
            "bfloat16",
            made.places,
            type(made.output)(None),
        )


def test_results_are_the_hosts_memory_until_done(program, shots, late_driver) -> None:
    """Two batches are under way at once, in memory of their own."""
    engine = CudaEngine(program(), late_driver(), batch_shots=4)
    first, second = engine.submit(shots(4)), engine.submit(shots(3))
    assert first is not None
    assert second is not None
    a, b = first.results()["logits"], second.results()["logits"]
    assert not np.shares_memory(a, b)
    assert (len(a), len(b)) == (4, 3)
    before = a.copy()
    second.done()
    run(engine, shots(2))
    np.testing.assert_array_equal(a, before)
