"use strict";
// Tells the values of a plot in its legend: of the instant under the pointer, or of the one that the arrow keys went to.
const readings = JSON.parse(document.getElementById("readings").textContent);

for (const figure of document.querySelectorAll("figure")) {
  const { at, when, told } = readings[figure.dataset.key];
  if (!at.length) continue;
  const frame = figure.querySelector(".frame");
  const plot = frame.querySelector("svg");
  const instant = figure.querySelector(".when");
  const values = [...figure.querySelectorAll(".legend b")];
  const peaks = [instant.textContent, ...values.map((value) => value.textContent)];
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.hidden = true;
  frame.append(cursor);
  let here = -1;

  const tell = (index) => {
    here = Math.min(at.length - 1, Math.max(0, index));
    cursor.hidden = false;
    cursor.style.left = plot.getBoundingClientRect().left - frame.getBoundingClientRect().left + at[here] * plot.clientWidth + "px";
    instant.textContent = "at " + when[here];
    values.forEach((value, series) => { value.textContent = told[series][here]; });
  };
  const leave = () => {
    here = -1;
    cursor.hidden = true;
    [instant, ...values].forEach((place, index) => { place.textContent = peaks[index]; });
  };
  const point = (event) => {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    let nearest = at.findIndex((place) => place >= share);
    if (nearest < 0) nearest = at.length - 1;
    if (nearest > 0 && share - at[nearest - 1] < at[nearest] - share) nearest -= 1;
    tell(nearest);
  };
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };

  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", figure.querySelector("h3").textContent + ": the arrow keys tell values");
  frame.addEventListener("pointerdown", point);
  frame.addEventListener("pointermove", point);
  frame.addEventListener("pointerleave", leave);
  frame.addEventListener("blur", leave);
  frame.addEventListener("keydown", (event) => {
    const legend = figure.querySelector(".legend");
    if (event.key === "Escape") leave();
    else if (event.key in steps) {
      // Only what a key asked for is spoken: a pointer would never let a screen reader finish.
      legend.setAttribute("aria-live", "polite");
      tell(here + steps[event.key]);
      event.preventDefault();
    }
  });
}
