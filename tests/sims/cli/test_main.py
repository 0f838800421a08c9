"""The command line itself: what it imports, what it says, and how it fails."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version

import pytest

import sims.cli
import sims.cli.doctor
from sims.cli import VERBS, main
from sims.cli.parse_flags import parse_flags
from sims.run_failed import RunFailedError

HEAVY = ("numpy", "torch", "stim", "sinter", "rich", "tyro", "matplotlib", "polars", "scipy")


@pytest.mark.parametrize("flag", ["--help", "--version", "-h", "-V"])
def test_help_and_version_import_nothing_heavy(flag: str) -> None:
    script = (
        "import json, sys; from sims.cli import main; code = main(sys.argv[1:]); "
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    run = subprocess.run([sys.executable, "-c", script, flag], capture_output=True, text=True, check=True)
    code, modules = json.loads(run.stdout.splitlines()[-1])
    assert code == 0
    assert not set(HEAVY) & set(modules)


def test_help_lists_every_verb_and_version_is_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb}" in text for verb in VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"qecpipe {version('qecpipe')}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"qecpipe {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_help_breaks_lines_only_where_the_next_word_has_no_room(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    column = next(line.index("show this help") for line in lines if "show this help" in line)
    boxed = [line for line in lines if line.startswith(("│ ", "  "))]
    room = max(map(len, boxed)) - 2  # the frame and a space
    assert room - column > 40 or verb == "doctor"
    for line, following in itertools.pairwise(boxed):
        text, more = line[column:room].rstrip(), following[column:room].strip()
        indented = not line[1:column].strip() and not following[1:column].strip()
        if indented and text and more:  # neither begins a flag
            assert column + len(text) + 1 + len(more.split()[0]) > room, (line, following)


@dataclass(frozen=True)
class _Inherited:
    text: str = "a"
    """The first line of a help text,
    and its second one; --this is the end.

    Another paragraph."""
    number: tuple[int, ...] = (1, 2)
    """Numbers."""


@dataclass(frozen=True, kw_only=True)
class _Flags(_Inherited):
    """A verb."""

    text: str = "b"
    needed: int
    """A flag without default."""
    names: list[str] = field(default_factory=lambda: ["x"])
    limit: int | None = None
    """A limit; left out: none."""


def test_flags_are_an_instance_of_their_dataclass() -> None:
    assert parse_flags(_Flags, "verb", ["--needed", "3"]) == _Flags(needed=3)
    given = ["--needed", "3", "--number", "5", "--names", "y", "--text", "c"]
    assert parse_flags(_Flags, "verb", given) == _Flags(needed=3, number=(5,), names=["y"], text="c")


def _help_text(capsys: pytest.CaptureFixture[str]) -> str:
    """Of `_Flags`, in one line, without its frames."""
    with pytest.raises(SystemExit):
        parse_flags(_Flags, "verb", ["--help"])
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_help_is_of_the_first_class_that_has_a_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    help_text = _help_text(capsys)
    assert "The first line of a help text, and its" in help_text
    assert "A flag without default. (required)" in help_text


def test_help_has_each_default_once(capsys: pytest.CaptureFixture[str]) -> None:
    help_text = _help_text(capsys)
    assert "Numbers. (default: 1 2)" in help_text
    assert "(default: x)" in help_text
    assert "A limit; left out: none." in help_text
    assert "None)" not in help_text


def test_unknown_verb_is_one_line_with_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["swep"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "unknown verb 'swep'; did you mean 'sweep'?" in captured.err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("p is 2\nchoose less"), "qecpipe doctor: p is 2 choose less\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.stim"),
            "x.stim: No such file or directory; check",
        ),
        (
            NotADirectoryError(20, "Not a directory", "x/c.stim"),
            "x/c.stim: Not a directory; check the path",
        ),
        (
            PermissionError(13, "Permission denied", "x.csv"),
            "x.csv: Permission denied; check its permissions",
        ),
        (OSError(28, "No space left on device"), "qecpipe doctor: No space left on device\n"),
        (
            ModuleNotFoundError("install ldpc: pip install ldpc"),
            "qecpipe doctor: install ldpc: pip install ldpc\n",
        ),
    ],
)
def test_user_errors_are_one_line(
    error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(sims.cli.doctor, "run", fail)
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert expected in captured.err
    with pytest.raises(type(error)):
        main(["--traceback", "doctor"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [(RunFailedError("a worker was killed"), "a worker was killed"), (MemoryError(), "out of memory")],
)
def test_a_run_that_broke_is_one_line_and_another_exit_code(
    error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(sims.cli.doctor, "run", fail)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == f"qecpipe doctor: {expected}\n"


@pytest.mark.parametrize("verb", ["serve", "stream"])
def test_without_the_services_packages_its_verbs_say_what_to_install(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("decoder_service", f"sims.cli.{verb}"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("msgspec", "structlog", "hdrh"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([verb, "--help"]) == 2
    assert "pip install 'qecpipe[service]'" in capsys.readouterr().err


def test_a_reader_that_has_enough_ends_the_verb_quietly() -> None:
    script = "import sys; from sims.cli import main; sys.exit(main(['decode', '--help']))"
    run = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -u -c "{script}" | head -n 1'], capture_output=True, text=True
    )
    assert run.stdout.startswith("usage: qecpipe decode")
    assert run.stderr == ""


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise KeyError("bug")

    monkeypatch.setattr(sims.cli.doctor, "run", fail)
    with pytest.raises(KeyError):
        main(["doctor"])


def test_interrupt_is_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sims.cli.doctor, "run", interrupt)
    assert main(["doctor"]) == 130
    assert f"interrupted; {sims.cli.doctor.RESUME_HINT}" in capsys.readouterr().err
