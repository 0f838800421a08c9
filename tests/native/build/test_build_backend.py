"""The build backend asks for a compiler where there is none; its archives have what they should."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("qec", "predecoder", "noise_learning", "global_decoders", "cuda", "decoder_service", "sims")
ZIG = "ziglang>="


@pytest.fixture(scope="module")
def backend() -> ModuleType:
    """The backend as a build front end imports it."""
    pytest.importorskip("scikit_build_core")
    sys.path.insert(0, str(ROOT / "native"))
    try:
        import build_backend
    finally:
        sys.path.remove(str(ROOT / "native"))
    return build_backend


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Front ends call a backend in the root of the source tree."""
    monkeypatch.chdir(ROOT)


def _tool(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def _sources(*paths: str) -> set[str]:
    """All files of the tree there but those that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("the tree is no checkout of git")
    return {file for file in listed.stdout.splitlines() if (ROOT / file).exists()}


def _only(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    monkeypatch.delenv("CXX", raising=False)


@pytest.mark.parametrize("name", ["c++", "g++", "clang++"])
def test_a_compiler_on_the_path_is_found(backend, in_root, monkeypatch, tmp_path, name) -> None:
    path = _tool(tmp_path / "bin", name)
    _only(monkeypatch, path.parent)
    assert backend.compiler() == str(path)
    for requires in (backend.get_requires_for_build_wheel, backend.get_requires_for_build_editable):
        assert not any(requirement.startswith(ZIG) for requirement in requires())


def test_the_compiler_that_CXX_names_comes_first(backend, monkeypatch, tmp_path) -> None:
    path, other = _tool(tmp_path / "bin", "c++"), _tool(tmp_path / "bin", "other")
    _only(monkeypatch, path.parent)
    monkeypatch.setenv("CXX", "other -m64")
    assert backend.compiler() == str(other)
    monkeypatch.setenv("CXX", "missing")
    assert backend.compiler() == str(path)


def test_without_a_compiler_zig_is_required_besides_cmake_and_ninja(
    backend, in_root, monkeypatch, tmp_path
) -> None:
    _only(monkeypatch, tmp_path)
    assert backend.compiler() is None
    for requires in (backend.get_requires_for_build_wheel, backend.get_requires_for_build_editable):
        names = [requirement.split(">")[0] for requirement in requires()]
        assert names == ["cmake", "ninja", "ziglang"]
    assert backend.get_requires_for_build_sdist() == []


def test_without_a_compiler_cmake_is_given_zig_under_the_names_it_knows(
    backend, monkeypatch, tmp_path
) -> None:
    _only(monkeypatch, tmp_path)
    monkeypatch.setenv("CMAKE_ARGS", "-DTHEIRS=1")
    with backend._some_compiler():
        compiler = Path(os.environ["CXX"])
        theirs, *tools = os.environ["CMAKE_ARGS"].split()
        assert theirs == "-DTHEIRS=1"
        names = [tool.split("=")[0] for tool in tools]
        assert names == ["-DCMAKE_AR", "-DCMAKE_RANLIB"]
        scripts = [compiler, *(Path(tool.split("=")[1]) for tool in tools)]
        for script, command in zip(scripts, ("c++", "ar", "ranlib"), strict=True):
            assert f"{sys.executable} -m ziglang {command}" in script.read_text()
        assert " -g0 " in compiler.read_text()
    assert not compiler.exists()
    assert "CXX" not in os.environ
    assert os.environ["CMAKE_ARGS"] == "-DTHEIRS=1"


def test_the_script_for_zig_spells_levels_of_x86_its_way(backend, monkeypatch, tmp_path) -> None:
    """The arguments reach zig one by one, blanks in them and all; the machine is the oldest of its kind."""
    shown = tmp_path / "shown"
    monkeypatch.setattr(backend.sys, "executable", str(_tool(tmp_path, "python")))
    (tmp_path / "python").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{shown}\n')
    monkeypatch.setattr(backend.platform, "system", lambda: "Linux")
    monkeypatch.setattr(backend.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(backend.platform, "libc_ver", lambda: ("glibc", "2.36"))
    script = backend._script(tmp_path, "c++")
    subprocess.run([script, "-march=x86-64-v3", "-mavx512vnni", "-DX=a b", "x.cpp"], check=True)
    assert shown.read_text().splitlines() == [
        *("-m", "ziglang", "c++", "-target", "x86_64-linux-gnu"),
        *("-march=x86_64_v3", "-mavx512vnni", "-DX=a b", "x.cpp"),
    ]


def test_a_source_archive_has_what_a_build_needs(backend, in_root, tmp_path) -> None:
    name = backend.build_sdist(str(tmp_path))
    with tarfile.open(tmp_path / name) as archive:
        files = {member.name.split("/", 1)[1] for member in archive if member.isfile()}
    native = {
        str(file.relative_to(ROOT)) for file in (ROOT / "native").rglob("*") if file.suffix in (".cpp", ".h")
    }
    assert native <= files
    assert _sources(*PACKAGES, "qecpipe.py") <= files
    assert {"native/CMakeLists.txt", "native/build_backend.py", "native/cmake/variants.cmake"} <= files
    assert {"pyproject.toml", "README.md", "LICENSE", "qecpipe.py"} <= files
    assert {file.split("/")[0] for file in files if "/" in file} == {*PACKAGES, "native"}
    assert not any(file.endswith((".so", ".pyc")) for file in files)


def test_a_wheel_has_all_files_of_the_packages_and_no_others(backend, in_root, tmp_path) -> None:
    """But for the extension, which is added where there is time to compile it."""
    name = backend.build_wheel(str(tmp_path), {"wheel.cmake": "false"})
    names = set(zipfile.ZipFile(tmp_path / name).namelist())
    assert {file for file in names if ".dist-info/" not in file} == _sources(*PACKAGES, "qecpipe.py")
    kernels = {f"cuda/qecpipe/kernels/{kernel}" for kernel in ("correct.cu", "portable.h")}
    assert kernels <= names
    assert "cuda/qecpipe/__init__.py" in names
    assert "cuda/__init__.py" not in names
    weights = {
        str(file.relative_to(ROOT)) for file in (ROOT / "predecoder" / "weights").glob("*.safetensors")
    }
    assert weights
    assert weights <= names


def test_an_editable_install_points_to_the_tree_and_builds_the_extension_there(
    backend, monkeypatch, tmp_path
) -> None:
    """What another build left there is replaced; metadata that were asked for beforehand fit."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    for package in PACKAGES:
        (tree / package).mkdir(parents=True)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    (tree / "_qecpipe.abc.so").write_text("old")
    (out / "metadata").mkdir(parents=True)

    def built(folder: str, _: object) -> str:
        with zipfile.ZipFile(Path(folder) / "some.whl", "w") as archive:
            for name, text in (("_qecpipe.abc.so", "new"), ("_qecpipe.pyi", "stub"), ("qec/_qecpipe.py", "")):
                archive.writestr(name, text)
        return "some.whl"

    monkeypatch.setattr(backend, "build_wheel", built)
    monkeypatch.chdir(tree)
    metadata = out / "metadata" / backend.prepare_metadata_for_build_editable(str(out / "metadata"))
    wheel = zipfile.ZipFile(out / backend.build_editable(str(out), None, str(metadata)))
    assert {file.name: file.read_text() for file in tree.glob("*_qecpipe*")} == {
        "_qecpipe.abc.so": "new",
        "_qecpipe.pyi": "stub",
    }
    (pointer,) = (name for name in wheel.namelist() if ".dist-info/" not in name)
    assert pointer.endswith(".pth")
    assert wheel.read(pointer).decode() == f"{tree}\n", "PYTHONPATH comes before it, and no finder does"


def test_pip_installs_what_an_editable_install_points_with(backend, monkeypatch, tmp_path) -> None:
    """The record fits the files, and the tree is on the path behind PYTHONPATH."""
    monkeypatch.chdir(ROOT)
    name = backend._backend.build_editable(str(tmp_path), dict(backend._POINTER))
    (tmp_path / "out").mkdir()
    backend._write_pointer(tmp_path / name, tmp_path / "out" / name, tmp_path / "tree")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(tmp_path / "site"), str(tmp_path / "out" / name)], check=True)
    (pth,) = (tmp_path / "site").glob("*.pth")
    assert pth.read_text() == f"{tmp_path / 'tree'}\n"


def test_a_wheel_without_the_extension_is_no_editable_install(backend, tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as archive:
        archive.writestr("qec/__init__.py", "")
    with pytest.raises(RuntimeError, match=r"some\.whl has no extension _qecpipe"):
        backend._extract_extension(tmp_path / "some.whl", tmp_path)
