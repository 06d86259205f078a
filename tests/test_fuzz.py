"""`make fuzz` for a shorter time, as CI runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_damaged_files_of_every_reader_are_read_or_refused() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "10"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count("files, each read or refused") == 8
