"""report.html of a run: one file that says what the model is worth and lets one play with it.

It asks for nothing else: no request, no font, no script from elsewhere. Everything that is text,
number or picture is there without script; script makes the map, the sliders and the decoder live.
"""

from vaes.report.page import page, write

__all__ = ["page", "write"]
