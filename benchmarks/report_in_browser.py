"""A report in a headless Chromium: requests, console, parity with torch, speed, pictures.

    python benchmarks/report_in_browser.py RUN [--out FOLDER]

Writes the report of RUN, opens it, and fails where a bar is missed: <= 3 MB, no request, no error
on the console, no scrolling sideways at 320 pixels, every decoded entry within 1e-4 of torch, and
<= 50 ms from a slider to its picture (median of 20). Pictures of it, wide and narrow, light and
dark, go to --out. Needs a `chromium` on the path; talks to it by its DevTools protocol.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MEGABYTES, PARITY, MILLISECONDS = 3.0, 1e-4, 50.0
WIDE, NARROW, LEAST = 1280, 375, 320  # pixels


def browser() -> str | None:
    """The path of a Chromium; None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Socket:
    """As much of RFC 6455 as a conversation with a browser takes: text, masked on the way out."""

    def __init__(self, address: str) -> None:
        where = urlparse(address)
        self.link = socket.create_connection((where.hostname, where.port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        asked = f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\n"
        asked += f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        self.link.sendall(f"{asked}\r\n".encode())
        self.stream = self.link.makefile("rb")
        while self.stream.readline().strip():  # the answer's head
            pass

    def send(self, told: str) -> None:
        body, mask = told.encode(), os.urandom(4)
        length = len(body)
        if length < 126:
            head = struct.pack("!BB", 0x81, 0x80 | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x81, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x81, 0x80 | 127, length)
        hidden = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
        self.link.sendall(head + mask + hidden)

    def receive(self) -> str:
        told = b""
        while True:
            first, length = self.stream.read(2)
            length &= 0x7F
            if length >= 126:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
            told += self.stream.read(length)
            if first & 0x80:
                return told.decode()


class Page(AbstractContextManager):
    """One page of a headless Chromium, with what it asked for and complained of."""

    def __init__(self, path: str) -> None:
        self.profile = tempfile.TemporaryDirectory()
        switches = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        switches += [f"--user-data-dir={self.profile.name}", "--no-first-run", "--hide-scrollbars"]
        self.process = subprocess.Popen(
            [path, *switches, "about:blank"], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        address = next(
            found[1]
            for line in self.process.stderr
            if (found := re.search(r"listening on (ws://\S+)", line))
        )
        self.socket, self.count, self.events = Socket(address), 0, []
        self.session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        told = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = told["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        asked: dict[str, Any] = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            asked["sessionId"] = self.session
        self.socket.send(json.dumps(asked))
        while True:
            told = json.loads(self.socket.receive())
            if told.get("id") == self.count:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return told["result"]
            self.events.append(told)

    def open(self, path: Path) -> None:
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while self.value("document.readyState") != "complete":
            time.sleep(0.05)
        self.value("new Promise((done) => setTimeout(done, 300))")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is worth; a promise is waited for."""
        told = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"]))
        return told["result"].get("value")

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        told = self.ask("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(told["data"]))

    def full(self, path: Path) -> None:
        """A picture of the whole page."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        told = self.ask(
            "Page.captureScreenshot", captureBeyondViewport=True, format="png", clip=clip
        )
        path.write_bytes(base64.b64decode(told["data"]))

    def requests(self) -> list[str]:
        """What was asked for beside the page itself and what lies within it."""
        asked = [e["params"]["request"]["url"] for e in self._of("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith(("file:", "data:"))]

    def complaints(self) -> list[str]:
        """Errors and warnings on the console."""
        found = [str(e["params"]["entry"]) for e in self._of("Log.entryAdded")]
        found += [str(e["params"]) for e in self._of("Runtime.exceptionThrown")]
        said = self._of("Runtime.consoleAPICalled")
        return found + [str(e["params"]["args"]) for e in said]

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") == method]

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.profile.cleanup()


SLIDE = """
(async () => {
  const times = [], input = document.querySelector("#sliders input");
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  for (let k = 0; k < 20; k++) {
    await frame();
    const began = performance.now();
    input.value = Number(input.min) + (input.max - input.min) * k / 19;
    input.dispatchEvent(new Event("input"));
    await frame();
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  const began = performance.now();
  for (let k = 0; k < 20; k++) vaes.decode(vaes.code(0));
  return { median: times[10], worst: times[19], decode: (performance.now() - began) / 20 };
})()
"""


def check(page: Page, path: Path, model: Any, out: Path | None) -> dict[str, Any]:
    """The figures of one report; pictures of it go to `out`."""
    import torch

    from vaes import uses

    said: dict[str, Any] = {"megabytes": path.stat().st_size / 1e6}
    page.size(WIDE)
    page.open(path)
    if page.value("typeof vaes") == "object":
        draw = torch.Generator().manual_seed(0)
        z = torch.randn(5, model.latent, generator=draw)
        theirs = torch.tensor(
            [page.value(f"Array.from(vaes.decode({json.dumps(code.tolist())}))") for code in z]
        )
        said["parity"] = float((uses.decode(model, z).flatten(1) - theirs).abs().max())
        said |= page.value(SLIDE)
    for name, width, dark in (("wide", WIDE, False), ("narrow", NARROW, False)):
        page.size(width, dark=dark)
        if out is not None:
            page.full(out / f"{name}.png")
    page.size(WIDE, dark=True)
    if out is not None:
        page.full(out / "dark.png")
    page.size(LEAST)
    said["sideways"] = page.value("document.documentElement.scrollWidth - innerWidth")
    said |= {"requests": page.requests(), "complaints": page.complaints()}
    return said


def missed(said: dict[str, Any]) -> list[str]:
    """The bars that were not reached."""
    most = {"megabytes": MEGABYTES, "parity": PARITY, "median": MILLISECONDS, "sideways": 0}
    found = [f"{k} {said[k]:g} > {bar:g}" for k, bar in most.items() if said.get(k, 0) > bar]
    return found + [f"{k}: {said[k]}" for k in ("requests", "complaints") if said[k]]


def main() -> None:
    from vaes.report import write
    from vaes.verbs.opened import Opened

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, help="folder for pictures")
    given = parser.parse_args()
    path = browser()
    if path is None:
        raise SystemExit("no chromium was found on the path; install one")
    opened = Opened(given.run)
    evaluation = json.loads((opened.run.path / "evaluation.json").read_text())
    with tempfile.TemporaryDirectory() as folder, Page(path) as page:
        report = Path(folder) / "report.html"
        prepared = opened.prepared()
        began = time.perf_counter()
        write(opened.run, opened.model, prepared, evaluation, report)
        took = time.perf_counter() - began
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
        said = {"seconds": took} | check(page, report, opened.model, given.out)
    print(json.dumps(said, indent=1))
    if failures := missed(said):
        raise SystemExit("; ".join(failures))


if __name__ == "__main__":
    main()
