"""Reports that many tests look at, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample import sample_run

from reports.page import write_report


@pytest.fixture(scope="session")
def sample_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the sample run, beside it all else that is written; not to be changed by any test."""
    return write_report([sample_run()], tmp_path_factory.mktemp("sample-report"))
