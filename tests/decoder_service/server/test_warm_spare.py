"""A spare keeps as many warm decoders as the service has streams of their kind."""

from __future__ import annotations

import hashlib
import select
from pathlib import Path

import pytest

from decoder_service.protocol import Open
from decoder_service.server.builder import Builder
from decoder_service.server.decoding import build_decoder
from decoder_service.server.models import ModelStore
from decoder_service.server.state import StateFolder
from decoder_service.server.warm_spare import WarmSpare, key_of


def test_wanted_decoders_are_built_once_used_and_dropped(tmp_path: Path, kit) -> None:
    built: list[Open] = []

    def build(options: Open, text: str):
        built.append(options)
        return build_decoder(options, text)

    models = ModelStore(StateFolder(tmp_path), max_bytes=1 << 20, max_models=4)
    options = Open(model=models.put(kit.text.encode()), **kit.options)
    builder = Builder()
    warm_spare = WarmSpare(build, models, builder)
    key = key_of(Open(model=options.model, resume_after=7, **kit.options))
    assert key == key_of(options)
    warm_spare.want(key, 2)
    warm_spare.want(key, 2)
    _finish_all(builder)
    assert len(built) == 2
    one, two = warm_spare.build(options, kit.text), warm_spare.build(options, kit.text)
    assert one is not two
    assert len(built) == 2
    warm_spare.build(options, kit.text)
    assert len(built) == 3
    warm_spare.want(key, 1)
    _finish_all(builder)
    warm_spare.want(key, 0)
    warm_spare.build(options, kit.text)
    assert len(built) == 5
    builder.close()


def test_a_model_that_is_gone_or_bad_leaves_nothing(tmp_path: Path, kit) -> None:
    models = ModelStore(StateFolder(tmp_path), max_bytes=1 << 20, max_models=4)
    builder = Builder()
    warm_spare = WarmSpare(build_decoder, models, builder)
    for model in (hashlib.sha256(b"never stored").hexdigest(), models.put(b"not a circuit")):
        options = Open(model=model, **kit.options)
        warm_spare.want(key_of(options), 1)
        _finish_all(builder)
        with pytest.raises(ValueError, match=r"."):
            warm_spare.build(options, "not a circuit")
    builder.close()


def _finish_all(builder: Builder) -> None:
    while builder.jobs:
        select.select([builder.wake], [], [], 10)
        builder.collect()
