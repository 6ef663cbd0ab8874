// Chapter 5: what panoptic quality counts, to spoil and to repair.

import {
  type Count,
  panopticQuality,
  type Quality,
  rates,
  type Segments,
} from "../../engine/quality";
import { Beach, ISTHING, NAMES, SIZE } from "../../engine/scenes";
import { drawShore } from "../parts/beach_drawing";
import { CLASS_COLORS, css } from "../parts/colors";
import { button, Choice, capital, html, listed, slider } from "../parts/dom";
import { ARROWS, clip, type Point, place } from "../parts/drag";
import { figure } from "../parts/figure";
import { SEED } from "../parts/live";
import { SegmentsView } from "../parts/segments_view";
import {
  canBeCut,
  cut,
  flattened,
  type Layer,
  layersOf,
  paint,
} from "./quality_paper";

const LEAP = 5; // pixels of an arrow key with Shift
const OFF = 3; // pixels by which a thing is misplaced in the beginning

type Tool = "move" | "paint" | "erase";

/** Builds the widget. */
export function quality(root: HTMLElement, scene: number): undefined {
  new Sandbox(root, scene);
}

class Sandbox {
  private readonly beach: Beach;
  private readonly truth: Segments;
  private layers: Layer[] = [];
  private chosen = 0; // a layer
  private brush: [number, number] = [SIZE / 2, SIZE / 2];
  private radius = 5; // of the brush
  private readonly size = this.brushSize();
  private readonly tool = new Choice<Tool>(
    "Tool",
    [
      ["move", "move"],
      ["paint", "paint"],
      ["erase", "erase"],
    ],
    "move",
    () => this.drawBrush(),
  );
  private readonly label = this.names();
  private readonly cut = this.action("Cut it in two", () =>
    this.layers.push(cut(this.layer!)),
  );
  private readonly forget = this.action("Forget it", () =>
    this.layers.splice(this.chosen, 1),
  );
  private readonly found = new SegmentsView();
  private readonly shore: HTMLCanvasElement;
  private readonly chips = html("div", {
    class: "dl-chips",
    role: "group",
    "aria-label": "Found segments",
  });
  private readonly mark = html("span", { class: "dl-brush" });
  private readonly rows = html("tbody");
  private readonly words = html("p", { class: "dl-words", role: "status" });

  constructor(root: HTMLElement, scene: number) {
    this.beach = new Beach(SEED, scene);
    this.shore = drawShore(this.beach.regions);
    this.truth = this.beach.draw();
    const truth = new SegmentsView();
    truth.drawing.setAttribute("aria-label", "The true segments");
    truth.show(this.beach, this.shore, this.truth);
    this.found.drawing.setAttribute("aria-label", "What was found");
    this.found.root.append(this.mark);
    this.listen();
    root.replaceChildren(
      html(
        "div",
        { class: "dl-pair" },
        figure(truth.root, "The truth."),
        figure(
          this.found.root,
          "What was found. Drag a thing, or paint.",
          button({ class: "dl-next" }, () => this.reset(), "Start again"),
        ),
      ),
      this.words,
      html(
        "p",
        { class: "dl-note" },
        "On the right, black lines are the truth, and white lines what was " +
          "found where it differs. Pale: found by nobody, void.",
      ),
      this.chips,
      this.tools(),
      this.table(),
    );
    // For the tests, and for whoever opens the console.
    Object.assign(root, { segments: () => flattened(this.layers) });
    this.reset();
  }

  private reset(): void {
    this.layers = layersOf(this.beach);
    this.chosen = this.layers.length - 1;
    Object.assign(this.layer!, { dx: OFF, dy: OFF });
    this.tool.press("move");
    this.draw();
  }

  private tools(): HTMLElement {
    const label = html("span", { class: "dl-label" }, "Call it");
    return html(
      "div",
      { class: "dl-tools" },
      html("label", { class: "dl-control" }, label, this.label),
      this.cut,
      this.forget,
      this.action("New segment", () => this.add()),
      this.tool.root,
      this.size,
    );
  }

  private brushSize(): HTMLElement {
    return slider(
      "Brush",
      { min: 1, max: 15, step: 1, value: this.radius },
      (radius) => {
        this.radius = radius;
        this.drawBrush();
      },
      (radius) => `${radius} pixels`,
    );
  }

  /** A button that changes the segments, unless it can't at the moment. */
  private action(name: string, act: () => void): HTMLButtonElement {
    const made = button(
      {},
      () => {
        if (made.getAttribute("aria-disabled") === "true") return;
        act();
        this.draw();
      },
      name,
    );
    return made;
  }

  /** The class of the chosen segment, to be changed. */
  private names(): HTMLSelectElement {
    const options = NAMES.map((name, i) => html("option", { value: i }, name));
    const made = html("select", {}, ...options);
    made.addEventListener("change", () => {
      if (this.layer === undefined) return;
      this.layer.label = Number(made.value);
      this.draw();
    });
    return made;
  }

