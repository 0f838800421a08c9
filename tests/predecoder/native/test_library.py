"""Native libraries are built once, whole, for the machine at hand, or there is a reason."""

import ctypes
import grp
import logging
import multiprocessing
import os
import pwd
from pathlib import Path

import numpy as np
import pytest
import torch

from cuda.qecpipe import cpu_build
from predecoder.correction import MatchingDecision, ResidualNetwork
from predecoder.native import NativeUnavailableError, library, load_library, trust

ANSWER = 'extern "C" int answer() { return %d; }\n'


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder of sources with `answer.cpp`, an empty cache, and nothing loaded."""
    folder, cache = tmp_path / "sources", tmp_path / "cache"
    folder.mkdir()
    (folder / "answer.cpp").write_text(ANSWER % 1)
    monkeypatch.setattr(library, "SOURCES", folder)
    monkeypatch.setattr(library, "_CACHE", cache)
    load_library.cache_clear()
    yield folder, cache
    load_library.cache_clear()


def _no_compiler() -> str:
    raise cpu_build.CompilerMissingError("no C++ compiler (here)")


def _reload() -> ctypes.CDLL:
    load_library.cache_clear()
    return load_library("answer")


def test_is_built_once(sources, monkeypatch):
    _, cache = sources
    assert load_library("answer").answer() == 1
    assert [path.suffix for path in sorted(cache.iterdir())] == [".sha256", ".so"]

    def fail(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(library, "_build", fail)
    assert load_library("answer") is load_library("answer")
    assert _reload().answer() == 1


def test_another_source_or_header_is_another_library(sources):
    folder, cache = sources
    assert load_library("answer").answer() == 1
    (folder / "answer.cpp").write_text(ANSWER % 2)
    assert _reload().answer() == 2
    (folder / "some.h").write_text("// new\n")
    assert _reload().answer() == 2
    assert len(list(cache.glob("*.so"))) == 3


def test_a_compiler_without_march_native_builds_portably(sources, monkeypatch):
    run = library._run

    def reject(command: list[str]) -> str:
        if "-march=native" in command:
            raise NativeUnavailableError("unknown flag")
        return run(command)

    monkeypatch.setattr(library, "_run", reject)
    library._target.cache_clear()
    try:
        assert load_library("answer").answer() == 1
    finally:
        library._target.cache_clear()


@pytest.mark.parametrize("damage", [b"", b"not a library", "half"])
def test_a_damaged_library_is_built_again(sources, damage):
    _, cache = sources
    flags, target = library._target(cpu_build.find_compiler())
    name = f"answer-{library._key(sources[0] / 'answer.cpp', flags, target)}.so"
    assert load_library("answer").answer() == 1
    assert [path.name for path in cache.glob("*.so")] == [name]
    whole = (cache / name).read_bytes()
    # A new file, as the old one is mapped into this process.
    (cache / name).unlink()
    (cache / name).write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    assert _reload().answer() == 1
    assert (cache / name).read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(sources, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(library, "_CACHE", blocked / "cache")
    assert load_library("answer").answer() == 1


@pytest.mark.parametrize("where", ["cache", "above"])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_cache_that_others_can_write_is_not_used(sources, monkeypatch, caplog, tmp_path, where, mode):
    """Not even a library in it that looks right: whoever can write there could have put it there."""
    above = tmp_path / "above"
    cache = above / "cache"
    cache.mkdir(parents=True)
    monkeypatch.setattr(library, "_CACHE", cache)
    assert load_library("answer").answer() == 1
    kept = sorted(path.name for path in cache.iterdir())
    (cache if where == "cache" else above).chmod(mode)
    monkeypatch.setattr(trust, "_is_alone_in", lambda _: False)
    library._warn_once.cache_clear()
    loaded = []
    load = library._load
    monkeypatch.setattr(library, "_load", lambda path: loaded.append(path) or load(path))
    with caplog.at_level(logging.WARNING, logger="predecoder.native"):
        assert _reload().answer() == 1
        assert _reload().answer() == 1
    harmless = where == "above" and mode == 0o1777
    assert all((path.parent == cache) == harmless for path in loaded)
    assert sorted(path.name for path in cache.iterdir()) == kept
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (0 if harmless else 1), "said once"
    if not harmless:
        assert f"run: chmod go-w {cache if where == 'cache' else above}" in messages[0]


def test_libraries_of_another_user_are_not_loaded(sources, monkeypatch):
    """A file that is another's, or that others can write, in a folder that is ours is built again."""
    _, cache = sources
    assert load_library("answer").answer() == 1
    (kept,) = cache.glob("*.so")
    before = kept.stat().st_ino
    kept.chmod(0o666)
    assert _reload().answer() == 1
    assert kept.stat().st_ino != before
    before, mine = kept.stat().st_ino, library.is_ours
    monkeypatch.setattr(library, "is_ours", lambda status: mine(status) and status.st_ino != before)
    assert _reload().answer() == 1
    assert kept.stat().st_ino != before


