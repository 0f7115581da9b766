"""Mistakes that a user can mend: one line each, saying what was given, what is true, what to do.

The command line prints the line and leaves with `code`; a traceback appears only with `--debug`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VaesError(Exception):
    """Base of every mistake that is the user's to mend; `code` is the exit status."""

    code = 1


class DataError(VaesError, ValueError):
    """Rows that cannot be used as they are (exit status 1)."""


class RunError(VaesError):
    """A run folder that is missing, incomplete, corrupt, foreign or in use (exit status 1)."""


class DivergedError(VaesError, ArithmeticError):
    """Training met too many non-finite steps in a row (exit status 1)."""


class UsageError(VaesError, ValueError):
    """An option, name or combination that does not exist (exit status 2)."""

    code = 2


class DiskError(VaesError, OSError):
    """No room or no permission where something had to be written (exit status 74)."""

    code = 74

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


SIGNALS = {"SIGINT": 130, "SIGTERM": 143}  # exit status of a run that a signal ended


class Interrupted(Exception):
    """Training was asked to end and what it had is saved; `code` is the exit status."""

    def __init__(self, name: str, where: str, run: str) -> None:
        super().__init__(f"stopped by {name} {where}; go on with: vaes train --resume {run}")
        self.code = SIGNALS.get(name, 1)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A trailing hint for a message: the nearest known name, or the names themselves."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    return "known: " + ", ".join(names)
