"use strict";
// The script of the page: it scores one customer and explains the answer. All text of the data
// enters the page as text, never as markup.
(() => {
  const MINUS = "\u2212";
  const SPEAKS_FOR = 0.25; // smallest difference that is named, in standard deviations
  const SPEAKS_AGAINST = 1;
  const MAX_FOR = 5;
  const MAX_AGAINST = 3;
  const CLEARNESS = [
    [0.5, "It is a clear case"],
    [0.25, "It is a fairly clear case"],
    [0.1, "It is not a clear case"],
    [-Infinity, "It is almost a tie"],
  ];
  const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/; // a number of JSON

  let token = ""; // kept in memory only
  let data = {};
  let running = null;

  const byId = (id) => document.getElementById(id);

  function element(name, text, parent) {
    const made = document.createElement(name);
    made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function call(path, options = {}) {
    const headers = { ...options.headers };
    if (token) headers.Authorization = `Bearer ${token}`;
    return fetch(path, { ...options, headers, cache: "no-store" });
  }

  // Numbers as the report writes them.

  function numberText(x) {
    if (x === null || Number.isNaN(x)) return "\u2013";
    const size = Math.abs(x);
    const digits = size >= 999.5 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
    const isPlain = size === 0 || (size >= 1e-4 && size < 1e12);
    const text = isPlain ? size.toLocaleString("en", digits) : size.toExponential(2);
    return (x < 0 && text !== "0" ? MINUS : "") + text.replace("e-", `e${MINUS}`).replace("e+", "e");
  }

  function percentText(share) {
    if (share > 0 && share < 0.0005) return "<0.1%";
    return share >= 0.9995 && share < 1 ? ">99.9%" : `${(share * 100).toFixed(1)}%`;
  }

  /** Write a position among ordered categories, as the report does. */
  function positionText(x, categories) {
    const at = Math.min(Math.max(x, 0), categories.length - 1);
    const gap = Math.abs(at - Math.round(at));
    if (gap > 1 / 3) return `${categories[Math.floor(at)]} to ${categories[Math.ceil(at)]}`;
    return `${gap < 0.05 ? "" : "about "}${categories[Math.round(at)]}`;
  }

  // The customer in the form.

  function fieldJson(column, field) {
    if (column.kind === "category") return column.options[field.value].json;
    const text = field.value.trim();
    if (text === "") return "null";
    if (column.kind === "vector") return vectorJson(text);
    const decimal = plainNumber(text);
    return NUMBER.test(decimal) ? decimal : JSON.stringify(text);
  }

  function plainNumber(text) {
    const decimal = text.replace(MINUS, "-").replace(/^\+/, "");
    return decimal.replace(/^(-?)\./, "$10.").replace(/\.(?=$|[eE])/, "");
  }

  function vectorJson(text) {
    const list = text.startsWith("[") ? text : `[${text}]`;
    try {
      JSON.parse(list);
      return list;
    } catch {
      return JSON.stringify(text); // the server says what is wrong with it
    }
  }

  /** Return the described features of a customer; null where a value is missing. */
  function customerFeatures() {
    const values = new Array(data.features.length).fill(null);
    data.columns.forEach((column, i) => {
      const field = byId(`field-${i}`);
      if (column.kind === "category") {
        const { features } = column.options[field.value];
        column.features.forEach((f, j) => { values[f] = features[j]; });
        return;
      }
      const value = JSON.parse(fieldJson(column, field));
      const parts = column.kind === "vector" ? [value].flat(Infinity) : [value];
      column.features.forEach((f, j) => {
        const source = column.sources[j];
        if (source === "is missing") values[f] = parts.includes(null) ? 1 : 0;
        else values[f] = parts[source === "value" ? 0 : source] ?? null;
      });
    });
    return values;
  }

  // The answer in words.

  function transformed(feature, x) {
    if (feature.transform === "log1p") return Math.log1p(x);
    if (feature.transform !== "yeo-johnson") return x;
    const power = feature.power;
    if (x >= 0) return power === 0 ? Math.log1p(x) : Math.expm1(power * Math.log1p(x)) / power;
    return power === 2 ? -Math.log1p(-x) : -Math.expm1((2 - power) * Math.log1p(-x)) / (2 - power);
  }

  /** Return the difference from the average customer in standard deviations, or null. */
  function deviation(feature, value) {
    if (value === null || !(feature.std > 0)) return null;
    const [low, high] = feature.clip ?? [-Infinity, Infinity];
    const x = transformed(feature, Math.min(Math.max(value, low), high));
    const result = (x - transformed(feature, feature.mean)) / feature.std;
    return Number.isFinite(result) ? result : null;
  }

  function comparisons(segment) {
    const given = customerFeatures();
    const columnOf = new Map(data.columns.flatMap(({ features }, i) => features.map((f) => [f, i])));
    return data.features.flatMap((feature, f) => {
      const value = given[f] ?? feature.fill;
      const own = deviation(feature, value);
      const center = segment.deviation[f];
      if (own === null || center === null || segment.center[f] === null) return [];
      const isFilled = given[f] === null;
      const column = columnOf.get(f);
      return [{ feature, column, value, own, center, average: segment.center[f], isFilled }];
    });
  }

  function categoryText({ feature, value, average }) {
    const own = value > 0.5 ? "this customer" : "not this customer";
    return `${feature.category}: ${own}; ${percentText(average)} of the segment, ${percentText(feature.mean)} of all customers.`;
  }

  /** Return the function that writes a value of a feature. */
  function featureText({ isFrequency, categories }) {
    if (isFrequency) return percentText;
    return categories.length ? (x) => positionText(x, categories) : numberText;
  }

  function comparisonText(item) {
    const { feature, value, own, average, isFilled } = item;
    if (feature.category !== null) return categoryText(item);
    const text = featureText(feature);
    const label = feature.isFrequency ? `${feature.name} (share of customers with the same value)` : feature.name;
    const known = isFilled ? "is not known and taken as" : "is";
    const side = Math.abs(own) < 0.05 ? "close to" : own > 0 ? "above" : "below";
    return `${label} ${known} ${text(value)}, ${side} the average of ${text(feature.mean)}; the segment's center is ${text(average)}.`;
  }

  /** Leave out the categories that a customer lacks where the one that the customer has is named. */
  function withoutRepetition(items) {
    const has = new Set(items.filter(isCategoryOfCustomer).map((item) => item.column));
    return items.filter((item) =>
      item.feature.category === null || isCategoryOfCustomer(item) || !has.has(item.column));
  }

  function isCategoryOfCustomer({ feature, value }) {
    return feature.category !== null && value > 0.5;
  }

  function listComparisons(parent, title, items) {
    if (items.length === 0) return;
    element("h4", title, parent);
    const list = element("ul", "", parent);
    items.forEach((item) => element("li", comparisonText(item), list));
  }

  function explainFeatures(parent, segment) {
    const all = comparisons(segment);
    const strength = ({ own, center }) => Math.min(Math.abs(own), Math.abs(center));
    const speakFor = all
      .filter((item) => item.own * item.center > 0 && strength(item) >= SPEAKS_FOR)
      .sort((a, b) => strength(b) - strength(a));
    const distance = ({ own, center }) => Math.abs(own - center);
    const speakAgainst = all
      .filter((item) => distance(item) >= SPEAKS_AGAINST && !speakFor.includes(item))
      .sort((a, b) => distance(b) - distance(a));
    listComparisons(parent, "What speaks for this segment", withoutRepetition(speakFor).slice(0, MAX_FOR));
    listComparisons(parent, "Where the customer differs from the segment", withoutRepetition(speakAgainst).slice(0, MAX_AGAINST));
    if (speakFor.length + speakAgainst.length === 0 && all.length > 0) {
      element("p", "The customer is close to the average in every feature.", parent);
    }
  }

  function segmentTitle(number, name) {
    const known = data.segments[number]?.title;
    if (known) return known;
    if (number < 0) return "Noise";
    return name ? `Segment ${number}: ${name}` : `Segment ${number}`;
  }

  function confidenceText(confidence) {
    const [, words] = CLEARNESS.find(([low]) => confidence >= low);
    return `${words}: the confidence is ${confidence.toFixed(2)}, on a scale from 0 (on the border of two segments) to 1 (at the center of the segment).`;
  }

  function showAnswer(row, run) {
    const answer = byId("answer");
    answer.replaceChildren();
    element("h3", segmentTitle(row.segment, row.name), answer);
    if (row.segment < 0) element("p", "The customer is too far from every segment and belongs to none.", answer);
    if (typeof row.confidence === "number") element("p", confidenceText(row.confidence), answer);
    if (Number.isInteger(row.next_segment) && row.next_segment >= 0) {
      element("p", `The next one is ${segmentTitle(row.next_segment, "").replace("Segment", "segment")}.`, answer);
    }
    const segment = data.segments[row.segment];
    if (segment && row.segment >= 0) explainFeatures(answer, segment);
    if (typeof row.distance === "number") {
      element("p", `The distance is ${numberText(row.distance)} in scaled units.`, answer).className = "note";
    }
    if (run && run !== data.run) {
      element("p", `This is the answer of run ${run}, which is newer than this page. Reload the page to see its segments.`, answer).className = "note";
    }
    reveal(answer);
  }

  function showMessage(text) {
    const answer = byId("answer");
    answer.replaceChildren(element("p", text));
    reveal(answer);
  }

  function reveal(answer) {
    answer.hidden = false;
    answer.scrollIntoView({ block: "nearest" }); // on a phone it is below the form
  }

  // Wrong input.

  function setError(id, text) {
    const field = byId(id.startsWith("token") ? id : `field-${id}`);
    const note = byId(`error-${id}`);
    note.textContent = text;
    note.hidden = text === "";
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    return field;
  }

  function clearErrors() {
    data.columns.forEach((_, i) => setError(String(i), ""));
  }

  function showProblems(body) {
    const fields = [];
    const others = [];
    (body.problems ?? []).forEach(({ column, rule }) => {
      const i = data.columns.findIndex(({ name, shownName }) => name === column || shownName === column);
      if (i < 0) others.push(rule);
      else fields.push(setError(String(i), `The value ${rule}.`));
    });
    if (fields.length + others.length === 0) others.push(body.error ?? "The server does not accept these values.");
    showMessage(others.length ? others.join(" ") : "The customer has no segment yet: correct the marked fields.");
    if (fields.length) {
      fields[0].closest("details")?.setAttribute("open", "");
      fields[0].focus();
    }
  }

  async function score(event) {
    event.preventDefault();
    running?.abort();
    running = new AbortController();
    clearErrors();
    const values = data.columns.map((column, i) =>
      `${JSON.stringify(column.name)}:${fieldJson(column, byId(`field-${i}`))}`);
    try {
      const response = await call("segments", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: `{"rows":[{${values.join(",")}}]}`,
        signal: running.signal,
      });
      const body = await response.json();
      if (response.ok) showAnswer(body[0], response.headers.get("x-gpuseg-run"));
      else if (response.status === 400) showProblems(body);
      else showMessage(`The server answered: ${body.error ?? response.statusText}`);
    } catch (error) {
      if (error.name !== "AbortError") showMessage("The server cannot be reached. Try again in a moment.");
    }
  }

  function startAgain() {
    clearErrors();
    byId("answer").hidden = true;
  }

  // The token.

  async function unlock(event) {
    event.preventDefault();
    token = byId("token").value.trim();
    setError("token", "");
    try {
      const response = await call(location.pathname, { headers: { Accept: "text/html" } });
      if (response.ok) {
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        document.body.replaceWith(document.adoptNode(page.body));
        start();
        byId("main").focus();
        return;
      }
      setError("token", response.status === 401 ? "The server does not accept this token." : `The server answered ${response.status}.`).focus();
    } catch {
      setError("token", "The server cannot be reached, or the token has characters that no token has.").focus();
    }
  }

  /** Download what a link points to: a link itself sends no token. */
  async function download(event) {
    const link = event.currentTarget;
    event.preventDefault();
    const response = await call(link.getAttribute("href"));
    const copy = document.createElement("a");
    copy.href = URL.createObjectURL(await response.blob());
    copy.download = link.dataset.file;
    copy.click();
    setTimeout(() => URL.revokeObjectURL(copy.href), 60_000);
  }

  function start() {
    data = JSON.parse(byId("data").textContent);
    const forms = { customer: score, unlock };
    Object.entries(forms).forEach(([id, submit]) => {
      const form = byId(id);
      if (!form) return;
      form.hidden = false;
      form.addEventListener("submit", submit);
      form.addEventListener("reset", startAgain);
    });
    if (!token) return;
    document.querySelectorAll("a[data-file]").forEach((link) => {
      link.textContent += " (download)";
      link.addEventListener("click", download);
    });
  }

  start();
})();
