"""The state folder: of one server, whose models are checked, and which does not grow for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from decoder_service.client import ServiceError
from decoder_service.protocol import ErrorCode, PayloadError, UploadPayload
from decoder_service.server import ServerConfig, ServerFrontEnd, WorkerConfig
from decoder_service.server.front_end import UnixSocket
from decoder_service.store import (
    PART,
    ModelLimitError,
    ModelStore,
    Retention,
    StateFolder,
    Upload,
    UploadBudget,
    set_aside,
)


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    lock = state.lock()
    with pytest.raises(ValueError, match=rf"used by the server with process number {os.getpid()}"):
        state.lock(patience=0.0)
    os.close(lock)
    os.close(state.lock(patience=0.0))


def test_the_folder_is_in_use_as_long_as_a_process_of_its_server_lives(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    lock = state.lock()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock]
    ) as worker:
        os.close(lock)
        with pytest.raises(ValueError, match="is used by"):
            state.lock(patience=0.0)
        worker.kill()
    os.close(state.lock(patience=0.0))


def test_a_server_says_that_its_folder_is_taken(serve) -> None:
    server = serve()
    config = ServerConfig(worker=WorkerConfig(state=server.config.worker.state), unix=Path("unused"))
    with pytest.raises(ValueError, match="the state folder"):
        config.worker.folder.lock(patience=0.0)
    assert ServerFrontEnd(config).config is config  # nothing is taken before it is entered


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ValueError, match="everyone can write"):
        StateFolder(tmp_path).lock()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    with pytest.raises(ValueError, match="belongs to user 4711"):
        StateFolder(tmp_path).lock()


def test_a_draining_server_leaves_its_successors_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = UnixSocket(path)
    path.unlink()  # by hand; the successor could not start otherwise
    second = UnixSocket(path)
    first.remove()
    first.listener.close()
    assert path.is_socket()
    second.remove()
    second.listener.close()
    assert not path.exists()


def test_what_a_crash_left_half_written_is_cleared(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    os.close(state.lock())
    (state.models / f"x{PART}").write_text("half")
    os.close(state.lock())
    assert not list(state.models.iterdir())


def _file(folder: Path, name: str, *, size: int, age: float) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(bytes(size))
    written = path.stat().st_mtime - age
    os.utime(path, (written, written))
    return path


def test_the_oldest_that_no_session_needs_is_deleted_first(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    live = _file(state.journals, "a" * 32 + "-0.000000.000000.qdj", size=500, age=900)
    resting = [
        _file(state.journals, f"{k:032x}-0.000000.000000.qdj", size=100, age=500 - k) for k in range(3)
    ]
    archived = [_file(state.archive, f"{k}.qdj", size=100, age=100 - k) for k in range(3)]
    damaged = _file(state.damaged, "x", size=100, age=99.5)
    keep = Retention(max_bytes=1e9, max_age=1000)
    assert keep.sweep(state, live={"a" * 32}) == []
    keep = Retention(max_bytes=900, max_age=1000)
    assert keep.sweep(state, live={"a" * 32}) == [archived[0], damaged, archived[1]]
    keep = Retention(max_bytes=700, max_age=1000)
    assert keep.sweep(state, live={"a" * 32}) == [archived[2], resting[0]]
    keep = Retention(max_bytes=1e9, max_age=498.5)
    assert keep.sweep(state, live={"a" * 32}) == [resting[1]]
    assert sorted(state.journals.iterdir()) == sorted([live, resting[2]])


def test_set_aside_keeps_what_was_there_under_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    first = set_aside(path, tmp_path / "damaged")
    assert set_aside(path, tmp_path / "damaged") == first
    path.unlink()
    path.write_text("two")
    second = set_aside(path, tmp_path / "damaged")
    assert (first.read_text(), second.read_text()) == ("one", "two")


@pytest.mark.parametrize("content", [b"", b"another text"])
def test_a_damaged_model_is_asked_for_again(tmp_path: Path, content: bytes) -> None:
    state = StateFolder(tmp_path)
    store = ModelStore(state, max_bytes=100, max_models=8)
    digest = store.put(b"a text")
    for read in (lambda: store.get(digest), lambda: store.put(b"a text")):
        (store.folder / digest).write_bytes(content)
        assert read() in (None, digest)
        assert {file.read_bytes() for file in state.damaged.iterdir()} == {content}
        assert store.put(b"a text") == digest
        assert store.get(digest) == "a text"


def test_an_open_of_a_damaged_model_says_that_it_is_unknown(serve, kit) -> None:
    server = serve()
    with server.client() as client:
        digest = client.upload(kit.text)
        (server.config.worker.folder.models / digest).write_text(str(kit.other))
        client._stored.clear()
        client.upload = lambda text: digest
        with pytest.raises(ServiceError) as refused:
            client.open(kit.text, **kit.options)
        assert refused.value.code is ErrorCode.UNKNOWN_MODEL
        del client.upload
        assert client.open(kit.text, **kit.options).opened is not None


def _part(text: bytes, offset: int, size: int) -> UploadPayload:
    return UploadPayload(bytes(32), len(text), offset, text[offset : offset + size])


def test_unfinished_uploads_have_one_budget() -> None:
    """20 of them took a gigabyte."""
    budget = UploadBudget(max_bytes=100)
    text = bytes(range(100))
    uploads = [Upload(budget) for _ in range(5)]
    for upload in uploads:
        assert upload.add(_part(text, 0, 60)) is None
    with pytest.raises(PayloadError, match="start again at 0"):
        uploads[0].add(_part(text, 60, 40))
    assert uploads[4].add(_part(text, 60, 40)) == text
    assert uploads[0].add(_part(text, 0, 100)) == text
    with pytest.raises(ModelLimitError, match="200 bytes of other models wait to be stored"):
        uploads[1].add(_part(text, 0, 1))
    budget.stored(text)
    assert uploads[1].add(_part(text, 0, 60)) is None
    assert uploads[2].add(UploadPayload(b"", 0, 0, b"")) == b""
