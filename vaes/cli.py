"""The command `vaes`: verbs share one shape, `vaes VERB RUN-or-DATA [options]`.

The verbs themselves lie in `vaes.commands`. A user's mistake ends in one line that says what was
given, what is true and what to do. Exit status: 0; 1 data or run; 2 usage; 74 disk or
permission; 130 and 143 signals; a traceback only with --debug.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import typer

from vaes.commands import app
from vaes.errors import SIGNALS, DiskError, Interrupted, VaesError, did_you_mean


def main() -> None:
    """Entry point: one line and an exit status for every mistake."""
    # a waiting OpenMP thread spins for milliseconds by default, which makes training 20 times
    # slower as soon as another process wants the core; read once, when torch is first imported
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    args = sys.argv[1:] or ["--help"]
    debug = "--debug" in args
    command = typer.main.get_command(app)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        status = command.main([a for a in args if a != "--debug"], "vaes", standalone_mode=False)
        if status == SIGNALS["SIGINT"]:  # typer turns Ctrl-C into this status
            print("vaes: interrupted", file=sys.stderr)
        sys.exit(status if isinstance(status, int) else 0)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        line, code = _one_line(error, command)
        if line:
            print(f"vaes: {line}", file=sys.stderr)
        sys.exit(code)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> None:
    """SIGTERM unwinds as Ctrl-C does, so that nothing half-written stays."""
    sys.exit(SIGNALS["SIGTERM"])


def _one_line(error: BaseException, command: Any) -> tuple[str, int]:
    """What is printed for an exception, and the exit status."""
    if isinstance(error, VaesError):
        return str(error), error.code
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return "interrupted", SIGNALS["SIGINT"]
    if isinstance(error, Interrupted):
        return str(error), error.code
    if hasattr(error, "format_message"):  # typer's own: a wrong option, verb or value
        return _usage(error, command), 2
    if isinstance(error, BrokenPipeError):
        return "", 0
    if isinstance(error, OSError) and not isinstance(error, DiskError):
        return f"{error.filename or 'a file'}: {error.strerror or error}", 74
    what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return f"unexpected {what}; run again with --debug and report the traceback", 1


def _usage(error: Any, command: Any) -> str:
    message = " ".join(error.format_message().split())
    known = getattr(command, "commands", {})
    if "No such command" in message and known:
        given = message.split("'")[1] if "'" in message else ""
        return f"there is no verb '{given}'; {did_you_mean(given, known)}"
    return message
