"""The verbs' options, as typer reads them; what a verb does lies in `vaes.verbs`.

Nothing heavy is imported before a verb needs it. In the order in which --help lists them.
"""

# ruff: noqa: I001 - the order of registration is the order of the list
from vaes.commands.shared import app
from vaes.commands import train, make, measure, tell

__all__ = ["app", "make", "measure", "tell", "train"]
