"use strict";
// Sorts, filters and opens the rows of a report. Text is set as text, never as markup.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);

  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "class") made.className = value;
      else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  function clock(seconds) {
    const tenths = Math.floor(seconds * 10 + 1e-6);
    const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
    const minutes = Math.floor(tenths / 600);
    const hours = Math.floor(minutes / 60);
    return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  }

  // --- Colours --------------------------------------------------------------------------------------------------

  const theme = $("#theme");
  if (theme) {
    const root = document.documentElement;
    const system = matchMedia("(prefers-color-scheme: dark)");
    let isDark = false;
    // The button is named after what it does.
    const show = (dark) => {
      isDark = dark;
      theme.textContent = dark ? "Light" : "Dark";
    };
    show(system.matches);
    system.addEventListener("change", () => { if (!root.dataset.theme) show(system.matches); });
    theme.addEventListener("click", () => {
      root.dataset.theme = isDark ? "light" : "dark";
      show(!isDark);
    });
  }

  // --- The table ------------------------------------------------------------------------------------------------

  const table = $("#files");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  let ordered = rows;
  let most = Number(table.dataset.first); // rows that are seen until more are asked for
  const heads = [...table.tHead.rows[0].cells];
  let opened = null; // {row, detail, player}

  function sort(head, button) {
    const column = head.cellIndex;
    const by = button.dataset.by;
    const again = button.classList.contains("by") && head.getAttribute("aria-sort");
    const direction = again ? (again === "ascending" ? "descending" : "ascending") : head.dataset.first;
    const sign = direction === "ascending" ? 1 : -1;
    const numbers = head.dataset.kind === "number";
    const keyed = rows.map((row, place) => {
      const value = row.cells[column].dataset[by];
      return { row, place, key: value === undefined ? null : numbers ? Number(value) : value };
    });
    keyed.sort((a, b) => {
      // What has no number comes last, whichever way.
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      const order = numbers ? a.key - b.key : a.key.localeCompare(b.key, undefined, { numeric: true });
      return sign * order || a.place - b.place;
    });
    for (const other of heads) {
      other.setAttribute("aria-sort", other === head ? direction : "none");
      for (const each of other.querySelectorAll("button")) each.classList.toggle("by", each === button);
    }
    ordered = keyed.map(({ row }) => row);
    refilter();
    const order = document.createDocumentFragment();
    for (const row of ordered) order.append(row);
    body.append(order);
    if (opened) opened.row.after(opened.detail);
  }

  for (const head of heads) {
    for (const button of head.querySelectorAll("button")) {
      button.addEventListener("click", () => sort(head, button));
    }
  }

  const filter = $("#filter");
  const show = $("#show");
  const count = $("#count");

  function matches(row) {
    const kind = show.value;
    const marked = kind === "worse" || kind === "remarks";
    if (marked ? row.dataset[kind] === undefined : kind && row.dataset.status !== kind) return false;
    // Some systems write the accents of file names as signs of their own.
    const plain = (text) => text.normalize("NFC").toLowerCase();
    const text = plain(row.cells[0].textContent);
    return plain(filter.value).split(/\s+/).every((word) => text.includes(word));
  }

  function refilter() {
    let seen = 0;
    for (const row of ordered) {
      row.hidden = !matches(row);
      if (!row.hidden) seen += 1;
      row.classList.toggle("later", seen > most);
    }
    if (opened && (opened.row.hidden || opened.row.classList.contains("later"))) close();
    const files = rows.length === 1 ? "file" : "files";
    count.textContent = seen === rows.length ? `${seen} ${files}` : `${seen} of ${rows.length} ${files}`;
    more.parentElement.hidden = seen <= most;
    more.textContent = `Show all ${seen}`;
  }

  const more = $("#all");
  more.addEventListener("click", () => {
    const next = ordered.find((row) => row.classList.contains("later") && !row.hidden);
    most = Infinity;
    refilter();
    $(".open", next)?.focus(); // the button that had the focus is hidden
  });
  filter.addEventListener("input", refilter);
  show.addEventListener("change", refilter);
  filter.form.addEventListener("submit", (event) => event.preventDefault());
  refilter();

  // --- One row, opened ------------------------------------------------------------------------------------------

  function close() {
    if (!opened) return;
    opened.player.leave();
    opened.detail.remove();
    opened.row.classList.remove("opened");
    $(".open", opened.row).setAttribute("aria-expanded", "false");
    opened = null;
  }

  function open(row) {
    close();
    const data = JSON.parse($(`#m${row.id.slice(1)}`).textContent);
    const name = $(".open", row).textContent;
    const panel = make("section", { class: "panel", tabindex: "-1", "aria-label": `Look at and listen to ${name}` });
    const detail = make("tr", { class: "detail" }, make("td", { colspan: heads.length }, panel));
    row.after(detail);
    row.classList.add("opened");
    $(".open", row).setAttribute("aria-expanded", "true");
    opened = { row, detail, player: new Player(panel, data) };
    panel.focus({ preventScroll: true });
    detail.scrollIntoView({ block: "nearest" });
  }

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (!row || !$(".open", row)) return;
    // Scores can be marked and copied.
    if (!event.target.closest(".open") && String(getSelection())) return;
    if (opened && opened.row === row) close();
    else open(row);
  });

  function step(by) {
    const seen = ordered.filter((row) => !row.hidden && !row.classList.contains("later"));
    const at = opened ? seen.indexOf(opened.row) : by > 0 ? -1 : seen.length;
    const row = seen[at + by];
    if (row) {
      open(row);
      row.scrollIntoView({ block: "nearest" });
    }
  }

  // The panel stays as wide as what is seen of a table that is wider.
  const scroll = $("main .scroll");
  new ResizeObserver(() => scroll.style.setProperty("--view", `${scroll.clientWidth}px`)).observe(scroll);

  // --- Playing --------------------------------------------------------------------------------------------------

  function bytesOf(address) {
    return Uint8Array.from(atob(address.split(",")[1]), (sign) => sign.charCodeAt(0));
  }

  // A WAV file, 16 bits a sample, of the sum of two recordings of one length.
  function wavOfSum(first, second) {
    const channels = first.numberOfChannels;
    const frames = Math.min(first.length, second.length);
    const view = new DataView(new ArrayBuffer(44 + 2 * channels * frames));
    const text = (at, word) => [...word].forEach((sign, n) => view.setUint8(at + n, sign.charCodeAt(0)));
    text(0, "RIFF");
    view.setUint32(4, 36 + 2 * channels * frames, true);
    text(8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true);
    view.setUint16(22, channels, true);
    view.setUint32(24, first.sampleRate, true);
    view.setUint32(28, 2 * channels * first.sampleRate, true);
    view.setUint16(32, 2 * channels, true);
    view.setUint16(34, 16, true);
    text(36, "data");
    view.setUint32(40, 2 * channels * frames, true);
    const samples = new Int16Array(view.buffer, 44);
    for (let channel = 0; channel < channels; channel += 1) {
      const a = first.getChannelData(channel);
      const b = second.getChannelData(channel);
      for (let n = 0; n < frames; n += 1) {
        samples[n * channels + channel] = Math.round(32767 * Math.max(-1, Math.min(1, a[n] + b[n])));
      }
    }
    return new Blob([view], { type: "audio/wav" });
  }

  const DRIFT_S = 0.03; // recordings further apart than this are brought together when one takes over

  class Player {
    constructor(panel, data) {
      this.clips = data.clips || [];
      this.urls = [];
      this.curves = data.curves || [];
      const spans = this.curves.map((curve) => curve.step * curve.values.length);
      this.longest = Math.max(0, ...this.clips.map((clip) => Math.max(clip.width, clip.seconds)), ...spans);
      this.seconds = Math.max(0, ...(this.clips.length ? this.clips.map((clip) => clip.seconds) : spans));
      this.audible = this.clips.filter((clip) => clip.sound || clip.sum);
      this.playing = false;
      this.position = 0;
      for (const clip of this.audible) this.prepare(clip);
      const first = this.audible.find((clip) => clip.role === "output") || this.audible[0] || null;
      this.chosen = first;
      this.other = this.audible.find((clip) => clip.role === "input" && clip !== first)
        || this.audible.find((clip) => clip !== first) || null;
      this.panel = panel;
      this.trouble = make("p", { class: "trouble", role: "status" });
      if (this.audible.length) panel.append(this.transport(), this.slider(), this.trouble);
      if (this.clips.length || this.curves.length) panel.append(this.lanes(data));
      if (data.notes.length) panel.append(make("ul", { class: "remarks" }, ...data.notes.map((n) => make("li", {}, n))));
      if (!panel.childElementCount) panel.append(make("p", { class: "quiet" }, "Nothing to see or hear of this row."));
      if (this.audible.length) panel.append($("#keys").content.cloneNode(true));
      this.mark();
    }

    prepare(clip) {
      clip.audio = new Audio();
      clip.audio.preload = "auto";
      clip.audio.muted = true;
      if (clip.sum) {
        this.add(clip);
      } else if (clip.sound.startsWith("data:")) {
        clip.audio.src = this.addressOf(new Blob([bytesOf(clip.sound)], { type: clip.sound.slice(5).split(";")[0] }));
      } else {
        clip.audio.src = clip.sound;
      }
      clip.audio.addEventListener("error", () => this.refuse(clip));
      clip.audio.addEventListener("ended", () => {
        if (clip === this.chosen) this.stop();
      });
    }

    // The input is what the output and the removed signal add up to.
    async add(clip) {
      try {
        const parts = this.clips.filter((part) => part.sound && ["output", "removed"].includes(part.role));
        const rate = Math.min(Math.max(clip.rate, 8000), 48000);
        const decoded = parts.map(async (part) => {
          return new OfflineAudioContext(1, 1, rate).decodeAudioData(bytesOf(part.sound).buffer);
        });
        const sum = wavOfSum(...(await Promise.all(decoded)));
        if (this.left) return;
        clip.audio.src = this.addressOf(sum);
        if (this.playing) this.start(clip, this.now());
        else clip.audio.currentTime = Math.min(this.position, clip.seconds);
        this.mark();
      } catch {
        this.refuse(clip);
      }
    }

    refuse(clip) {
      clip.refused = true;
      if (clip.sum || clip.sound.startsWith("data:")) {
        clip.note.textContent = "This browser cannot play the file.";
      } else {
        clip.note.textContent = "Missing, or not to be played here.";
        const lost = this.audible.filter((other) => other.refused && other.path).map((other) => other.path);
        this.trouble.textContent = `Missing, or not to be played by this browser: ${lost.join(", ")}.`
          + " A page made with --report-audio embed has the sound inside.";
      }
      if (clip === this.chosen) this.pause();
      this.mark();
    }

    addressOf(blob) {
      const address = URL.createObjectURL(blob);
      this.urls.push(address);
      return address;
    }

    transport() {
      this.playButton = make("button", { class: "play", type: "button", onclick: (e) => this.press(e, () => this.toggle()) }, "Play");
      this.time = make("span", { class: "time" });
      const choices = this.audible.map((clip, n) => {
        const number = make("kbd", {}, String(n + 1));
        clip.button = make("button", { type: "button", "data-role": clip.role, onclick: (e) => this.press(e, () => this.choose(clip)) }, `${clip.label} `, number);
        return clip.button;
      });
      const swap = make("button", { class: "ab", type: "button", title: "The other of the last two", onclick: (e) => this.press(e, () => this.swap()) }, "A/B ", make("kbd", {}, "A"));
      swap.disabled = !this.other;
      const levels = this.audible.filter((clip) => clip.level !== null && clip.role !== "removed").map((clip) => clip.level);
      this.quietest = Math.min(...levels);
      this.alike = make("input", { type: "checkbox", class: "alike", onchange: () => this.mark() });
      const equal = make("label", { title: "Louder recordings are turned down to the quietest" }, this.alike, " equal level");
      const group = make("span", { role: "group", "aria-label": "Which recording is heard" });
      group.append(...choices.flatMap((choice) => [choice, " "]));
      return make("div", { class: "transport" }, this.playButton, group, swap, equal, this.time);
    }

    slider() {
      this.seekBar = make("input", { class: "seek", type: "range", min: "0", max: String(this.seconds), step: "0.01", value: "0", "aria-label": "Position", oninput: () => this.seek(Number(this.seekBar.value)) });
      return this.seekBar;
    }

    lanes(data) {
      const lanes = make("div", { class: "lanes" });
      for (const clip of this.clips) {
        clip.note = make("small", {});
        const level = clip.level === null ? "silent" : `${clip.level.toFixed(1)} dBFS`;
        const name = make("div", { class: "name" }, clip.label, make("small", {}, level), make("small", {}, clip.form), clip.note);
        if (clip.path) name.title = clip.path;
        const image = make("img", { src: clip.picture, loading: "lazy", alt: `${clip.label}: waveform and spectrogram`, draggable: "false" });
        image.style.width = `${(100 * clip.width) / this.longest}%`;
        const view = make("div", { class: "view", onclick: (event) => this.point(event, view, clip) }, image, make("div", { class: "cursor" }));
        const ticks = make("div", { class: "ticks", "aria-hidden": "true" });
        for (const [label, share] of data.ticks) {
          const tick = make("span", {}, label);
          tick.style.bottom = `${100 * share * (1 - data.wave)}%`;
          ticks.append(tick);
        }
        clip.lane = make("div", { class: "lane" }, name, view, ticks);
        lanes.append(clip.lane);
      }
      if (this.clips.length && data.gain.length) {
        const known = data.gain.filter((value) => value !== null);
        const ends = [Math.min(-6, Math.floor(Math.min(...known, 0))), Math.max(1, Math.ceil(Math.max(...known, 0)))];
        const width = this.clips.find((clip) => clip.role === "output").width;
        lanes.append(curveLane("Gain", "over time, dB", data.gain, ends, 0, width / this.longest));
      }
      for (const curve of this.curves) {
        const known = curve.values.filter((value) => value !== null);
        const ends = [Math.min(0, ...known), Math.max(1, ...known)];
        lanes.append(curveLane(curve.label, "over time", curve.values, ends, ends[1], curve.step * curve.values.length / this.longest));
      }
      const colours = this.clips.length ? `colours: ${data.range} dB` : "";
      lanes.append(timesLane(this.seconds, this.longest, colours));
      return (this.lanesElement = lanes);
    }

    // After a click the keys are the player's again; who came by the keyboard stays on the button.
    press(event, action) {
      action();
      if (event.detail) this.panel.focus({ preventScroll: true });
    }

    point(event, view, clip) {
      if (!this.audible.length) return;
      const box = view.getBoundingClientRect();
      this.seek(((event.clientX - box.left) / box.width) * this.longest);
      if (clip.audio) this.choose(clip);
    }

    choose(clip) {
      if (clip === this.chosen || clip.refused || !clip.audio.src) return;
      const at = this.now();
      this.other = this.chosen;
      this.chosen = clip;
      if (Math.abs(clip.audio.currentTime - at) > DRIFT_S || !this.playing) clip.audio.currentTime = at;
      this.mark();
    }

    swap() {
      if (this.other) this.choose(this.other);
    }

    now() {
      return this.chosen && this.playing ? this.chosen.audio.currentTime : this.position;
    }

    seek(seconds) {
      this.position = Math.min(Math.max(seconds, 0), this.seconds);
      for (const clip of this.audible) clip.audio.currentTime = Math.min(this.position, clip.seconds);
      this.draw();
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    play() {
      if (!this.chosen || this.chosen.refused) return;
      if (this.position >= this.chosen.seconds - 0.05) this.seek(0);
      this.playing = true;
      // All recordings play and all but one are muted, so that switching leaves no gap.
      for (const clip of this.audible) this.start(clip, this.position);
      this.mark();
      this.follow();
    }

    start(clip, at) {
      if (!clip.audio.src) return;
      clip.audio.currentTime = Math.min(at, clip.seconds);
      clip.audio.play().catch(() => { if (clip === this.chosen) this.pause(); });
    }

    pause() {
      this.position = this.now();
      this.playing = false;
      for (const clip of this.audible) clip.audio.pause();
      this.mark();
    }

    stop() {
      this.pause();
      this.seek(0);
    }

    follow() {
      if (!this.playing) return;
      this.draw();
      requestAnimationFrame(() => this.follow());
    }

    mark() {
      for (const clip of this.audible) {
        const chosen = clip === this.chosen;
        const turned = this.alike && this.alike.checked && clip.level !== null && clip.role !== "removed";
        clip.audio.volume = turned ? Math.min(1, 10 ** ((this.quietest - clip.level) / 20)) : 1;
        clip.audio.muted = !chosen;
        clip.button.setAttribute("aria-pressed", chosen);
        clip.button.disabled = clip.refused || !clip.audio.src;
        clip.lane.classList.toggle("chosen", chosen);
      }
      if (this.playButton) {
        this.playButton.textContent = this.playing ? "Pause" : "Play";
        this.playButton.disabled = Boolean(this.chosen.refused);
      }
      this.draw();
    }

    draw() {
      if (!this.lanesElement) return;
      const at = this.now();
      this.lanesElement.style.setProperty("--at", this.longest ? at / this.longest : 0);
      if (!this.time) return;
      this.time.textContent = `${clock(at)} / ${clock(this.seconds)}`;
      this.seekBar.value = String(at);
      this.seekBar.setAttribute("aria-valuetext", clock(at));
    }

    leave() {
      this.left = true;
      this.pause();
      for (const clip of this.audible) clip.audio.removeAttribute("src");
      for (const url of this.urls) URL.revokeObjectURL(url);
    }
  }

  function drawn(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // A line across the view at `level`; gaps where there is no value.
  function curveLane(label, hint, values, [low, high], level, share) {
    const known = values.filter((value) => value !== null);
    const svg = drawn("svg", { viewBox: `0 0 ${values.length} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const y = (value) => (100 * (high - value)) / (high - low);
    svg.append(drawn("line", { x1: 0, x2: values.length, y1: y(level), y2: y(level) }));
    let path = "";
    values.forEach((value, n) => {
      if (value === null) return;
      const alone = (n === 0 || values[n - 1] === null) && (n + 1 === values.length || values[n + 1] === null);
      path += `${n && values[n - 1] !== null ? "L" : "M"}${n + 0.5} ${y(value).toFixed(1)}${alone ? "h.5" : ""}`;
    });
    svg.append(drawn("path", { d: path }));
    svg.style.width = `${100 * share}%`;
    const ticks = make("div", { class: "ticks", "aria-hidden": "true" });
    const places = [];
    for (const value of [level, low, high]) {
      const place = Math.min(94, Math.max(6, 100 - y(value)));
      if (places.some((other) => Math.abs(other - place) < 18)) continue; // they would touch
      places.push(place);
      const tick = make("span", {}, String(value));
      tick.style.bottom = `${place}%`;
      ticks.append(tick);
    }
    const mean = known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
    const average = mean === null ? "none" : `mean ${Math.abs(mean) < 1 ? mean.toFixed(3) : mean.toFixed(1)}`;
    const name = make("div", { class: "name" }, label, make("small", {}, `${hint}; ${average}`));
    return make("div", { class: "lane gain" }, name, make("div", { class: "view" }, svg, make("div", { class: "cursor" })), ticks);
  }

  function timesLane(seconds, longest, remark) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600];
    const every = steps.find((step) => seconds / step <= 8) || 86400;
    const view = make("div", { class: "view", "aria-hidden": "true" });
    for (let at = 0; at <= seconds; at += every) {
      const tick = make("span", {}, every < 1 ? `${at.toFixed(1)} s` : clock(at).replace(/\.0$/, ""));
      tick.style.left = `${(100 * at) / longest}%`;
      view.append(tick);
    }
    return make("div", { class: "lane times" }, make("div", { class: "name" }, make("small", {}, remark)), view);
  }

  // --- Keys -----------------------------------------------------------------------------------------------------

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target;
    if (event.key === "Escape") {
      if (at === filter && filter.value) {
        filter.value = "";
        refilter();
      } else if (opened) {
        const button = $(".open", opened.row);
        close();
        button.focus();
      }
      return;
    }
    const writes = at.matches("input:not([type=range], [type=checkbox]), select");
    if (writes) return;
    const player = opened && opened.player;
    const key = event.key.toLowerCase();
    const clip = player && player.audible[Number(key) - 1];
    if (key === "/") filter.focus();
    else if (key === "j") step(1);
    else if (key === "k") step(-1);
    else if (!player || !player.audible.length) return;
    else if (key === " " && !at.matches("button, [type=checkbox], summary")) player.toggle();
    else if (key === "a") player.swap();
    else if (clip) player.choose(clip);
    else if (key === "arrowleft") player.seek(player.now() - 1);
    else if (key === "arrowright") player.seek(player.now() + 1);
    else return;
    event.preventDefault();
  });
})();
