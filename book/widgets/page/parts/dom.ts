// Elements, made in one expression.

import { ARROWS } from "./drag";

type Attributes = Record<string, string | number | boolean | undefined>;
type Child = Node | string;

function fill<E extends Element>(
  element: E,
  attributes: Attributes,
  children: Child[],
): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** An HTML element with attributes and children. */
export function html<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element with attributes and children. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const space = "http://www.w3.org/2000/svg";
  return fill(document.createElementNS(space, tag), attributes, children);
}

/** A button that does something. */
export function button(
  attributes: Attributes,
  act: () => void,
  ...children: Child[]
): HTMLButtonElement {
  const made = html("button", { type: "button", ...attributes }, ...children);
  made.addEventListener("click", act);
  return made;
}

/** A canvas of so many pixels, and what draws on it. */
export function canvas(
  side: number,
  attributes: Attributes = {},
): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const made = html("canvas", { width: side, height: side, ...attributes });
  return [made, made.getContext("2d")!];
}

/** Makes buttons one stop of the Tab key; the arrow keys go on inside. */
export function oneStop(group: HTMLElement, columns = 1): void {
  const all = () => [...group.querySelectorAll("button")];
  const stopAt = (stop: EventTarget | null) => {
    for (const one of all()) one.tabIndex = one === stop ? 0 : -1;
  };
  group.addEventListener("focusin", ({ target }) => stopAt(target));
  group.addEventListener("keydown", (event) => {
    const [x, y] = ARROWS[event.key] ?? [0, 0];
    const at = all().indexOf(event.target as HTMLButtonElement);
    const next = all()[at + x + columns * y];
    if (at < 0 || (!x && !y)) return;
    event.preventDefault();
    next?.focus();
  });
  stopAt(all()[0]);
}

/** One of several choices: buttons of which one is pressed. */
export class Choice<T> {
  readonly root: HTMLElement;
  private readonly buttons: HTMLButtonElement[];

  constructor(
    label: string,
    private readonly options: [value: T, text: string][],
    public value: T,
    choose: (value: T) => void,
  ) {
    this.buttons = options.map(([option, text]) =>
      button(
        {},
        () => {
          this.press(option);
          choose(option);
        },
        text,
      ),
    );
    const group = html(
      "span",
      { class: "dl-choice", role: "toolbar", "aria-label": label },
      ...this.buttons,
    );
    oneStop(group);
    this.root = html(
      "span",
      { class: "dl-control" },
      html("span", { class: "dl-label", "aria-hidden": "true" }, label),
      group,
    );
    this.press(value);
  }

  /** Chooses, without a word to anybody. */
  press(value: T): void {
    this.value = value;
    this.options.forEach(([option], i) => {
      const pressed = String(option === value);
      this.buttons[i].setAttribute("aria-pressed", pressed);
      this.buttons[i].tabIndex = option === value ? 0 : -1;
    });
  }
}

/** A slider with its label; say: its value in words, seen and heard. */
export function slider(
  label: string,
  attributes: { min: number; max: number; step: number; value: number },
  move: (value: number) => void,
  say?: (value: number) => string,
): HTMLElement {
  const input = html("input", { type: "range", ...attributes });
  const words = html("output", { class: "dl-score" });
  const tell = () => {
    if (say === undefined) return;
    words.textContent = say(input.valueAsNumber);
    input.setAttribute("aria-valuetext", words.textContent);
  };
  input.addEventListener("input", () => {
    tell();
    move(input.valueAsNumber);
  });
  // A finger that goes on to scroll the page meant no other value.
  let before = input.valueAsNumber;
  input.addEventListener("pointerdown", () => {
    before = input.valueAsNumber;
  });
  input.addEventListener("pointercancel", () => {
    input.valueAsNumber = before;
    tell();
    move(before);
  });
  tell();
  return html(
    "label",
    { class: "dl-control" },
    html("span", { class: "dl-label" }, label),
    input,
    ...(say === undefined ? [] : [words]),
  );
}

/** A button that stays down until it is pressed again. */
export function toggle(
  text: string,
  on: boolean,
  turn: (on: boolean) => void,
): HTMLButtonElement {
  const made = button(
    { class: "dl-switch", "aria-pressed": String(on) },
    () => {
      const now = made.getAttribute("aria-pressed") !== "true";
      made.setAttribute("aria-pressed", String(now));
      turn(now);
    },
    text,
  );
  return made;
}

export function percent(share: number): string {
  return `${Math.round(100 * share)}\u00a0%`;
}

/** Words in a row: a, b and c. */
export function listed(words: string[]): string {
  const last = words.length - 1;
  if (last < 1) return words.join();
  return `${words.slice(0, last).join(", ")} and ${words[last]}`;
}

/** A word with a capital. */
export function capital(word: string): string {
  return word[0].toUpperCase() + word.slice(1);
}

export function calm(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
