"""What Chromium makes of the decoder and of a page; skipped where there is none."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest
import torch

from tests.report.models import CASES, made
from tests.report.reading import living, read
from tests.report.runs import EVALUATION, HOSTILE, folder
from vaes import data as sources
from vaes import uses
from vaes.report import page
from vaes.report.decoder import export
from vaes.report.rows import word

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")

HARNESS = """<!doctype html><meta charset="utf-8"><body><script>
%(decoder)s
const found = %(cases)s.map(({ program, weights, codes }) => {
  const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0));
  const decode = decoder(program, new Float32Array(bytes.buffer));
  return codes.map((z) => Array.from(decode(z)));
});
const pre = document.createElement("pre");
pre.id = "found";
pre.textContent = JSON.stringify(found);
document.body.append(pre);
</script>"""


MOVES = """<script>
(async () => {
  // nothing is painted here, so no frame ever comes
  window.requestAnimationFrame = (then) => setTimeout(then, 0);
  const frame = () => new Promise((done) => setTimeout(done, 50));
  const byId = (name) => document.getElementById(name), found = [];
  const note = async () => {
    await frame();
    const codes = [...document.querySelectorAll("#sliders label span:last-child")];
    found.push([codes.map((e) => e.textContent), byId("cursor").getAttribute("transform"),
      byId("told").textContent]);
  };
  const key = (name) => byId("map").dispatchEvent(new KeyboardEvent("keydown", { key: name }));
  await note();
  key("ArrowRight");
  await note();
  key("ArrowUp");
  await note();
  byId("t").value = 0.5;
  byId("t").dispatchEvent(new Event("input"));
  await note();
  byId("back").click();
  await note();
  const pre = document.createElement("pre");
  pre.id = "found";
  pre.textContent = JSON.stringify(found);
  document.body.append(pre);
})();
</script>"""


PIXELS = """<script>
setTimeout(() => {
  const pre = document.createElement("pre");
  pre.id = "found";
  pre.textContent = JSON.stringify(["picture", "original", "frames"].map((name) => {
    const canvas = document.getElementById(name);
    const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return Array.from(all).filter((_, i) => i % 4 === 0);
  }));
  document.body.append(pre);
}, 1000);
</script>"""


def dom(path, folder) -> str:
    """The page as it is after its scripts have run, for two seconds of its own time."""
    switches = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    switches.append("--virtual-time-budget=2000")
    command = [BROWSER, *switches, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_javascript_says_what_the_model_says(tmp_path):
    models = {name: made(name) for name in CASES}
    cases, expected = [], []
    for model in models.values():
        program = export(model)
        z = 1.5 * torch.randn(2, model.latent, generator=torch.Generator().manual_seed(2))
        expected.append(uses.decode(model, z).flatten(1).numpy())
        weights = base64.b64encode(program.weights.astype("<f4").tobytes()).decode()
        cases.append({"program": program.to_json(), "weights": weights, "codes": z.tolist()})
    script = files("vaes.report").joinpath("decoder.js").read_text(encoding="utf-8")
    path = tmp_path / "harness.html"
    path.write_text(HARNESS % {"decoder": script, "cases": json.dumps(cases)})
    told = re.search(r'<pre id="found">(.*?)</pre>', dom(path, tmp_path / "profile"), re.DOTALL)
    assert told, "the script did not run to its end"
    for name, ours, theirs in zip(models, json.loads(told[1]), expected, strict=True):
        off = np.abs(np.array(ours) - theirs).max() / max(1.0, np.abs(theirs).max())
        assert off <= 1e-4, f"{name}: {off}"


def test_a_page_comes_alive(tmp_path):
    run, model, prepared = folder(tmp_path / "r", "digits", latent=3, hidden=[16])
    path = tmp_path / "report.html"
    written = page(run, model, prepared, EVALUATION)
    path.write_text(written.replace("</body>", PIXELS + "</body>"), encoding="utf-8")
    found = dom(path, tmp_path / "profile")
    assert 'class="alive"' in found
    label = prepared.spec.classes[int(prepared.test.y[0])]
    told = re.search(r'<p id="told"[^>]*>([^<]*)', found)[1]
    assert re.fullmatch(rf"Row 0, label {label}; log p\(x\) −\d+\.\d nats\.", told)
    assert len(re.findall(r'aria-label="latent dimension \d"', found)) == 3
    pixels = json.loads(re.search(r'<pre id="found">(.*?)</pre>', found, re.DOTALL)[1])
    picture, original, frames = (np.array(p).reshape(8, -1) for p in pixels)
    first = prepared.test.part(torch.tensor([0]))
    mean = uses.reconstruct(model, first).mean[0, 0].numpy()
    assert np.abs(picture - 255 * mean).max() <= 0.51
    assert np.abs(original - 255 * first.rows(slice(None)).x[0, 0].numpy()).max() <= 0.51
    # nine steps from A to B, a pixel apart; the first is A
    assert frames.shape == (8, 9 * 9 - 1)
    assert (frames[:, :8] == picture).all()


def test_moves_on_the_map_change_the_code_along_its_axes(tmp_path):
    """Four units to the right are 4 / unit along the first axis, up along the second; half way to B
    lies half way between two codes, and back is the first row again."""
    run, model, prepared = folder(tmp_path / "r", "digits", latent=3, hidden=[16])
    written = page(run, model, prepared, EVALUATION)
    path = tmp_path / "report.html"
    path.write_text(written.replace("</body>", MOVES + "</body>"), encoding="utf-8")
    told = re.search(r'<pre id="found">(.*?)</pre>', dom(path, tmp_path / "profile"), re.DOTALL)
    start, right, up, half, back = json.loads(html.unescape(told[1]))
    said, _, numbers = living(read(written))

    def at(where):
        return numbers[where[0] : where[0] + where[1]]

    dims = [dim for dim, *_ in said["dims"]]
    codes, axes = at(said["codes"]).reshape(-1, 3), [at(axis) for axis in said["map"]["axes"]]
    unit = np.array(said["map"]["unit"])
    moved = codes[0] + 4 / unit[0] * axes[0]
    raised = moved - 4 / unit[1] * axes[1]
    other = next(i for i, row in enumerate(said["rows"]) if row[1] != said["rows"][0][1])
    middle = (codes[0] + codes[other]) / 2
    for found, expected in ((start, codes[0]), (right, moved), (up, raised), (half, middle)):
        shown = [float(v.replace("−", "-")) for v in found[0]]
        assert shown == pytest.approx(expected[dims].tolist(), abs=0.0051)
    places = [np.array(re.findall(r"-?[\d.]+", f[1]), float) for f in (start, right, up)]
    assert places[1] - places[0] == pytest.approx([4, 0], abs=1e-3)
    assert places[2] - places[1] == pytest.approx([0, -4], abs=1e-3)
    assert back == start
    assert start[2].startswith("Row 0")
    assert half[2] == up[2] == "A code of your own: no row of the data."


def cells(found: str) -> list[list[str]]:
    """Name, decoded value, bar and own value of every column in the page's table."""
    body = found[found.index('<div id="values">') : found.index('<p class="buttons">')]
    told = [html.unescape(re.sub("<[^>]*>", "", c)) for c in re.findall(r"<td>(.*?)</td>", body)]
    return [told[i : i + 4] for i in range(0, len(told), 4)]


