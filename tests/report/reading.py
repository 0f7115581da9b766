"""A page as a browser would take it apart, far enough for tests."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

from vaes.report.decoder import Program

VOID = {"meta", "link", "img", "input", "br"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def every(self, tag: str) -> list[Element]:
        """All elements below with that name, in order."""
        found = [self] if self.tag == tag else []
        return found + [e for child in self.inside for e in child.every(tag)]

    def by_id(self, name: str) -> Element:
        found = [e for e in self.all() if e.attributes.get("id") == name]
        assert len(found) == 1, f"{len(found)} elements with id {name}"
        return found[0]

    def all(self) -> list[Element]:
        return [self, *(e for child in self.inside for e in child.all())]

    def words(self) -> str:
        """All text below."""
        return self.text + "".join(child.words() for child in self.inside)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("page", {})]

    def handle_starttag(self, tag, attrs):
        found = Element(tag, {k: v or "" for k, v in attrs})
        self.open[-1].inside.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].inside.append(Element(tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].inside.append(Element("", {}, data))


def read(html: str) -> Element:
    """The tree of a page, every element of which is closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert [e.tag for e in reader.open] == ["page"]
    return reader.open[0]


def sections(page: Element) -> dict[str, Element]:
    """Every section by its heading."""
    return {section.every("h2")[0].words(): section for section in page.every("section")}


def picture(image: Element) -> np.ndarray:
    """The pixels of an image within the page, (H, W, 3)."""
    kind, _, told = image.attributes["src"].partition(";base64,")
    assert kind == "data:image/png"
    with Image.open(io.BytesIO(base64.b64decode(told))) as found:
        return np.asarray(found.convert("RGB"))


def living(page: Element) -> tuple[dict[str, Any], Program, np.ndarray]:
    """What the script reads: its JSON, the decoder and all numbers."""
    said = json.loads(page.by_id("living-data").words())
    told = base64.b64decode(page.by_id("living-weights").words())
    numbers = np.frombuffer(told, "<f4")
    return said, Program(weights=numbers, **said["program"]), numbers
