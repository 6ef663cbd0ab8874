// The segments as buttons, and as words for screen readers.

import { NAMES } from "../../engine/scenes";
import { segmentColors } from "./answer_view";
import { css } from "./colors";
import { button, capital, html, percent } from "./dom";
import type { Live } from "./live";

/** A button for each segment, for the keyboard and for small screens. */
export class Chips {
  readonly root = html("div", {
    class: "dl-chips",
    role: "group",
    "aria-label": "Segments",
  });

  constructor(private readonly live: Live) {
    live.show({ answer: () => this.draw(), choice: () => this.press() });
  }

  private draw(): void {
    const { live } = this;
    const focused = [...this.root.children].indexOf(document.activeElement!);
    const segments = live.inOrder;
    const colors = segmentColors(segments.map(({ label }) => label));
    const chips = segments.map(({ query, label, score }, i) => {
      const chip = button(
        { class: "dl-chip", "data-query": query },
        () => live.choose(query),
        html("span", { class: "dl-dot" }),
        capital(NAMES[label]),
        html("span", { class: "dl-score" }, percent(score)),
      );
      chip.style.setProperty("--dl-color", css(colors[i]));
      return chip;
    });
    this.root.replaceChildren(...chips);
    this.press();
    chips[Math.min(focused, chips.length - 1)]?.focus({ preventScroll: true });
  }

  private press(): void {
    for (const chip of this.root.querySelectorAll("button")) {
      const own = Number(chip.dataset.query) === this.live.chosen;
      chip.setAttribute("aria-pressed", String(own));
    }
  }
}

/** Tells a screen reader what was found, once things stand still. */
export class Report {
  readonly root = html("p", { class: "dl-hidden", role: "status" });
  private timer = 0;

  /** say: what else to tell it; then choosing something is news as well. */
  constructor(
    private readonly live: Live,
    private readonly say?: () => string,
  ) {
    const later = () => this.later();
    live.show({ answer: later, choice: say && later });
  }

  /** Tells it, unless there is something newer by then. */
  later(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      this.root.textContent = this.say?.() ?? foundWords(this.live);
    }, 700);
  }
}

function foundWords(live: Live): string {
  const words = live.inOrder.map(
    ({ label, score }) => `${NAMES[label]} ${percent(score)}`,
  );
  return `Found: ${words.join(", ")}. ${mistake(live)}`.trimEnd();
}

/** What the answer has wrong, where a reader would wonder; or nothing. */
export function mistake({ missed, foundTwice }: Live): string {
  if (missed !== undefined) return `It misses the ${NAMES[missed.label]}.`;
  if (foundTwice === undefined) return "";
  return `It finds the ${NAMES[foundTwice.label]} twice.`;
}