def test_a_table_is_decoded_in_the_users_words(tmp_path, table):
    run, model, prepared = table
    written = page(run, model, prepared, EVALUATION)
    path = tmp_path / "report.html"
    path.write_text(written, encoding="utf-8")
    found = dom(path, tmp_path / "profile")
    rows = cells(found)
    said, *_ = living(read(written))
    mean = uses.reconstruct(model, prepared.test.part(torch.tensor([0]))).mean
    user = sources.table(prepared.schema, prepared.spec, mean).to_pylist()[0]
    assert [row[0] for row in rows] == [HOSTILE, "b", "c"]
    assert rows[1][1] == user["b"]
    for row, name in ((rows[0], HOSTILE), (rows[2], "c")):
        assert float(row[1].replace("−", "-")) == pytest.approx(user[name], rel=2e-3)
    assert [row[3] for row in rows] == said["show"]["rows"][0]
    assert "<b>" not in re.sub(r"<script.*?</script>", "", found, flags=re.DOTALL)


def test_columns_in_pieces_gaps_words_and_dates(tmp_path, pieces):
    """What the page says of the first row's code is what the library writes into a table."""
    run, model, prepared = pieces
    path = tmp_path / "report.html"
    path.write_text(page(run, model, prepared, EVALUATION), encoding="utf-8")
    rows = {row[0]: row for row in cells(dom(path, tmp_path / "profile"))}
    first = prepared.test.part(torch.tensor([0]))
    mean = uses.reconstruct(model, first).mean
    ours, own = (
        sources.table(prepared.schema, prepared.spec, x).to_pylist()[0]
        for x in (mean, first.rows(slice(None)).x)
    )
    assert list(rows) == list(ours)
    assert ours["length"] is None
    for name, (_, decoded, _, there) in rows.items():
        expected = ours[name]
        if expected is None:
            assert decoded == "–"
        elif name == "day":
            assert decoded == f"{expected:%Y-%m-%d %H:%M}"
        elif isinstance(expected, (bool, str)):
            assert decoded == str(expected)
        else:
            assert float(decoded.replace("−", "-")) == pytest.approx(expected, abs=1e-9)
        assert there == ("–" if own[name] is None else word(own[name], 6))
