// The boxes of all that was found, each in the color of its class.

import type { Box } from "../../engine/boxes";
import type { Found } from "../../engine/classes";
import { NAMES } from "../../engine/scenes";
import { CLASS_COLORS, css } from "./colors";
import { html, percent, svg } from "./dom";

/** A box to show: its class has its color, and perhaps words of its own. */
export interface Shown extends Found {
  text?: string;
  strong?: boolean;
  wanted?: [number, number]; // the center that it should have
}

/** Boxes over a picture, with names. */
export class BoxesView {
  readonly root: HTMLElement;
  private readonly lines = svg("svg", {
    class: "dl-box",
    viewBox: "0 0 1 1",
    preserveAspectRatio: "none",
  });
  private readonly names = html("div");

  constructor() {
    this.root = html(
      "div",
      { class: "dl-boxes", "aria-hidden": "true" },
      this.lines,
      this.names,
    );
  }

  /** boxes: (4, N), centers and sizes; found: whose to show. */
  show(boxes: Float32Array, found: Shown[]): void {
    const count = boxes.length / 4;
    const own = found.map(
      ({ query }) => [0, 1, 2, 3].map((i) => boxes[i * count + query]) as Box,
    );
    this.showBoxes(own, found);
  }

  /** boxes: one for each found; a size may be negative, as of a fault. */
  showBoxes(boxes: Box[], found: Shown[]): void {
    this.lines.replaceChildren();
    this.names.replaceChildren();
    found.forEach(({ label, score, text, strong, wanted }, i) => {
      const [cx, cy] = boxes[i];
      const [w, h] = boxes[i].slice(2).map(Math.abs);
      const color = css(CLASS_COLORS[label]);
      const place = { x: cx - w / 2, y: cy - h / 2, width: w, height: h };
      const effect = { "vector-effect": "non-scaling-stroke" };
      const line = svg("rect", { class: "dl-over", ...place, ...effect });
      line.style.stroke = color;
      this.lines.append(
        svg("rect", { class: "dl-under", ...place, ...effect }),
        line,
      );
      if (wanted !== undefined) {
        const [x2, y2] = wanted;
        const way = svg("line", { x1: cx, y1: cy, x2, y2, ...effect });
        way.style.stroke = color;
        this.lines.append(way);
      }
      const words = text ?? `${NAMES[label]} ${percent(score)}`;
      const name = html("span", { class: "dl-tag dl-corner-tag" }, words);
      name.classList.toggle("dl-chosen", strong === true);
      line.classList.toggle("dl-strong", strong === true);
      name.style.left = `${100 * Math.max(0, place.x)}%`;
      name.style.top = `${100 * Math.max(0, place.y)}%`;
      this.names.append(name);
    });
    this.makeRoom();
  }

  /** Keeps names inside the picture, and hides those that others cover. */
  private makeRoom(): void {
    const { right } = this.root.getBoundingClientRect();
    const names = [...this.names.children] as HTMLElement[];
    const chosen = names.filter((one) => one.matches(".dl-chosen"));
    const shown: DOMRect[] = [];
    for (const name of new Set([...chosen, ...names])) {
      const over = name.getBoundingClientRect().right - right;
      if (over > 0) name.style.marginInlineStart = `${-over}px`;
      const own = name.getBoundingClientRect();
      const covered = shown.some((other) => overlap(own, other));
      name.classList.toggle("dl-covered", covered);
      if (!covered) shown.push(own);
    }
  }
}

function overlap(a: DOMRect, b: DOMRect): boolean {
  const across = a.left < b.right && b.left < a.right;
  return across && a.top < b.bottom && b.top < a.bottom;
}
