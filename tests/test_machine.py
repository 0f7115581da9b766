"""What is set for the process while it trains, and put back."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vaes import machine

# in a process of its own: what other tests have left free would be taken first
PROGRAM = """
import pathlib, torch
from vaes import machine

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

before = resident()
with machine.freed_memory_kept():
    x = torch.ones(2**24)
    print(resident() - before)
    del x
    print(resident() - before)
print(resident() - before)
"""


@pytest.mark.skipif(machine._glibc() is None, reason="another allocator, or one that is set")
def test_freed_memory_is_kept_inside_and_goes_back_after():
    """64 MiB of a tensor that is gone stay in memory until the block ends."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held, kept, after = map(float, done.stdout.split())
    assert held > 60
    assert kept > 60
    assert after < 16


def test_an_allocator_that_the_user_has_set_is_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    machine._glibc.cache_clear()
    try:
        assert machine._glibc() is None
        with machine.freed_memory_kept():
            assert torch.ones(3).sum() == 3
    finally:
        machine._glibc.cache_clear()
