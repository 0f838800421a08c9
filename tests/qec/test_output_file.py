"""Output files: complete or untouched, through links and devices, never in place of an input."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from qec import OutputFileError, output_file, refuse_inputs, write_shots


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with output_file(path) as unfinished:
        unfinished.write_text("one")
        assert not path.exists()
    path.chmod(0o640)
    with pytest.raises(KeyError):
        _fail_halfway(path)
    assert path.read_text() == "one"
    with output_file(path) as unfinished:
        unfinished.write_text("two")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("two", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def _fail_halfway(path: Path) -> None:
    with output_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyError


@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed_and_stay(tmp_path: Path, there: bool) -> None:
    (tmp_path / "disk").mkdir()
    target = tmp_path / "disk" / "real.b8"
    if there:
        target.write_bytes(b"old")
    link = tmp_path / "link.b8"
    link.symlink_to(Path("disk") / "real.b8")
    write_shots(link, np.array([[1]], np.uint8), format="b8", num_detectors=3)
    assert link.is_symlink()
    assert target.read_bytes() == b"\x01"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors have no names here")
def test_a_file_behind_stdout_goes_on_where_it_stands(tmp_path: Path) -> None:
    """As in `qecpipe decode --out /dev/stdout >> log`: the log stays, and what is printed follows."""
    log = tmp_path / "log"
    log.write_text("header\n")
    code = (
        "from qec import output_file\n"
        "print('before')\n"
        "with output_file('/dev/stdout') as path: path.write_text('rows\\n')\n"
        "print('after')\n"
    )
    with log.open("ab") as stdout:
        subprocess.run([sys.executable, "-c", code], stdout=stdout, check=True)
    assert log.read_text() == "header\nbefore\nrows\nafter\n"
    link = tmp_path / "link"
    link.symlink_to("/dev/stdout")
    linked = code.replace("/dev/stdout", str(link))
    with log.open("wb") as stdout:
        subprocess.run([sys.executable, "-c", linked], stdout=stdout, check=True)
    assert log.read_text() == "before\nrows\nafter\n"
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"log", "link"}


def test_devices_are_written_through(tmp_path: Path) -> None:
    """A pipe stands for every device; replacing one needs the rights of root, as in a container."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_shots(pipe, np.array([[1], [2]], np.uint8), format="b8", num_detectors=3)
    reader.join(timeout=10)
    assert received == [b"\x01\x02"]
    assert pipe.is_fifo()
    for device in ("/dev/null", tmp_path / "null"):
        Path(tmp_path / "null").unlink(missing_ok=True)
        Path(tmp_path / "null").symlink_to("/dev/null")
        write_shots(device, np.array([[1]], np.uint8), format="b8", num_detectors=3)
        assert Path("/dev/null").is_char_device()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["null", "pipe"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_shots("/dev/full", np.array([[1]], np.uint8), format="b8", num_detectors=3)


def test_an_input_is_refused_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "measured.b8"
    data.write_bytes(b"data")
    (tmp_path / "hard.b8").hardlink_to(data)
    (tmp_path / "soft.b8").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    for name in (data, "measured.b8", "./measured.b8", "hard.b8", "soft.b8"):
        with (
            pytest.raises(OutputFileError, match=r"is the input .*measured\.b8, which would be lost"),
            output_file(name, inputs=[None, data]),
        ):
            pass
    with pytest.raises(OutputFileError, match="is the input"):
        refuse_inputs(["new.txt", "absent.txt"], ["absent.txt"])
    assert data.read_bytes() == b"data"
    refuse_inputs(["/dev/null", "other.b8"], ["/dev/null", data])


@pytest.mark.parametrize("kind", ["folder", "loop", "missing folder", "file as folder"])
def test_what_cannot_be_written_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "missing folder":
        path = tmp_path / "absent" / "x"
    else:
        path.write_text("")
        path /= "y"
    with pytest.raises((OutputFileError, OSError)) as failure, output_file(path) as unfinished:
        unfinished.write_text("")
    assert f"{path}" in str(failure.value)
    assert ".part" not in str(failure.value)
