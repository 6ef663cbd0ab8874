// Positional encodings as clocks: each pair of a sine and a cosine is a hand,
// and a step in the image turns it, the fast ones far and the slow ones less.

import type { Config } from "../../engine/models";
import { html, svg } from "../parts/dom";
import type { Cursor } from "../parts/position_view";

const RIM = 9;
const PAIRS = [0, 0.2, 0.45, 1]; // from the fastest hand to the slowest

/** Clocks for the column and for the row of the cursor. */
export class Clocks {
  readonly root = html("div", { class: "dl-clocks" });
  private readonly hands: { side: 0 | 1; turns: number; hand: SVGElement }[] =
    [];

  constructor(
    private readonly cursor: Cursor,
    { width, temperature, cycles }: Config,
  ) {
    const pairs = width / 4; // for the row, and as many for the column
    for (const [side, name] of [
      [1, "column"],
      [0, "row"],
    ] as const) {
      const clocks = PAIRS.map((part) => {
        const pair = Math.round(part * (pairs - 1));
        return this.clock(side, cycles / temperature ** (pair / pairs));
      });
      const label = html("span", { class: "dl-label" }, name);
      this.root.append(html("span", { class: "dl-group" }, label, ...clocks));
    }
    cursor.show(() => this.draw());
    this.draw();
  }

  /** Hands stand still and pale while nothing is encoded. */
  set off(off: boolean) {
    this.root.classList.toggle("dl-off", off);
  }

  /** A clock whose hand makes so many turns from edge to edge. */
  private clock(side: 0 | 1, turns: number): SVGSVGElement {
    const hand = svg("g", { class: "dl-hand" }, svg("line", { y2: -RIM }));
    hand.append(svg("circle", { class: "dl-end", cy: -RIM, r: 1.8 }));
    this.hands.push({ side, turns, hand });
    const dots = Array.from({ length: this.cursor.side }, (_, i) => {
      const angle = 360 * turns * ((i + 1) / this.cursor.side);
      return svg("circle", {
        class: "dl-dot-on-rim",
        cy: -RIM,
        r: 0.7,
        transform: `rotate(${angle})`,
      });
    });
    return svg(
      "svg",
      {
        viewBox: "-12 -12 24 24",
        role: "img",
        "aria-label": `A hand of ${turns.toFixed(1)} turns`,
      },
      svg("circle", { class: "dl-rim", r: RIM }),
      ...dots,
      hand,
    );
  }

  private draw(): void {
    for (const { side, turns, hand } of this.hands) {
      const place = (this.cursor.position[side] + 1) / this.cursor.side;
      hand.setAttribute("transform", `rotate(${360 * turns * place})`);
    }
  }
}
