"""What this machine has, and settings of torch that are put back after use."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compiler() -> str | None:
    """The C++ compiler that torch would find."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


@cache
def onednn_is_exact() -> bool:
    """True where "medium" products through oneDNN are still fp32.

    That is on processors with AVX-512 but without bf16 instructions: oneDNN's products are twice
    as fast as MKL's on some of them. With bf16 instructions the same switch means bf16, so it is
    left alone there.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].split("\n", 1)[0].split()
    except OSError:
        return False
    return "avx512f" in flags and not {"avx512_bf16", "amx_bf16"} & set(flags)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """`number` threads inside, what was set before outside."""
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_rng_state(state)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
KEPT, USUAL = (2**31 - 1, 2**30), (2**26, 2**25)  # bytes; the most that glibc adapts itself to


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, memory that tensors free stays with the process; it goes back when the block ends.

    glibc hands a large block back to the system at once and every step pays again for the same
    pages, which took 40 % of a table's training. Other allocators, and the user's own MALLOC_
    settings, are left alone.
    """
    glibc = _glibc()
    for name, value in zip((M_TRIM_THRESHOLD, M_MMAP_THRESHOLD), KEPT, strict=True):
        if glibc:
            glibc.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in zip((M_TRIM_THRESHOLD, M_MMAP_THRESHOLD), USUAL, strict=True):
            if glibc:
                glibc.mallopt(name, value)
        if glibc:
            glibc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    """The allocator, where it is glibc's and nobody has set it."""
    named = any(k.startswith("MALLOC_") for k in os.environ) or "GLIBC_TUNABLES" in os.environ
    if sys.platform != "linux" or named or os.environ.get("LD_PRELOAD"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


@contextmanager
def matmul(route: str) -> Iterator[None]:
    """fp32 products through oneDNN where `plan` found that exact there; put back afterwards."""
    before = torch.get_float32_matmul_precision()
    if route == "onednn":
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def gradients_in_graphs() -> Iterator[None]:
    """Inside, the compiler takes `torch.autograd.grad` into its graphs."""
    import torch._dynamo as dynamo

    with dynamo.config.patch(trace_autograd_ops=True):
        yield