  /** A segment without pixels yet, to be painted at once. */
  private add(): void {
    const label = this.layer?.label ?? 0;
    const mask = new Uint8Array(SIZE * SIZE);
    this.layers.push({ label, mask, dx: 0, dy: 0 });
    this.chosen = this.layers.length - 1;
    this.tool.press("paint");
  }

  private get layer(): Layer | undefined {
    return this.layers[this.chosen];
  }

  private get moving(): boolean {
    return this.tool.value === "move";
  }

  /** Lets the picture be dragged and painted on, also with the keyboard. */
  private listen(): void {
    const board = this.found.root;
    board.classList.add("dl-touchable");
    board.setAttribute("tabindex", "0");
    board.setAttribute("role", "application");
    board.setAttribute(
      "aria-label",
      "Found segments. Arrow keys move the chosen one, with Shift in leaps; " +
        "with a brush they move it, and Space paints.",
    );
    // A finger on a thing drags it, and paints with a brush; else it scrolls
    // the page, and chooses a region when it only taps.
    const drags = (at: [number, number]) => !this.moving || this.hasThing(at);
    board.addEventListener(
      "touchstart",
      (event) => {
        if (drags(pixel(board, event.touches[0]))) event.preventDefault();
      },
      { passive: false },
    );
    let last: [number, number] | undefined;
    let tapped: [number, number] | undefined;
    board.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const at = pixel(board, event);
      if (event.pointerType === "touch" && !drags(at)) {
        tapped = at;
        return;
      }
      board.setPointerCapture(event.pointerId);
      last = at;
      if (this.moving) this.pick(at);
      else this.stroke(at);
    });
    board.addEventListener("pointermove", (event) => {
      const now = pixel(board, event);
      if (last === undefined) {
        if (this.moving) return;
        this.brush = now;
        this.drawBrush();
      } else if (this.moving) {
        this.shift(now[0] - last[0], now[1] - last[1]);
      } else this.stroke(now);
      if (last !== undefined) last = now;
    });
    for (const end of ["pointerup", "pointercancel"] as const) {
      board.addEventListener(end, () => {
        if (end === "pointerup" && tapped !== undefined) this.pick(tapped);
        last = undefined;
        tapped = undefined;
      });
    }
    board.addEventListener("keydown", (event) => this.key(event));
  }

  private key(event: KeyboardEvent): void {
    const by = event.shiftKey ? LEAP : 1;
    const [x, y] = (ARROWS[event.key] ?? [0, 0]).map((way) => way * by);
    const { moving } = this;
    if (x || y) {
      if (moving) this.shift(x, y);
      else {
        const [bx, by] = this.brush;
        this.brush = [clip(bx + x, 0, SIZE), clip(by + y, 0, SIZE)];
        this.drawBrush();
      }
    } else if (event.key === " " && !moving) this.stroke(this.brush);
    else return;
    event.preventDefault();
  }

  /** The segment at a pixel, or -1. */
  private at([x, y]: [number, number]): number {
    return flattened(this.layers).ids[y * SIZE + x] - 1;
  }

  private hasThing(at: [number, number]): boolean {
    return ISTHING[this.layers[this.at(at)]?.label];
  }

  /** Chooses the segment at a pixel. */
  private pick(at: [number, number]): void {
    const layer = this.at(at);
    if (layer >= 0) this.chosen = layer;
    this.draw();
  }

  private shift(dx: number, dy: number): void {
    if (this.layer === undefined) return;
    this.layer.dx += Math.round(dx);
    this.layer.dy += Math.round(dy);
    this.draw();
  }

  private stroke(at: [number, number]): void {
    this.brush = at;
    const who = this.tool.value === "erase" ? -1 : this.chosen;
    paint(this.layers, who, at, this.radius);
    this.draw();
  }

  private draw(): void {
    this.chosen = clip(this.chosen, 0, Math.max(this.layers.length - 1, 0));
    const segments = flattened(this.layers);
    const { beach, shore, truth } = this;
    this.found.show(beach, shore, segments, this.chosen + 1, truth);
    const measured = panopticQuality(segments, this.truth);
    this.drawBrush();
    this.drawChips();
    this.drawActions();
    this.count(measured, segments);
    this.tell(measured);
  }

  /** What can be done with the chosen segment. */
  private drawActions(): void {
    const { layer } = this;
    const set = (button: HTMLButtonElement, able: boolean) =>
      button.setAttribute("aria-disabled", String(!able));
    set(this.forget, layer !== undefined);
    set(this.cut, layer !== undefined && canBeCut(layer));
    this.label.disabled = layer === undefined;
    this.label.value = String(layer?.label ?? "");
  }

  /** Where the brush is, and how large. */
  private drawBrush(): void {
    this.mark.hidden = this.moving;
    this.size.querySelector("input")!.disabled = this.moving;
    const { style } = this.mark;
    style.left = `${(100 * this.brush[0]) / SIZE}%`;
    style.top = `${(100 * this.brush[1]) / SIZE}%`;
    style.width = `${(200 * this.radius) / SIZE}%`;
  }

  private drawChips(): void {
    const focused = [...this.chips.children].indexOf(document.activeElement!);
    const chips = this.layers.map(({ label }, i) => {
      const chip = button(
        { class: "dl-chip", "aria-pressed": String(i === this.chosen) },
        () => {
          this.chosen = i;
          this.draw();
        },
        html("span", { class: "dl-dot" }),
        capital(NAMES[label]),
      );
      chip.style.setProperty("--dl-color", css(CLASS_COLORS[label]));
      return chip;
    });
    this.chips.replaceChildren(...chips);
    chips[Math.min(focused, chips.length - 1)]?.focus({ preventScroll: true });
  }

  private table(): HTMLElement {
    const names = ["class", "IoU", "TP", "FP", "FN", "SQ", "RQ", "PQ"];
    const heads = names.map((name) => html("th", { scope: "col" }, name));
    return html(
      "table",
      { class: "dl-fates dl-quality" },
      html("caption", { class: "dl-hidden" }, "Panoptic quality by class"),
      html("thead", {}, html("tr", {}, ...heads)),
      this.rows,
    );
  }

  /** A row for each class, and the mean. */
  private count(measured: Quality, { labels }: Segments): void {
    const { classes, overlaps } = measured;
    const rows = [...classes.keys()]
      .sort((a, b) => a - b)
      .map((label) => {
        const bars = overlaps
          .filter(({ mine }) => labels[mine - 1] === label)
          .map(({ iou }) => bar(iou));
        return countRow(label, classes.get(label)!, bars);
      });
    const mean = [measured.sq, measured.rq, measured.pq].map(cell);
    const last = html(
      "tr",
      { class: "dl-won" },
      html("th", { scope: "row" }, "mean of the classes"),
      ...[0, 1, 2, 3].map(() => html("td")),
      ...mean,
    );
    this.rows.replaceChildren(...rows, last);
  }

  /** What the chosen segment counts as, and why; and what was missed. */
  private tell({ overlaps, missed, wrong, pq }: Quality): void {
    const id = this.chosen + 1;
    const names = missed.map((other) => NAMES[this.truth.labels[other - 1]]);
    const all = `${unmatched(names)}PQ is ${pq.toFixed(3)}.`;
    if (this.layer === undefined) {
      this.words.textContent = `Nothing is found. ${all}`;
      return;
    }
    const name = NAMES[this.layer.label];
    const best = overlaps
      .filter(({ mine }) => mine === id)
      .sort((a, b) => b.iou - a.iou)[0];
    const iou = best?.iou.toFixed(2);
    const taken = !missed.includes(best?.theirs);
    const verdict = best?.match
      ? `an IoU of ${iou} with a true ${name}, above 1/2: a match, TP`
      : best !== undefined
        ? `an IoU of ${iou} with a true ${name}, not above 1/2: an FP` +
          (taken ? ", for another segment matches the true one" : "")
        : wrong.includes(id)
          ? `no pixel in common with a true ${name}: an FP`
          : "no pixel of its own, so it doesn’t count";
    this.words.textContent = `The chosen ${name} has ${verdict}. ${all}`;
  }
}

