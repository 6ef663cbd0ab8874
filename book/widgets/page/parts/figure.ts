// A picture over its caption, and what captions hold: a button, a clock.

import { button, html } from "./dom";
import type { Live } from "./live";

const SCENES = 512; // of the validation split

/** A picture over its caption; what comes last stands at the right. */
export function figure(
  picture: HTMLElement,
  ...caption: (Node | string)[]
): HTMLElement {
  const words = html("div", { class: "dl-caption" }, ...caption);
  return html("div", { class: "dl-figure" }, picture, words);
}

/** A button that goes on to another scene, and one that goes back. */
export function nextScene(live: Live): HTMLElement {
  const open = () => live.open((live.scene + 1) % SCENES);
  return html(
    "span",
    { class: "dl-scenes" },
    button({}, () => live.open(live.first), "First scene"),
    button({ class: "dl-next" }, open, "Next scene"),
  );
}

/** How long the model took. */
export function clock(live: Live): HTMLElement {
  const root = html("span", { class: "dl-time" });
  let runs = 0;
  live.show({
    answer: () => {
      // The first run is slow: the browser has yet to compile the engine.
      const { milliseconds } = live.answer!;
      if (runs++ === 0) return;
      root.textContent = `${Math.round(milliseconds)} ms in this browser`;
    },
  });
  return root;
}
