// Two pictures on each other, with an edge that the reader draws across.

import { html } from "../parts/dom";
import { clip, type Point, scrubbable } from "../parts/drag";

/** The second picture lies on the first, right of the edge. */
export class Wipe {
  readonly root: HTMLElement;
  private readonly board: HTMLElement;
  private readonly input: HTMLInputElement;

  constructor(first: HTMLElement, second: HTMLElement, label: string) {
    // Each side is named in its picture, so that the edge wipes the name, too.
    const named = (side: HTMLElement, name: string) =>
      html(
        "div",
        {},
        side,
        html("span", { class: "dl-tag dl-which", "aria-hidden": "true" }, name),
      );
    const right = named(second, "with the fault");
    right.classList.add("dl-over-side");
    const edge = html("span", { class: "dl-edge", "aria-hidden": "true" });
    const left = named(first, "without");
    this.board = html("div", { class: "dl-wipe" }, left, right, edge);
    this.input = html("input", {
      type: "range",
      min: 0,
      max: 100,
      value: 50,
      "aria-label": label,
    });
    this.input.addEventListener("input", () => this.draw());
    scrubbable(this.board, (point) => this.follow(point));
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
