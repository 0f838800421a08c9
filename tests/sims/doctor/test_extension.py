"""The doctor says which extension is found, and what is wrong with it."""

import sys
from types import ModuleType

import pytest

import _qecpipe
from sims.doctor import Finding, examine
from sims.doctor.extension import extension


def _findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in extension()}


def _stand_in(monkeypatch: pytest.MonkeyPatch, **changed: str) -> None:
    """An extension that differs from ours in some of what it says."""
    module = ModuleType("_qecpipe")
    module.__dict__.update({name: getattr(_qecpipe, name) for name in dir(_qecpipe)} | changed)
    monkeypatch.setitem(sys.modules, "_qecpipe", module)


def test_path_version_compiler_and_instruction_sets_are_named() -> None:
    findings = _findings()
    assert findings["module"].value == _qecpipe.__file__
    assert findings["version"].value == _qecpipe.VERSION
    assert findings["compiler"].value.startswith(f"{_qecpipe.COMPILER}, {_qecpipe.BUILD_TYPE}")
    *others, best = _qecpipe.instruction_sets()
    assert findings["instruction set"].value.split(" (")[0] == best
    assert all(name in findings["instruction set"].value for name in others)
    assert {finding.section for finding in findings.values()} == {"extension"}


def test_an_extension_of_another_tree_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, __file__="/elsewhere/_qecpipe.so")
    finding = _findings()["module"]
    assert finding.level == "problem"
    assert finding.value.startswith("/elsewhere/_qecpipe.so: not beside ")


def test_an_extension_of_another_version_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, VERSION="0.0.1")
    finding = _findings()["version"]
    assert finding.level == "problem"
    assert finding.value.startswith("0.0.1, but qecpipe is ")


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"BUILD_TYPE": "Debug"}, "Debug: slow"), ({"SANITIZERS": "address"}, "checked by address: slow")],
)
def test_a_slow_build_is_a_note(monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], said: str) -> None:
    _stand_in(monkeypatch, **{"BUILD_TYPE": "Release", "SANITIZERS": ""} | changed)
    finding = _findings()["compiler"]
    assert finding.level == "note"
    assert said in finding.value


def test_without_the_extension_the_report_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_qecpipe", None)
    findings = list(examine())
    (module,) = (finding for finding in findings if finding.section == "extension")
    assert module.level == "problem"
    assert "scripts/setup.sh" in module.value
    assert {"versions", "modules", "processor"} <= {finding.section for finding in findings}
