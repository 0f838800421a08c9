"""Tables are built once, within limits, and checked when they are read."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from decoder_service.building import BuildLimits, build_of, store_tables, stored_tables, tables_for
from decoder_service.protocol import Open, Reload
from decoder_service.store import ModelStore, StateFolder


def test_tables_are_built_once_and_checked_when_they_are_read(tmp_path: Path, kit) -> None:
    state = StateFolder(tmp_path)
    os.close(state.lock())
    digest = hashlib.sha256(kit.text.encode()).hexdigest()
    build = build_of(Open(model=digest, resume_after=3, **kit.options))
    assert build == build_of(Open(model=digest, on_gap="fail", **kit.options))
    assert build.key != build_of(Open(model=digest, commit=3, buffer=2)).key
    reload = Reload("1" * 64, "dem")
    assert build.key != build_of(build.options, reload=reload).key
    assert stored_tables(state, build) is None
    tables = tables_for(build, lambda _: kit.text, BuildLimits())
    path = state.tables / build.key
    path.write_bytes(hashlib.sha256(tables).digest() + tables)
    assert stored_tables(state, build) == tables
    path.write_bytes(path.read_bytes()[:-1])
    assert stored_tables(state, build) is None
    assert not path.exists()


def test_tables_have_a_limit_of_their_own(tmp_path: Path, kit) -> None:
    """Those of a stream might have had as many bytes as its build, 4 GiB: where it is served, too."""
    state = StateFolder(tmp_path)
    os.close(state.lock())
    store = ModelStore(state, max_bytes=1 << 20, max_models=1)
    build = build_of(Open(model=store.put(kit.text.encode()), **kit.options))
    refusal = store_tables(state, build, BuildLimits(tables=1000))
    assert re.fullmatch(r"its decoder's tables have \d+ bytes; the limit is 1000", refusal)
    assert list(state.tables.iterdir()) == []
    assert store_tables(state, build, BuildLimits()) == ""
    assert stored_tables(state, build) is not None
