// Life for the page: what the map, the sliders and the way from A to B make of a code z.
(function () {
  "use strict";
  const byId = (name) => document.getElementById(name);
  const data = JSON.parse(byId("living-data").textContent);
  const bytes = Uint8Array.from(atob(byId("living-weights").textContent.trim()), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer), numbers = new Float32Array(bytes.length / 4);
  for (let i = 0; i < numbers.length; i++) numbers[i] = view.getFloat32(4 * i, true);
  const at = (where) => numbers.subarray(where[0], where[0] + where[1]);

  const decode = decoder(data.program, numbers), d = data.program.latent;
  const codes = at(data.codes), points = at(data.map.points), axes = data.map.axes.map(at);
  const rows = data.rows.length, show = data.show, map = byId("map");
  const code = (i) => Array.from(codes.subarray(i * d, (i + 1) * d));
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const said = (v, digits) => v.toFixed(digits).replace("-", "−");

  let z, row, ends, sliders = [];

  // --- rows as they are shown ---
  const first = (list, i) => (list.length > 1 ? list[i] : list[0]);

  function paint(pixels, x, left, across) {  // x in model space, at `left` of a picture `across` wide
    const { channels, height, width, low, high } = show, area = height * width;
    const level = (i) => 255 * (first(show.shift, i) + first(show.scale, i) * x[i] - low) / (high - low);
    for (let i = 0; i < area; i++) {
      const place = 4 * (Math.floor(i / width) * across + left + (i % width));
      const alpha = channels === 4 ? Math.min(1, Math.max(0, level(3 * area + i) / 255)) : 1;
      for (let c = 0; c < 3; c++) {
        const v = level(channels < 3 ? i : c * area + i);
        pixels[place + c] = alpha * v + 255 * (1 - alpha);
      }
      pixels[place + 3] = 255;
    }
  }

  function image(canvas, parts) {
    const across = parts.length * (show.width + 1) - 1;  // a pixel between two
    canvas.width = across;
    canvas.height = show.height;
    const context = canvas.getContext("2d"), found = context.createImageData(across, show.height);
    parts.forEach((x, i) => paint(found.data, x, i * (show.width + 1), across));
    context.putImageData(found, 0, 0);
  }

  const sheet = new Image();
  function original() {
    byId("beside").hidden = row === null || !show.sprite;
    if (row === null || !show.sprite || !sheet.complete) return;
    const canvas = byId("original");
    canvas.width = show.width;
    canvas.height = show.height;
    const x = (row % show.across) * show.width, y = Math.floor(row / show.across) * show.height;
    canvas.getContext("2d").drawImage(sheet, x, y, show.width, show.height, 0, 0, show.width, show.height);
  }

  const cells = [];
  function table() {
    const found = document.createElement("table"), head = found.createTHead().insertRow();
    for (const name of ["", "decoded", "", "the row itself"]) {
      const cell = document.createElement("th");
      cell.textContent = name;
      head.append(cell);
    }
    const body = found.createTBody();
    for (const column of show.columns) {
      const line = body.insertRow(), [name, value, place, own] = [0, 1, 2, 3].map(() => line.insertCell());
      name.textContent = column.name;
      const scale = document.createElement("div"), mark = document.createElement("i");
      scale.className = "scale";
      scale.append(mark);
      if (!column.words && column.range[1] > column.range[0]) place.append(scale);
      cells.push({ column, value, mark, own });
    }
    byId("values").append(found);
    if (show.of > show.columns.length) {
      const note = document.createElement("p");
      note.className = "small";
      note.textContent = `The first ${show.columns.length} of ${show.of} columns are shown.`;
      byId("values").append(note);
    }
  }

  function inUnits(column, x) {  // an entry of model space as the user's value
    if (!column.pieces) return column.shift + column.scale * x;
    const ends = column.pieces, n = ends.length / 2;
    const code = Math.min(n - 1, Math.max(0, Math.floor(x)));
    const place = Math.min(1 - 1e-7, Math.max(1e-7, x - code));
    const [low, high] = [ends[2 * code], ends[2 * code + 1]], wide = high - low;
    // the outermost pieces are exponential tails
    if (code === 0) return high + wide * Math.log(place);
    if (code === n - 1) return low - wide * Math.log1p(-place);
    return low + place * wide;
  }

  function inWords(column, user) {
    if (column.words) return column.words[Math.round(user)] || "";
    if (column.date) return new Date(1000 * user).toISOString().slice(0, 16).replace("T", " ");
    if (column.step) user = Math.round(user / column.step) * column.step;
    return String(Number(user.toPrecision(column.step ? 8 : 4))).replace("-", "−");
  }

  function values(x) {
    cells.forEach(({ column, value, mark, own }, j) => {
      const user = inUnits(column, x[column.entry]), [low, high] = column.range;
      const there = column.gate === null || x[column.gate] >= 0.5;
      value.textContent = there ? inWords(column, user) : "–";
      mark.style.left = `${100 * Math.min(1, Math.max(0, (user - low) / (high - low || 1)))}%`;
      mark.hidden = !there;
      own.textContent = row === null ? "" : show.rows[row][j];
    });
  }

  // --- the state: a code z, the row that it is the mean of (null for none), the ends A and B ---
  const coordinates = (code) => axes.map((axis) => dot(axis, code));
  const place = (p) => p.map((v, k) => data.map.start[k] + (v - data.map.low[k]) * data.map.unit[k]);

  function draw() {
    const x = decode(z);
    if (show.columns) values(x);
    else {
      image(byId("picture"), [x]);
      original();
    }
    const p = place(row !== null ? [points[2 * row], points[2 * row + 1]] : coordinates(z));
    if (d === 1 && row === null) p[1] = place([0, data.map.low[1]])[1] - 8;
    const [x_at, y_at] = p.map((v) => Math.min(352, Math.max(8, v)));  // within the frame
    byId("cursor").setAttribute("transform", `translate(${x_at} ${y_at})`);
    sliders.forEach(({ dim, input, output }) => {
      input.value = z[dim];
      output.textContent = said(z[dim], 2);
    });
    const [number, label, nats] = row === null ? [] : data.rows[row];
    byId("told").textContent = row === null ? "A code of your own: no row of the data."
      : `Row ${number}` + (label === null ? "" : `, label ${label}`)
        + (nats === null ? "" : `; log p(x) ${said(nats, 1)} nats`) + ".";
  }

  let waiting = false;
  function move(code, of) {  // at most once a frame, whatever comes in between
    z = code;
    row = of;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function along(t) {
    return code(ends[0]).map((a, j) => a + t * (codes[ends[1] * d + j] - a));
  }

  function path() {
    const [a, b] = ends.map((i) => place([points[2 * i], points[2 * i + 1]]));
    byId("way").setAttribute("d", `M${a}L${b}`);
    if (show.columns) return;
    image(byId("frames"), [0, 1, 2, 3, 4, 5, 6, 7, 8].map((k) => decode(along(k / 8))));
  }

  // --- what moves it ---
  function nearest(p) {
    let best = 0, least = Infinity;
    for (let i = 0; i < rows; i++) {
      const q = place([points[2 * i], points[2 * i + 1]]);
      const far = (q[0] - p[0]) ** 2 + (q[1] - p[1]) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    return [best, Math.sqrt(least)];
  }

  function inPlane(p) {  // z with its coordinates in the plane of the map changed to p, the rest as it is
    const q = p.map((v, k) => data.map.low[k] + (v - data.map.start[k]) / data.map.unit[k]);
    const now = coordinates(z);
    return z.map((v, j) => v + axes[0][j] * (q[0] - now[0]) + axes[1][j] * (q[1] - now[1]));
  }

  let dragging = false;
  function pointer(event) {
    const box = map.getBoundingClientRect(), unit = 360 / box.width;
    const p = [(event.clientX - box.left) * unit, (event.clientY - box.top) * unit];
    if (event.type === "pointerdown") {
      dragging = true;
      map.setPointerCapture(event.pointerId);
      const [found, far] = nearest(p);
      if (far < 9) return move(code(found), found);
    }
    if (dragging) move(inPlane(p), null);
  }

  function listen() {
    for (const name of ["pointerdown", "pointermove"]) map.addEventListener(name, pointer);
    for (const name of ["pointerup", "pointercancel"])
      map.addEventListener(name, () => { dragging = false; });
    map.tabIndex = 0;
    map.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-4, 0], ArrowRight: [4, 0], ArrowUp: [0, -4], ArrowDown: [0, 4] }[event.key];
      if (!step) return;
      event.preventDefault();
      const p = place(coordinates(z));
      move(inPlane([p[0] + step[0], p[1] + step[1]]), null);
    });
    let last = 0;
    byId("back").addEventListener("click", () => move(code(last), last));
    byId("random").hidden = !data.prior;
    byId("random").addEventListener("click", () => {
      const [centre, width] = data.prior.map(at);
      const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
      move(Array.from(centre, (c, j) => c + width[j] * normal()), null);
    });
    for (const [name, end] of [["set-a", 0], ["set-b", 1]])
      byId(name).addEventListener("click", () => {
        ends[end] = row === null ? last : row;
        path();
        byId("t").value = end;
      });
    byId("t").addEventListener("input", (event) => {
      const t = Number(event.target.value);
      move(along(t), t === 0 ? ends[0] : t === 1 ? ends[1] : null);
    });
    // the row that "back" goes to is the last that was seen
    new MutationObserver(() => { if (row !== null) last = row; }).observe(byId("told"), { childList: true });
  }

  function slide() {
    sliders = data.dims.map(([dim, rate, low, high]) => {
      const label = document.createElement("label"), name = document.createElement("span");
      const input = document.createElement("input"), output = document.createElement("span");
      name.textContent = `z${dim}` + (rate === null ? "" : ` · ${said(rate, 2)} nats`);
      Object.assign(input, { type: "range", min: low, max: high, step: 0.01 });
      input.setAttribute("aria-label", `latent dimension ${dim}`);
      input.addEventListener("input", () => {
        const next = z.slice();
        next[dim] = Number(input.value);
        move(next, null);
      });
      label.append(name, input, output);
      byId("sliders").append(label);
      return { dim, input, output };
    });
  }

  // B to begin with: the first row of another label, else the farthest row
  function other() {
    const found = data.rows.findIndex((r) => r[1] !== null && r[1] !== data.rows[0][1]);
    if (found > 0) return found;
    const far = (i) => code(i).reduce((sum, v, j) => sum + (v - codes[j]) ** 2, 0);
    let best = 0;
    for (let i = 1; i < rows; i++) if (far(i) > far(best)) best = i;
    return best;
  }

  document.body.classList.add("alive");
  document.querySelectorAll(".live").forEach((part) => { part.hidden = false; });
  byId("cursor").setAttribute("visibility", "visible");
  ends = [0, other()];
  if (show.columns) table();
  else if (show.sprite) {
    sheet.addEventListener("load", original);
    sheet.src = `data:image/png;base64,${show.sprite}`;
  }
  slide();
  listen();
  [z, row] = [code(0), 0];
  draw();
  path();
  // for the console: vaes.decode([...]) is the mean of p(x|z) in model space
  window.vaes = { decode, code, latent: d, rows };
})();
