"""Shared by the tests of vaes.data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from vaes.errors import VaesError

needs_data = pytest.mark.skipif("VAES_DATA" not in os.environ, reason="VAES_DATA is not set")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@contextlib.contextmanager
def refused(*parts: str, error: type[VaesError] = VaesError) -> Iterator[None]:
    """The block must raise `error` with one line that contains all `parts`."""
    with pytest.raises(error) as caught:
        yield
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 500
    for part in parts:
        assert part in line, f"{part!r} not in {line!r}"