def test_a_folder_of_a_users_own_group_is_theirs():
    user = pwd.getpwuid(os.geteuid())
    own = grp.getgrgid(user.pw_gid)
    assert trust._is_alone_in(user.pw_gid) == (
        own.gr_name == user.pw_name and own.gr_mem in ([], [own.gr_name])
    )
    assert not trust._is_alone_in(2**31 - 7)


def test_a_user_without_a_home_folder_does_without_a_cache(sources, monkeypatch):
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert load_library("answer").answer() == 1
    assert not sources[1].exists()


def _answer(folder: Path, cache: Path, results) -> None:
    library.SOURCES, library._CACHE = folder, cache
    results.put(load_library("answer").answer())


def test_processes_that_build_at_once_all_get_it(sources):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_answer, args=(*sources, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=120) for _ in workers] == [1, 1]
    for worker in workers:
        worker.join()
    assert len(list(sources[1].iterdir())) == 2, "temporary files were left behind"


def test_what_does_not_compile_says_why(sources):
    folder, cache = sources
    (folder / "broken.cpp").write_text("int x = nope;\n")
    with pytest.raises(NativeUnavailableError, match=r"could not compile .*broken\.cpp:\n[^$]*nope"):
        load_library("broken")
    assert list(cache.iterdir()) == []
    with pytest.raises(NativeUnavailableError, match=r"no missing\.cpp among the native sources"):
        load_library("missing")


def test_without_a_compiler_python_goes_on_and_says_so_once(model, monkeypatch, caplog):
    from predecoder.native import fallback

    m = model(3, 3)
    packed, _, _ = m.dem.compile_sampler(seed=1).sample(10, bit_packed=True)
    logits = np.full((10, m.moves.num_moves), -3.0, dtype=np.float32)
    expected = MatchingDecision(m.problem, native=False)(logits, packed)
    monkeypatch.setattr(cpu_build, "find_compiler", _no_compiler)
    load_library.cache_clear()
    fallback._log_once.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="predecoder.native"):
            for _ in range(2):
                assert np.array_equal(MatchingDecision(m.problem)(logits, packed), expected)
    finally:
        load_library.cache_clear()
        fallback._log_once.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "going on without this native code, which is slower: no C++ compiler (here)"
    ]


def test_without_a_compiler_a_separable_network_runs_in_torch(model, separable_network, monkeypatch):
    m, network = model(3, 3), separable_network()
    packed, _, _ = m.dem.compile_sampler(seed=2).sample(20, bit_packed=True)
    decisions = [MatchingDecision(m.problem, native=False)]
    native = ResidualNetwork(m.problem, network, device=torch.device("cpu"), threads=3)
    assert native.native
    expected = native.residuals(packed, decisions)
    monkeypatch.setattr(cpu_build, "find_compiler", _no_compiler)
    load_library.cache_clear()
    try:
        python = ResidualNetwork(m.problem, network, device=torch.device("cpu"))
    finally:
        load_library.cache_clear()
    assert not python.native
    for got, wanted in zip(python.residuals(packed, decisions)[0], expected[0], strict=True):
        assert np.array_equal(got, wanted)
