// Guess the fault: a picture, four names, and a count of what was right.

import { button, html } from "../parts/dom";
import { EXHIBITS, type Label } from "./fault_exhibits";

const CHOICES = 4;

interface Host {
  ask: (name: string) => void; // shows a fault and hides its name
  told: (name: string) => void; // shows it with its name
  shown: () => string; // the fault on display
}

export class Quiz {
  readonly root = html("div", { class: "dl-quiz" });
  private readonly words = html("p", { class: "dl-words", role: "status" });
  private readonly choices = html("div", { class: "dl-tools" });
  private readonly next: HTMLButtonElement;
  private order: Label[] = [];
  private asked = 0;
  private right = 0;

  constructor(
    private readonly labels: Label[],
    private readonly host: Host,
  ) {
    this.next = button(
      { class: "dl-next" },
      () => this.ask(),
      "Guess the fault",
    );
    this.root.append(this.words, this.choices, this.next);
  }

  /** Asks for the next fault, in an order that nobody knows. */
  private ask(): void {
    if (this.order.length === 0) this.order = shuffled(this.labels);
    // Not the one that was just read about.
    const seen = this.order[this.order.length - 1].name === this.host.shown();
    if (seen) this.order.unshift(this.order.pop()!);
    const fault = this.order.pop()!;
    const others = this.labels.filter(({ name }) => name !== fault.name);
    const names = shuffled([fault, ...shuffled(others).slice(1 - CHOICES)]);
    this.words.textContent =
      "Draw the edge across the picture. Which fault is switched on?";
    this.choices.replaceChildren(
      ...names.map((guess) =>
        button({}, () => this.judge(guess, fault), guess.title),
      ),
    );
    this.next.hidden = true;
    this.host.ask(fault.name);
    this.choices.querySelector("button")?.focus({ preventScroll: true });
  }

  private judge(guess: Label, fault: Label): void {
    const right = guess.name === fault.name;
    this.asked++;
    if (right) this.right++;
    const verdict = right ? "Right" : `No, it is “${fault.title}”`;
    this.words.textContent =
      `${verdict}: ${EXHIBITS[fault.name].clue} ` +
      `So far ${this.right} of ${this.asked}. ` +
      `Where it happened: ${fault.source}.`;
    this.choices.replaceChildren();
    this.next.textContent = "Guess another";
    this.next.hidden = false;
    this.host.told(fault.name);
    this.next.focus({ preventScroll: true });
  }

  /** Leaves the question open, and counts nothing. */
  stop(): void {
    this.choices.replaceChildren();
    this.words.textContent = "";
    this.next.hidden = false;
  }
}

function shuffled<T>(all: T[]): T[] {
  return all
    .map((one): [number, T] => [Math.random(), one])
    .sort(([a], [b]) => a - b)
    .map(([, one]) => one);
}
