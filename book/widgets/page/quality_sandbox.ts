// Chapter 5: what panoptic quality counts, to spoil and to repair.

import {
  type Count,
  panopticQuality,
  type Quality,
  rates,
  type Segments,
} from "../engine/quality";
import { Beach, NAMES, SIZE } from "../engine/scenes";
import { drawShore } from "./beach_drawing";
import { CLASS_COLORS, css } from "./colors";
import { button, Choice, capital, html, slider } from "./dom";
import { ARROWS, clip, place } from "./drag";
import { cut, flattened, type Layer, layersOf, paint } from "./layers";
import { SEED } from "./live";
import { figure } from "./parts";
import { SegmentsView } from "./segments_view";

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
  private tool: Tool = "move";
  private radius = 5; // of the brush
  private brush: [number, number] = [SIZE / 2, SIZE / 2];
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
          "What was found. Drag a segment, or paint.",
          button({ class: "dl-next" }, () => this.reset(), "Start again"),
        ),
      ),
      this.chips,
      this.tools(),
      this.table(),
      this.words,
    );
    // For the tests, and for whoever opens the console.
    Object.assign(root, { segments: () => flattened(this.layers) });
    this.reset();
  }

  private reset(): void {
    this.layers = layersOf(this.beach);
    this.chosen = this.layers.length - 1;
    Object.assign(this.layer, { dx: OFF, dy: OFF });
    this.draw();
  }

  private tools(): HTMLElement {
    const tool = new Choice<Tool>(
      "Tool",
      [
        ["move", "move"],
        ["paint", "paint"],
        ["erase", "erase"],
      ],
      this.tool,
      (tool) => {
        this.tool = tool;
        this.drawBrush();
      },
    );
    const bounds = { min: 1, max: 15, step: 1, value: this.radius };
    const brush = slider("Brush", bounds, (radius) => {
      this.radius = radius;
      this.drawBrush();
    });
    const actions: [name: string, act: () => void][] = [
      ["Cut it in two", () => this.layers.push(cut(this.layer))],
      ["Forget it", () => this.layers.splice(this.chosen, 1)],
      ["New segment", () => this.add()],
    ];
    const buttons = actions.map(([name, act]) =>
      button(
        {},
        () => {
          if (this.layers.length === 0 && name !== "New segment") return;
          act();
          this.draw();
        },
        name,
      ),
    );
    const names = NAMES.map((name, label) => {
      const made = button(
        { class: "dl-paint", "aria-label": `Call it ${name}`, title: name },
        () => {
          if (this.layer !== undefined) this.layer.label = label;
          this.draw();
        },
      );
      made.style.setProperty("--dl-color", css(CLASS_COLORS[label]));
      return made;
    });
    const label = html("span", { class: "dl-label" }, "Call it");
    return html(
      "div",
      { class: "dl-tools" },
      tool.root,
      brush,
      ...buttons,
      html("span", { class: "dl-group" }, label, ...names),
    );
  }

  /** A segment without pixels yet, to be painted. */
  private add(): void {
    const label = this.layer?.label ?? 0;
    const mask = new Uint8Array(SIZE * SIZE);
    this.layers.push({ label, mask, dx: 0, dy: 0 });
    this.chosen = this.layers.length - 1;
  }

  private get layer(): Layer {
    return this.layers[this.chosen];
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
    let last: [number, number] | undefined;
    board.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      board.setPointerCapture(event.pointerId);
      last = pixel(board, event);
      if (this.tool === "move") this.pick(last);
      else this.stroke(last);
    });
    board.addEventListener("pointermove", (event) => {
      const now = pixel(board, event);
      if (last === undefined) {
        this.brush = now;
        this.drawBrush();
      } else if (this.tool === "move") {
        this.shift(now[0] - last[0], now[1] - last[1]);
      } else this.stroke(now);
      if (last !== undefined) last = now;
    });
    for (const end of ["pointerup", "pointercancel"] as const) {
      board.addEventListener(end, () => {
        last = undefined;
      });
    }
    board.addEventListener("keydown", (event) => this.key(event));
  }

  private key(event: KeyboardEvent): void {
    const by = event.shiftKey ? LEAP : 1;
    const [x, y] = (ARROWS[event.key] ?? [0, 0]).map((way) => way * by);
    const moving = this.tool === "move";
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

  /** Chooses the segment at a pixel. */
  private pick([x, y]: [number, number]): void {
    const at = Math.floor(y) * SIZE + Math.floor(x);
    const id = flattened(this.layers).ids[at];
    if (id > 0) this.chosen = id - 1;
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
    const who = this.tool === "erase" ? -1 : this.chosen;
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
    this.count(measured, segments);
    this.tell(measured);
  }

  /** Where the brush is, and how large. */
  private drawBrush(): void {
    this.mark.hidden = this.tool === "move";
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
    chips[Math.min(focused, chips.length - 1)]?.focus();
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
      html("th", { scope: "row" }, "mean"),
      ...[0, 1, 2, 3].map(() => html("td")),
      ...mean,
    );
    this.rows.replaceChildren(...rows, last);
  }

  /** What the chosen segment counts as, and why. */
  private tell({ overlaps, wrong, pq }: Quality): void {
    const id = this.chosen + 1;
    const all = `PQ is ${pq.toFixed(3)}.`;
    if (this.layer === undefined) {
      this.words.textContent = `Nothing is found. ${all}`;
      return;
    }
    const name = NAMES[this.layer.label];
    const own = overlaps.filter(({ mine }) => mine === id);
    const best = Math.max(0, ...own.map(({ iou }) => iou));
    const iou = best.toFixed(2);
    const verdict = own.some(({ match }) => match)
      ? `an IoU of ${iou} with a true ${name}, above 1/2: a match, TP`
      : best > 0
        ? `an IoU of ${iou} with a true ${name}, not above 1/2: no match, so ` +
          "it is an FP and the true one an FN"
        : wrong.includes(id)
          ? `no pixel in common with a true ${name}: an FP`
          : "no pixel of its own, so it doesn’t count";
    this.words.textContent = `The chosen ${name} has ${verdict}. ${all}`;
  }
}

/** Where a pointer is, in pixels of the scene. */
function pixel(board: Element, event: PointerEvent): [number, number] {
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
