import builtins
import pickle
import subprocess
import sys

import pytest
import sinter

from global_decoders import (
    MissingDecoderError,
    UnknownDecoderError,
    decoder_names,
    is_available,
    make_decoder,
)

OPTIONAL = {
    "belief-matching": "beliefmatching",
    "fusion-blossom": "fusion_blossom",
    "bp-osd": "ldpc",
    "bp-lsd": "ldpc",
    "mwpf": "mwpf",
    "tesseract": "tesseract_decoder",
    "relay-bp": "relay_bp",
}


def test_names():
    assert decoder_names() == ("pymatching", "pymatching-correlated", *OPTIONAL, "trellis")


@pytest.mark.parametrize("name", [name for name in decoder_names() if name not in OPTIONAL])
def test_what_needs_no_optional_package_is_always_available(name):
    assert is_available(name)


@pytest.mark.parametrize("name", decoder_names())
def test_decoders_are_equal_after_a_pickle_round_trip(name):
    if not is_available(name):
        pytest.skip(f"{name}: package not installed")
    decoder = make_decoder(name)
    assert isinstance(decoder, sinter.Decoder)
    copy = pickle.loads(pickle.dumps(decoder))
    assert type(copy) is type(decoder)
    assert vars(copy) == vars(decoder)


@pytest.mark.parametrize(
    ("name", "closest"),
    [("pymatchin", "pymatching"), ("bposd", "bp-osd"), ("Tesseract", "tesseract"), ("mwpm", "mwpf")],
)
def test_unknown_name_is_named_with_the_closest(name, closest):
    with pytest.raises(
        UnknownDecoderError, match=rf"unknown decoder '{name}'; did you mean .*{closest}.*known"
    ):
        make_decoder(name)
    with pytest.raises(UnknownDecoderError, match="known names: pymatching, "):
        is_available(name)


def test_unknown_name_unlike_any_other_lists_all():
    with pytest.raises(UnknownDecoderError, match="unknown decoder 'zzz'; known names") as caught:
        make_decoder("zzz")
    assert all(name in str(caught.value) for name in decoder_names())
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("reason", [ModuleNotFoundError, ImportError, ValueError])
@pytest.mark.parametrize(("name", "module"), OPTIONAL.items())
def test_absent_or_broken_package_says_how_to_install(name, module, reason, monkeypatch):
    """ValueError is what a Cython module built for another numpy raises."""
    for loaded in list(sys.modules):
        if loaded.startswith("global_decoders.adapters."):
            monkeypatch.delitem(sys.modules, loaded)
    real_import = builtins.__import__

    def broken_import(imported, *args, **kwargs):
        if imported.split(".")[0] == module:
            raise reason(f"cannot load {module}")
        return real_import(imported, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken_import)
    assert not is_available(name)
    with pytest.raises(MissingDecoderError) as caught:
        make_decoder(name)
    assert f"decoder '{name}'" in str(caught.value)
    assert f"cannot load {module}" in str(caught.value)
    assert str(caught.value).endswith("pip install 'qecpipe[decoders]'")
    assert isinstance(caught.value, ImportError)


def test_listing_names_imports_no_decoder_library():
    modules = ["pymatching", "torch", *OPTIONAL.values()]
    code = (
        "import sys, global_decoders; global_decoders.decoder_names();"
        f"sys.exit(str([m for m in {modules} if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