/** What the true segments without a match count as. */
function unmatched(names: string[]): string {
  if (names.length === 0) return "";
  const have =
    names.length === 1 ? "has no match: an FN" : "have no match: FNs";
  return `The true ${listed(names)} ${have}. `;
}

/** Where a pointer is, in pixels of the scene. */
function pixel(board: Element, event: Point): [number, number] {
  const [x, y] = place(board, SIZE, event);
  return [clip(Math.round(x), 0, SIZE - 1), clip(Math.round(y), 0, SIZE - 1)];
}

function countRow(label: number, count: Count, bars: Node[]): HTMLElement {
  const dot = html("span", { class: "dl-dot" });
  dot.style.setProperty("--dl-color", css(CLASS_COLORS[label]));
  const { sq, rq, pq } = rates(count);
  const counts = [count.tp, count.fp, count.fn].map((n) =>
    html("td", {}, String(n)),
  );
  return html(
    "tr",
    {},
    html("th", { scope: "row" }, dot, NAMES[label]),
    html("td", {}, ...bars),
    ...counts,
    ...[sq, rq, pq].map(cell),
  );
}

function cell(x: number): HTMLElement {
  return html("td", {}, x.toFixed(2));
}

/** An IoU as a bar from 0 to 1, with a line at 1/2. */
function bar(iou: number): HTMLElement {
  const made = html("span", { class: "dl-iou" }, iou.toFixed(2));
  made.style.setProperty("--dl-part", `${100 * iou}%`);
  made.classList.toggle("dl-match", iou > 0.5);
  return made;
}
