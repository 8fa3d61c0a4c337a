// The plot of the last hour's delivery times: a point for each quarter of a minute and delay, as large as
// it has messages; time to the right, delays upwards on a logarithmic scale.

const SVG = "http://www.w3.org/2000/svg";
const MARKS = [[0.01, "10 ms"], [0.1, "100 ms"], [1, "1 s"], [10, "10 s"], [60, "1 min"], [600, "10 min"], [3600, "1 h"], [86400, "1 day"]];

export function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function span(seconds) {
  if (seconds < 0.0995) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 100) * 10} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  if (seconds < 5970) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// The delay that `share` of the messages stayed below; null without any.
export function quantile(delays, share) {
  const sorted = [...delays].sort((a, b) => a[1] - b[1]);
  const total = sorted.reduce((sum, one) => sum + one[3], 0);
  let passed = 0;
  for (const one of sorted) {
    passed += one[3];
    if (passed >= total * share) return one[1];
  }
  return null;
}

export function draw(svg, hour) {
  const width = Math.max(240, svg.clientWidth), height = Math.max(120, svg.clientHeight);
  const left = 50, right = width - 8, top = 10, bottom = height - 24;
  const delays = hour.delays.filter(one => one[0] <= hour.seconds);
  const slowest = Math.max(10, ...delays.map(one => one[1] * 1.3));
  const low = Math.log10(0.008), high = Math.log10(slowest);
  const x = ago => right - Math.max(0, ago) / hour.seconds * (right - left);
  const y = delay => bottom - (Math.log10(Math.max(delay, 0.008)) - low) / (high - low) * (bottom - top);
  const drawn = [];
  for (const [delay, label] of MARKS) {
    if (delay > slowest) continue;
    drawn.push(shape("line", { class: "grid", x1: left, x2: right, y1: y(delay), y2: y(delay) }));
    drawn.push(shape("text", { x: left - 8, y: y(delay) + 4, "text-anchor": "end" }, label));
  }
  for (const minutes of width < 480 ? [60, 30, 0] : [60, 45, 30, 15, 0]) {
    const anchor = minutes === 60 ? "start" : minutes === 0 ? "end" : "middle";
    const text = minutes === 0 ? "now" : `${minutes} min ago`;
    drawn.push(shape("text", { x: x(minutes * 60), y: height - 4, "text-anchor": anchor }, text));
  }
  for (const [ago, delay, pushed, count] of delays.sort((a, b) => a[2] - b[2] || b[3] - a[3])) {
    const radius = Math.min(13, 2.6 + 1.5 * Math.sqrt(count - 1));
    const point = shape("circle", { class: pushed ? "push" : "other", cx: x(ago).toFixed(1), cy: y(delay).toFixed(1), r: radius.toFixed(1) });
    point.append(shape("title", {}, `${count === 1 ? "1 message" : `${count} messages`} in about ${span(delay)}, ${Math.max(1, Math.round(ago / 60))} min ago`));
    drawn.push(point);
  }
  const median = quantile(delays.filter(one => one[2]), 0.5);
  if (median !== null) {
    drawn.push(shape("line", { class: "median", x1: left, x2: right, y1: y(median), y2: y(median) }));
    drawn.push(shape("text", { class: "median-text", x: left + 6, y: y(median) - 7 }, `median ${span(median)}`));
  }
  if (!delays.length) drawn.push(shape("text", { class: "empty", x: (left + right) / 2, y: (top + bottom) / 2, "text-anchor": "middle" }, "No mail in the last hour"));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...drawn);
}
