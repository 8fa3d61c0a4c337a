// Asks the daemon once a second, while somebody looks, and shows what it says. Whatever comes from it is
// set as text, never as markup.

import { draw, quantile, shape, span } from "./plot.js";

const EVERY = 1000, DEADLINE = 5000, SHOWN = 40; // milliseconds, milliseconds, routes
const LATE = 900; // seconds
const $ = id => document.getElementById(id);
const TONES = {
  watching: "good", writing: "good", good: "good", standby: "", unused: "", connecting: "",
  retrying: "warn", throttled: "warn", full: "bad", blocked: "bad", needs_sign_in: "bad", stopped: "bad",
};
const WORDS = { watching: "watching", writing: "ready", needs_sign_in: "needs you", full: "full", standby: "standing by" };
const RANKS = { bad: 0, warn: 1, "": 2, good: 3 };
const REASONS = {
  oversize: "Too large for the destination",
  line_too_long: "Has a line longer than the destination takes",
  rejected: "Refused by the destination, again and again",
  source_unreadable: "The source lists it and does not give its text",
  vanished: "Gone from the source before it could be read",
};

const number = value => value.toLocaleString("en-US");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const lasting = seconds => seconds < 99.5 ? `${Math.max(1, Math.ceil(seconds))} s` : span(seconds);
const ago = seconds => seconds < 1.5 ? "just now" : `${lasting(Math.floor(seconds))} ago`;
const word = state => WORDS[state] ?? state.replaceAll("_", " ");

