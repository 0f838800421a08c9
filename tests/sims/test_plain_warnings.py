"""Warnings on the command line: ours as one line each, others as Python shows them."""

from __future__ import annotations

import pickle
import warnings

import pytest

from predecoder import ShortExperimentWarning
from sims.plain_warnings import plain_warnings


@pytest.mark.filterwarnings("always")
def test_ours_is_one_plain_line_once_and_others_keep_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    before = warnings.showwarning
    with plain_warnings("qecpipe verb") as shown:
        warnings.warn("too\nshort", ShortExperimentWarning, stacklevel=1)
        pickle.loads(pickle.dumps(shown)).install()  # as in a worker
        warnings.warn("too\nshort", ShortExperimentWarning, stacklevel=1)
        warnings.warn("too long", ShortExperimentWarning, stacklevel=1)
        assert capsys.readouterr().err == "qecpipe verb: too short\nqecpipe verb: too long\n"
        assert len(list(shown.folder.iterdir())) == 2
    assert warnings.showwarning is before
    assert not shown.folder.exists()


def test_a_warning_of_another_library_is_left_to_it() -> None:
    with pytest.warns(UserWarning, match="theirs"), plain_warnings("qecpipe verb"):
        warnings.warn("theirs", UserWarning, stacklevel=1)
