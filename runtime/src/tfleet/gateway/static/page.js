"use strict";
// The same form works without this file; with it nothing is loaded anew, and pictures can be dropped and pasted. Text from elsewhere is set as text only.

const $ = (id) => document.getElementById(id);
const form = $("ask"), picture = $("picture"), token = $("token"), list = $("target");
let chosen = null;

function choose(file) {
  chosen = file;
  URL.revokeObjectURL($("preview").src);
  $("preview").hidden = !file;
  if (file) $("preview").src = URL.createObjectURL(file);
}

function say(text) { $("status").textContent = text; }

function complain(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
  if (text) $("result").hidden = true;
}

async function call(path, options = {}) {
  const headers = token && token.value ? { Authorization: "Bearer " + token.value.trim() } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  } catch {
    throw new Error("The gateway does not answer. Is it still running, and is the picture not too large?");
  }
  const answer = await response.json().catch(() => ({ error: `The answer cannot be read (HTTP ${response.status}).` }));
  if (!response.ok) throw new Error(answer.error || `HTTP ${response.status}`);
  return answer;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

async function refresh() {
  if (token && !token.value) return;
  const before = list.value, name = encodeURIComponent;
  const { models } = await call("api/v1/models");
  list.replaceChildren(...models.map((model) => {
    const group = document.createElement("optgroup");
    group.label = model.name + (model.available ? "" : " (not served now)");
    const newest = element("option", `${model.name}, newest version`, { value: name(model.name) });
    newest.disabled = !model.available;
    const labels = Object.entries(model.labels).map(([label, version]) =>
      element("option", `${model.name}, ${label} (version ${version})`, { value: `${name(model.name)}/labels/${name(label)}` }));
    const versions = model.versions.filter((one) => one.servers).map((one) =>
      element("option", `${model.name}, version ${one.version}`, { value: `${name(model.name)}/versions/${one.version}` }));
    group.append(newest, ...labels, ...versions);
    return group;
  }));
  if ([...list.options].some((option) => option.value === before)) list.value = before;
}

function show(answer) {
  const found = answer.detections || answer.top || [];
  const label = answer.label ? ` (${answer.label})` : "";
  $("heading").textContent = `${answer.model}, version ${answer.version}${label}`;
  const { total, model } = answer.milliseconds;
  const shrunk = answer.used.width < answer.width ? ` The model got it at ${answer.used.width} x ${answer.used.height}.` : "";
  $("summary").textContent = `Answered in ${Math.round(total)} ms, ${Math.round(model)} of them by the model server.${shrunk}`;
  const names = found.slice(0, 10).map((one) => one.label).join(", ");
  $("annotated").src = `data:${answer.picture.media_type};base64,${answer.picture.data}`;
  $("annotated").alt = "Your picture with what the model sees in it" + (names ? ": " + names : "");
  const rows = found.map((one) => [one.label, one.score === null ? "" : (100 * one.score).toFixed(1) + " %", (one.box || []).map((side) => side.toFixed(3)).join(" ")]);
  for (const [name, output] of Object.entries(answer.outputs || {})) rows.push([name, "", output.values.join(", ")]);
  const table = $("scores");
  table.caption.textContent = answer.outputs ? "The first values of each output" : found.length ? "What the model sees" : "The model sees nothing that it knows";
  table.tBodies[0].replaceChildren(...rows.map(([what, score, where]) => {
    const row = document.createElement("tr");
    row.append(element("th", what, { scope: "row" }), element("td", score), element("td", where));
    return row;
  }));
  $("result").hidden = false;
  $("heading").focus();
}

async function ask(event) {
  event.preventDefault();
  const file = chosen || picture.files[0];
  if (!file) return complain("Choose a picture first.");
  // The gateway would end the connection while the file is still being sent, and no browser shows the answer then.
  const most = Number(form.dataset.most), megabytes = (size) => (size / 1e6).toFixed(1) + " MB";
  if (file.size > most) return complain(`The file is too large: it has ${megabytes(file.size)}, and at most ${megabytes(most)} are taken.`);
  if (token && !token.value) return complain("Write the access token into its field first.");
  complain("");
  say("Asking the model …");
  $("send").disabled = true;
  try {
    if (!list.value) await refresh();
    if (!list.value) throw new Error("No model is served now. Try again in a moment.");
    const body = new FormData();
    body.append("picture", file);
    show(await call(`api/v1/models/${list.value}:predict?annotate=true`, { method: "POST", body }));
    say("The answer is below.");
  } catch (error) {
    say("");
    complain(error.message);
  } finally {
    $("send").disabled = false;
  }
}

picture.required = list.required = false;  // a dropped or pasted picture is in no field, and ask() says better what is missing
picture.addEventListener("change", () => choose(picture.files[0] || null));
form.addEventListener("submit", ask);
if (token) token.addEventListener("change", () => refresh().then(() => complain(""), (error) => complain(error.message)));
window.addEventListener("focus", () => refresh().catch(() => {}));

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) || files[0];
  if (!file) return;
  picture.value = "";
  choose(file);
  say(`${file.name || "The pasted picture"} is chosen.`);
}

document.addEventListener("paste", (event) => take(event.clipboardData.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}
