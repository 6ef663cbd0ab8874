// Two pictures on each other, with an edge that the reader draws across.

import { html } from "../parts/dom";
import { clip, type Point, scrubbable } from "../parts/drag";

/** The second picture lies on the first, right of the edge. */
export class Wipe {
  readonly root: HTMLElement;
  private readonly board: HTMLElement;
  private readonly input: HTMLInputElement;

  constructor(first: HTMLElement, second: HTMLElement, label: string) {
    second.classList.add("dl-over-side");
    const edge = html("span", { class: "dl-edge", "aria-hidden": "true" });
    this.board = html("div", { class: "dl-wipe" }, first, second, edge);
    this.input = html("input", {
      type: "range",
      min: 0,
      max: 100,
      value: 50,
      "aria-label": label,
    });
    this.input.addEventListener("input", () => this.draw());
    scrubbable(this.board, (point) => this.follow(point));
    // In the pictures that they name, so that the edge wipes them, too.
    const side = (text: string) =>
      html("span", { class: "dl-tag dl-side", "aria-hidden": "true" }, text);
    first.append(side("without"));
    second.append(side("with the fault"));
    const control = html("div", { class: "dl-caption" }, this.input);
    this.root = html("div", { class: "dl-figure" }, this.board, control);
    this.draw();
  }

  private follow({ clientX }: Point): void {
    const { left, width } = this.board.getBoundingClientRect();
    this.input.valueAsNumber = clip((100 * (clientX - left)) / width, 0, 100);
    this.draw();
  }

  /** Puts the edge at a place from 0 to 100. */
  set place(place: number) {
    this.input.valueAsNumber = place;
    this.draw();
  }

  private draw(): void {
    const part = 100 - this.input.valueAsNumber;
    this.input.setAttribute("aria-valuetext", `${part} % with the fault`);
    this.board.style.setProperty("--dl-at", `${this.input.value}%`);
  }
}