function make(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Long names break where they have a joint, if they have to break.
function jointed(text) {
  return text.split(/(?<=[@./+])/).flatMap((part, n) => n ? [document.createElement("wbr"), part] : [part]);
}

// A detail without what stands beside it anyhow.
function detailed(detail, account, command = "") {
  const told = detail.startsWith(`${account}: `) ? detail.slice(account.length + 2) : detail;
  return command && told.endsWith(` Run: ${command}`) ? told.slice(0, -command.length - 6) : told;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ------------------------------------------------------------------ the routes

const rows = new Map();
let all = false, latest = null;

function title(name) {
  const [account, folder] = name.split(" > ");
  const into = folder === undefined ? [] : [make("small", "", ...jointed(`→ ${folder}`))];
  return make("div", "name", ...jointed(account), ...into);
}

function row(name) {
  const parts = {
    flow: shape("svg", { class: "flow", viewBox: "0 0 120 24", preserveAspectRatio: "none", role: "img" }),
    last: make("span"), lastLabel: make("small"), open: make("span"), openLabel: make("small"),
    detail: make("p", "detail"), copied: null, flowKey: null,
  };
  parts.element = make("li", "route", make("span", "dot"), title(name), parts.flow,
    make("div", "figure last", parts.last, parts.lastLabel), make("div", "figure open", parts.open, parts.openLabel), parts.detail);
  rows.set(name, parts);
  return parts;
}

function flow(parts, minutes) {
  const key = minutes.join();
  if (parts.flowKey === key) return;
  parts.flowKey = key;
  const most = Math.max(4, ...minutes);
  const bars = [shape("rect", { class: "base", x: 0, y: 23, width: 120, height: 1 })];
  minutes.forEach((count, n) => {
    if (!count) return;
    const tall = Math.max(2.5, 23 * Math.sqrt(count / most));
    bars.push(shape("rect", { x: n * 2, y: 24 - tall, width: 1.6, height: tall, rx: 0.6 }));
  });
  const total = minutes.reduce((sum, count) => sum + count, 0);
  parts.flow.setAttribute("aria-label", `${plural(total, "message")} in the last hour`);
  bars.push(shape("title", {}, `${plural(total, "message")} in the last hour`));
  parts.flow.replaceChildren(...bars);
}

function showRoute(route) {
  const parts = rows.get(route.name) ?? row(route.name);
  const tone = toneOf(route), arrived = parts.copied !== null && route.copied > parts.copied;
  parts.copied = route.copied;
  parts.element.classList.remove("good", "warn", "bad");
  if (tone) parts.element.classList.add(tone);
  if (arrived) {
    parts.element.classList.remove("arrived");
    void parts.element.offsetWidth; // so that the animation begins anew
    parts.element.classList.add("arrived");
  }
  flow(parts, route.flow);
  say(parts.last, route.copied_age === null ? number(route.copied) : ago(route.copied_age));
  say(parts.lastLabel, route.copied_age === null ? "copied" : `${number(route.copied)} copied`);
  const open = route.unsettled && number(route.unsettled), well = route.state === "watching";
  say(parts.open, open && well ? open : word(route.state));
  say(parts.openLabel, open ? (well ? `waiting ${lasting(route.oldest_age ?? 0)}` : `${open} waiting`) : route.set_aside ? `${number(route.set_aside)} set aside` : route.listed_age === null ? "" : `looked ${ago(route.listed_age)}`);
  const wait = route.pause >= 1 && tone !== "good" ? ` (again in ${lasting(route.pause)})` : "";
  say(parts.detail, route.detail ? detailed(route.detail, route.name.split(" > ")[0]) + wait : "");
  parts.detail.hidden = !route.detail;
  return parts.element;
}

function toneOf(route) {
  const tone = TONES[route.state] ?? "";
  return tone === "good" && route.late > LATE ? "warn" : tone;
}

function showRoutes(status) {
  const asleep = new Set(status.writers.filter(one => one.state === "standby").map(one => one.name));
  const routes = status.routes.map(one => asleep.has(one.destination) ? { ...one, state: "standby", detail: "" } : one);
  const rank = one => RANKS[toneOf(one)];
  const sorted = [...routes].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  const shown = all ? sorted : sorted.slice(0, SHOWN);
  const elements = shown.map(showRoute), list = $("routes");
  if (elements.length !== list.children.length || elements.some((one, n) => list.children[n] !== one)) list.replaceChildren(...elements);
  const known = new Set(routes.map(one => one.name));
  for (const name of rows.keys()) if (!known.has(name)) rows.delete(name);
  const watched = routes.filter(one => one.state === "watching").length;
  say($("routes-note"), routes.length === watched ? `${number(watched)} watched, messages a minute over the last hour` : `${number(watched)} of ${number(routes.length)} watched`);
  $("more").hidden = routes.length <= SHOWN;
  say($("more"), all ? "Show fewer" : `Show all ${number(routes.length)}`);
}

// -------------------------------------------------------------- the other cards

function pill(state, text = word(state)) {
  return make("span", `pill ${TONES[state] ?? ""}`, text);
}

function item(name, mark, ...lines) {
  return make("li", "item", title(name), mark, ...lines.filter(Boolean));
}

function destination(one) {
  const busy = [[one.in_flight, "in flight"], [one.queued, "queued"], [one.settling, "being looked for"]];
  const told = busy.filter(([count]) => count).map(([count, what]) => `${number(count)} ${what}`).join(", ");
  const [host, , , pid] = one.holder.split("/");
  const lease = one.epoch !== null ? `lease held here, term ${number(one.epoch)}` : host ? `lease held by ${host}, process ${pid ?? "?"}` : "";
  const wait = one.pause >= 1 ? `${word(one.state)} for ${lasting(one.pause)}` : word(one.state);
  return item(one.name, pill(one.state, wait), make("p", "", told || "nothing in flight", lease ? ` · ${lease}` : ""),
    one.detail && make("p", "why", one.detail));
}

function account(one, now) {
  const left = one.ends_at === null ? null : one.ends_at - now, needs = one.state === "needs_sign_in";
  const soon = left !== null && left < 14 * 86400;
  const lines = [];
  const shown = one.command && (needs || soon);
  if (one.detail) lines.push(make("p", "why", detailed(one.detail, one.name, shown ? one.command : "")));
  if (left !== null) lines.push(make("p", "", left > 0 ? `good for ${span(left)} more` : "has ended", one.ends_why ? `: ${one.ends_why}` : ""));
  if (shown) lines.push(make("p", "", "run ", make("code", "", one.command)));
  if (!one.is_kept) lines.push(make("p", "why", "its newest refresh token is in memory only: a restart would not have it"));
  return item(one.name, make("span", `pill ${needs ? "bad" : soon ? "warn" : TONES[one.state] ?? ""}`, soon && !needs ? "ends soon" : word(one.state)), ...lines);
}

function failure(one, now) {
  const next = one.next_attempt_at === null ? "not tried again by itself" : one.next_attempt_at > now ? `tried again in ${lasting(one.next_attempt_at - now)}` : "tried again now";
  return item(one.route, make("span", "pill", ago(Math.max(0, now - one.at))),
    make("p", "why", REASONS[one.kind] ?? one.kind), make("p", "more", one.error),
    make("p", "more", `${next} · `, make("code", "", `mailsyncd failures show ${one.uidvalidity}-${one.uid}`)));
}

function fill(list, items, nothing) {
  const before = list.dataset.told, told = items.map(one => one.textContent).join("\n");
  if (before === told && list.children.length) return; // leave what somebody may be reading or selecting
  list.dataset.told = told;
  list.replaceChildren(...(items.length ? items : [make("li", "nothing", nothing)]));
}

// ------------------------------------------------------------------ all of it

// Nothing was looked at yet, and nothing is known to be wrong.
function begins(status) {
  return status.health === "healthy" && status.routes.length > 0 && status.routes.every(one => one.state === "connecting" && one.listed_age === null);
}

function verdict(status) {
  if (begins(status)) return "Connecting …";
  if (status.health === "healthy") {
    const open = status.routes.reduce((sum, one) => sum + one.unsettled, 0);
    return status.writers.length && status.writers.every(one => one.state === "standby") ? "Standing by" : open ? "Copying" : "All mail is there";
  }
  const needy = [...status.routes, ...status.writers].some(one => TONES[one.state] === "bad");
  if (status.state_away) return "The state store is away: nothing is copied";
  if (status.health === "failing") return "Nothing can be copied";
  return needy ? "Something needs you" : "Some of it has to wait";
}

function story(status) {
  const copied = status.routes.reduce((sum, one) => sum + one.copied, 0);
  const last = Math.min(Infinity, ...status.routes.filter(one => one.copied_age !== null).map(one => one.copied_age));
  const since = `${plural(copied, "message")} copied in ${lasting(status.uptime)}`;
  return last === Infinity ? since : `${since}, the last one ${ago(last)}`;
}

function show(status) {
  latest = status;
  document.body.dataset.health = begins(status) ? "unknown" : status.health;
  document.title = `${verdict(status)} – mailsyncd`;
  say($("verdict"), verdict(status));
  say($("story"), story(status));
  say($("live-text"), "live");
  const hour = status.last_hour, pushed = hour.delays.filter(one => one[2]);
  const half = quantile(pushed, 0.5), most = quantile(pushed, 0.95);
  say($("hour"), number(hour.delays.reduce((sum, one) => sum + one[3], 0)));
  say($("median"), half === null ? "–" : span(half));
  say($("slow"), most === null ? "–" : span(most));
  const open = status.routes.reduce((sum, one) => sum + one.unsettled, 0);
  const oldest = Math.max(0, ...status.routes.map(one => one.oldest_age ?? 0));
  say($("waiting"), number(open));
  say($("waiting-label"), open ? `waiting, the oldest for ${lasting(oldest)}` : "waiting");
  $("waiting").parentElement.classList.toggle("warn", status.routes.some(one => one.late > LATE));
  const aside = status.routes.reduce((sum, one) => sum + one.set_aside, 0);
  say($("aside"), number(aside));
  $("aside").parentElement.classList.toggle("warn", aside > 0);
  draw($("plot"), hour);
  $("plot").setAttribute("aria-label", half === null ? "No announced mail in the last hour" : `Half of the announced mail took less than ${span(half)}, 95 of 100 less than ${span(most)}`);
  showRoutes(status);
  fill($("destinations"), status.writers.map(destination), "none");
  const accounts = status.accounts ?? [];
  $("accounts-card").hidden = !accounts.length;
  fill($("accounts"), accounts.map(one => account(one, status.now)), "none");
  fill($("failures"), [...status.set_aside].reverse().slice(0, 12).map(one => failure(one, status.now)), "Nothing: every message found its way.");
  const { outcome, reason, changes } = status.reload;
  const reload = outcome === "none" ? "" : ` · last reload ${outcome}: ${reason || changes}`;
  say($("footer"), `mailsyncd ${status.version} · up ${lasting(status.uptime)} · run ${status.run_id}${reload}`);
}

function away(why) {
  document.body.dataset.health = "away";
  document.title = "No answer – mailsyncd";
  say($("verdict"), "The daemon does not answer");
  say($("story"), latest ? `${why}; below is what it said last` : why);
  say($("live-text"), "no answer");
}

async function ask() {
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(DEADLINE) });
    if (!answer.ok) throw new Error(`it answers with status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    away(error instanceof TypeError ? "it can't be reached" : error.name === "TimeoutError" ? "no answer within 5 s" : error.message);
  }
}

async function watch() {
  for (;;) {
    if (document.visibilityState === "visible") await ask();
    await new Promise(done => setTimeout(done, EVERY));
  }
}

$("more").addEventListener("click", () => { all = !all; if (latest) showRoutes(latest); });
addEventListener("resize", () => { if (latest) draw($("plot"), latest.last_hour); });
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") ask(); });
watch();
