"""What is set for the process while it trains, and put back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vaes import machine

PAGE, MIB = 4096, 2**20


def resident() -> float:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / MIB


@pytest.mark.skipif(machine._glibc() is None, reason="another allocator, or one that is set")
def test_freed_memory_is_kept_inside_and_goes_back_after():
    """64 MiB of a tensor that is gone stay in memory until the block ends."""
    before = resident()
    with machine.freed_memory_kept():
        x = torch.ones(16 * MIB)
        held = resident() - before
        del x
        kept = resident() - before
    after = resident() - before
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
