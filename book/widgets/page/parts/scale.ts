// The color scale of a map.

import { css, heat } from "./colors";
import { html } from "./dom";

/** The color scale, from 0 to the largest value. */
export class Scale {
  readonly root: HTMLElement;
  private readonly bar = html("span", { class: "dl-bar" });
  private readonly top = html("span");
  private readonly note = html("span");

  constructor() {
    this.root = html(
      "div",
      { class: "dl-scale", "aria-hidden": "true" },
      html("span", {}, "0"),
      this.bar,
      this.top,
      this.note,
    );
  }

  /**
   * most: the largest value; gamma: the power that makes faint ones bright;
   * note: what else there is to say.
   */
  show(most: number, gamma: number, note = ""): void {
    const stops = Array.from({ length: 17 }, (_, i) =>
      css(heat((i / 16) ** gamma)),
    );
    this.bar.style.background = `linear-gradient(90deg, ${stops.join()})`;
    this.top.textContent = short(most);
    this.note.textContent = note;
  }
}

/** A number with two digits that count. */
export function short(x: number): string {
  return String(Number(x.toPrecision(2)));
}
