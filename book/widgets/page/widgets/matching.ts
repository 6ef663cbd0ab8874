// Chapter 2: the matching game.  Which prediction answers for which segment?

import type { Box } from "../../engine/boxes";
import { assign, assignGreedily, COST, pairCost } from "../../engine/matching";
import { BALL, CRATE, NAMES, TENT } from "../../engine/scenes";
import { CLASS_COLORS, css } from "../parts/colors";
import {
  button,
  Choice,
  capital,
  html,
  oneStop,
  percent,
  svg,
} from "../parts/dom";
import { ARROWS, clip, draggable } from "../parts/drag";

const CLASSES = [BALL, CRATE, TENT]; // that predictions have a probability of
const UNITS = 100; // of the board, a side
const STEP = 0.02; // of the arrow keys, relative to the board
const SMALLEST = 0.06; // side of a box
const GRIP = 5; // radius of what a finger can hit
const CAPTION = "The cost of each pair; arrow keys go from one to the next";
const ORDER = ["1st", "2nd", "3rd"];

interface Segment {
  label: number;
  box: Box;
}

interface Prediction {
  name: string;
  box: Box;
  probabilities: number[]; // of ball, crate and tent; the rest: no object
}

/** What the page's markup says; see GAME in detr_lite.teaching.widgets. */
interface Boxes {
  segments: Segment[];
  predictions: Prediction[];
}

type Who = "you" | "greedy" | "best";

/** Builds the widget. */
export function matching(root: HTMLElement): undefined {
  new Game(root, JSON.parse(root.dataset.more!) as Boxes);
}

class Game {
  private readonly segments: Segment[];
  private predictions: Prediction[];
  private mine: number[]; // for each segment a prediction, or -1
  private finger = false; // and not a mouse or a key chooses
  private looked: [segment: number, prediction: number] = [0, 0];
  private readonly board: SVGSVGElement;
  private readonly lines = svg("g", { class: "dl-lines" });
  private readonly marks: SVGGElement[] = [];
  private readonly choice: Choice<Who>;
  private readonly cells: HTMLButtonElement[][];
  private readonly details = html("p", { class: "dl-words" });
  private readonly totals = html("p", { class: "dl-words", role: "status" });

  constructor(
    root: HTMLElement,
    private readonly start: Boxes,
  ) {
    this.segments = start.segments;
    this.predictions = structuredClone(start.predictions);
    this.mine = this.segments.map(() => -1);
    this.board = svg("svg", {
      class: "dl-board",
      viewBox: `0 0 ${UNITS} ${UNITS}`,
      role: "group",
      "aria-label": "Boxes: three segments, four predictions",
    });
    this.board.append(...this.segments.map(drawSegment), this.lines);
    this.predictions.forEach((_, i) => {
      const mark = this.handle(i);
      this.marks.push(mark);
      this.board.append(mark);
    });
    this.cells = this.segments.map((_, segment) =>
      this.predictions.map((_, prediction) => this.cell(segment, prediction)),
    );
    this.choice = new Choice<Who>(
      "Who pairs them?",
      [
        ["you", "you"],
        ["greedy", "the cheapest first"],
        ["best", "the best of all"],
      ],
      "you",
      () => this.draw(),
    );
    const reset = button({}, () => this.reset(), "Start again");
    root.replaceChildren(
      html(
        "div",
        { class: "dl-pair" },
        html(
          "div",
          { class: "dl-figure" },
          this.board,
          html(
            "div",
            { class: "dl-caption" },
            "Drag a box, or its corner.",
            reset,
          ),
        ),
        html(
          "div",
          {},
          html("div", { class: "dl-tools" }, this.choice.root),
          this.table(),
          this.details,
          this.totals,
        ),
      ),
    );
    this.draw();
  }

  private reset(): void {
    this.predictions = structuredClone(this.start.predictions);
    this.mine.fill(-1);
    this.looked = [0, 0];
    this.choice.press("you");
    this.draw();
  }

  /** The costs by segment, then by prediction. */
  private costs(): number[][] {
    return this.segments.map((_, segment) =>
      this.predictions.map((_, i) => this.pair(segment, i).cost),
    );
  }

  private pairs(costs = this.costs()): Record<Who, number[]> {
    const [greedy, best] = [assignGreedily(costs), assign(costs)];
    return { you: this.mine, greedy, best };
  }

  private pair(segment: number, prediction: number) {
    const { probabilities, box } = this.predictions[prediction];
    const wanted = this.segments[segment];
    return pairCost(probabilities, box, wanted.label, wanted.box);
  }

  private draw(): void {
    const costs = this.costs();
    const pairs = this.pairs(costs);
    const shown = pairs[this.choice.value];
    const order = this.choice.value === "greedy" ? byCost(shown, costs) : [];
    const all = costs.flat();
    const [low, high] = [Math.min(...all), Math.max(...all)];
    this.cells.forEach((row, segment) => {
      row.forEach((cell, prediction) => {
        const cost = costs[segment][prediction];
        const dear = (cost - low) / (high - low);
        const paired = shown[segment] === prediction;
        cell.textContent = signed(cost);
        const turn = paired ? order.indexOf(segment) + 1 : 0;
        if (turn > 0) {
          cell.append(html("span", { class: "dl-turn" }, ORDER[turn - 1]));
        }
        cell.style.setProperty("--dl-cheap", String(1 - dear));
        cell.setAttribute("aria-pressed", String(paired));
        const { name } = this.predictions[prediction];
        const who = `prediction ${name} for ${this.nameOf(segment)}`;
        const when = turn > 0 ? `, ${ORDER[turn - 1]} pick` : "";
        const label = `${who}: cost ${signed(cost)}${when}`;
        cell.setAttribute("aria-label", capital(label));
      });
    });
    this.marks.forEach((mark, i) => {
      this.placeBox(mark, this.predictions[i]);
      mark.classList.toggle("dl-paired", shown.includes(i));
    });
    this.lines.replaceChildren(
      ...shown.flatMap((prediction, segment) =>
        prediction < 0
          ? []
          : [
              line(
                this.segments[segment].box,
                this.predictions[prediction].box,
              ),
            ],
      ),
    );
    this.describe();
    this.total(costs, pairs);
  }

  /** How the cost of one pair comes about. */
  private describe(): void {
    const [segment, prediction] = this.looked;
    const { iou, giou, l1, probability, cost } = this.pair(segment, prediction);
    const { name } = this.predictions[prediction];
    const wanted = NAMES[this.segments[segment].label];
    // With three digits, so that the rounded terms give the sum.
    const [a, b, c] = [l1, probability, giou].map((x) => signed(x, 3));
    const overlap = giou < 0 ? `(${c})` : c;
    this.details.replaceChildren(
      html("strong", {}, `${name} for ${this.nameOf(segment)}: `),
      `−${b} (probability of “${wanted}”) + ${COST.l1} × ${a} (L1) ` +
        `− ${COST.giou} × ${overlap} (GIoU) = `,
      html("strong", {}, signed(cost)),
      `; IoU ${iou.toFixed(2)}`,
    );
  }

  /** What the pairing costs, beside the others. */
  private total(costs: number[][], pairs: Record<Who, number[]>): void {
    const sum = (pairing: number[]) =>
      pairing.reduce((total, prediction, segment) => {
        return total + (prediction < 0 ? 0 : costs[segment][prediction]);
      }, 0);
    const open = this.mine.filter((prediction) => prediction < 0).length;
    const best = sum(pairs.best);
    const who = this.choice.value;
    if (who === "you" && open > 0) {
      this.totals.textContent = `Press a cost in each column to pair; ${open} still to do.`;
      return;
    }
    const mine = sum(pairs[who]);
    const over = mine - best;
    const verdict =
      over < 1e-9
        ? "less is not possible."
        : `${signed(over)} more than the best, ${signed(best)}.`;
    const left = this.predictions.find((_, i) => !pairs[who].includes(i));
    this.totals.textContent =
      `In all: ${signed(mine)}; ${verdict} ` +
      `Prediction ${left?.name} is left over and learns “no object”.`;
  }

  private choose(segment: number, prediction: number): void {
    this.looked = [segment, prediction];
    if (this.finger && this.choice.value !== "you") {
      this.describe(); // a finger that only looks can't hover
      return;
    }
    if (this.choice.value !== "you") {
      // From here the reader goes on, with this pair at least.
      this.mine = this.pairs()[this.choice.value];
      this.mine[segment] = -1;
      this.choice.press("you");
    }
    const again = this.mine[segment] === prediction;
    // A prediction answers for one segment only.
    this.mine = this.mine.map((own) => (own === prediction ? -1 : own));
    this.mine[segment] = again ? -1 : prediction;
    this.draw();
  }

  private cell(segment: number, prediction: number): HTMLButtonElement {
    const choose = () => this.choose(segment, prediction);
    const made = button({ class: "dl-cost" }, choose);
    const look = () => {
      this.looked = [segment, prediction];
      this.describe();
    };
    made.addEventListener("focus", look);
    made.addEventListener("pointerenter", ({ pointerType }) => {
      if (pointerType === "mouse") look(); // and not a finger that scrolls
    });
    made.addEventListener("pointerdown", ({ pointerType }) => {
      this.finger = pointerType === "touch";
    });
    made.addEventListener("keydown", () => {
      this.finger = false;
    });
    return made;
  }

  private table(): HTMLTableElement {
    const heads = this.segments.map((segment, i) => {
      const dot = html("span", { class: "dl-dot" });
      dot.style.setProperty("--dl-color", css(CLASS_COLORS[segment.label]));
      return html("th", { scope: "col" }, dot, nameOf(segment, i));
    });
    const rows = this.predictions.map(({ name, probabilities }, i) => {
      const best = Math.max(...probabilities);
      const label = CLASSES[probabilities.indexOf(best)];
      const says = `${NAMES[label]} ${percent(best)}`;
      const note = html("span", { class: "dl-note" }, says);
      const head = html("th", { scope: "row" }, name, note);
      const cells = this.cells.map((column) => html("td", {}, column[i]));
      return html("tr", {}, head, ...cells);
    });
    const body = html("tbody", {}, ...rows);
    oneStop(body, this.segments.length);
    return html(
      "table",
      { class: "dl-costs" },
      html("caption", { class: "dl-hidden" }, CAPTION),
      html("thead", {}, html("tr", {}, html("td", {}), ...heads)),
      body,
    );
  }

  /** A predicted box that can be moved and resized. */
  private handle(index: number): SVGGElement {
    const { name } = this.predictions[index];
    const body = svg("rect", { class: "dl-body" });
    const corner = svg(
      "g",
      { class: "dl-corner" },
      svg("circle", { class: "dl-grip", r: GRIP }),
      svg("circle", { r: 2.2 }),
    );
    const mark = svg(
      "g",
      {
        class: "dl-prediction",
        tabindex: 0,
        role: "button",
        "aria-label":
          `Prediction ${name}. Arrow keys move it, ` +
          "with Shift they change its size.",
      },
      body,
      svg("text", {}, name),
      corner,
    );
    const start = { x: 0, y: 0 };
    const board = this.board;
    draggable(mark, board, 1, {
      begin: (x, y) => {
        const { box } = this.predictions[index];
        Object.assign(start, { x: box[0] - x, y: box[1] - y });
      },
      move: (x, y) => this.move(index, x + start.x, y + start.y),
    });
    draggable(corner, board, 1, {
      begin: () => {},
      move: (x, y) => {
        const [cx, cy, w, h] = this.predictions[index].box;
        const [left, top] = [cx - w / 2, cy - h / 2];
        this.resize(index, x - left, y - top);
      },
    });
    mark.addEventListener("keydown", (event) => {
      const [x, y] = ARROWS[event.key] ?? [0, 0];
      if (!x && !y) return;
      event.preventDefault();
      const [cx, cy, w, h] = this.predictions[index].box;
      if (event.shiftKey) this.resize(index, w + STEP * x, h + STEP * y);
      else this.move(index, cx + STEP * x, cy + STEP * y);
    });
    return mark;
  }

  private move(index: number, x: number, y: number): void {
    const { box } = this.predictions[index];
    box[0] = clip(x, box[2] / 2, 1 - box[2] / 2);
    box[1] = clip(y, box[3] / 2, 1 - box[3] / 2);
    this.lookAt(index);
    this.draw();
  }

  /** A new size; the corner at the top left stays. */
  private resize(index: number, width: number, height: number): void {
    const { box } = this.predictions[index];
    const [left, top] = [box[0] - box[2] / 2, box[1] - box[3] / 2];
    box[2] = clip(width, SMALLEST, 1 - left);
    box[3] = clip(height, SMALLEST, 1 - top);
    box[0] = left + box[2] / 2;
    box[1] = top + box[3] / 2;
    this.lookAt(index);
    this.draw();
  }

  /** Looks at a prediction, for the segment that it fits best. */
  private lookAt(index: number): void {
    const costs = this.segments.map((_, i) => this.pair(i, index).cost);
    this.looked = [costs.indexOf(Math.min(...costs)), index];
  }

  private nameOf(segment: number): string {
    return nameOf(this.segments[segment], segment);
  }

  private placeBox(mark: SVGGElement, { box }: Prediction): void {
    const [body, name, corner] = mark.children;
    setBox(body, box);
    name.setAttribute("x", String((box[0] - box[2] / 2) * UNITS + 2.5));
    name.setAttribute("y", String((box[1] - box[3] / 2) * UNITS + 6));
    const [x, y] = [box[0] + box[2] / 2, box[1] + box[3] / 2];
    corner.setAttribute("transform", `translate(${x * UNITS} ${y * UNITS})`);
  }
}

/** The segments in the order in which the cheapest pairs are picked. */
function byCost(pairing: number[], costs: number[][]): number[] {
  const cost = (segment: number) => costs[segment][pairing[segment]];
  return [...pairing.keys()].sort((a, b) => cost(a) - cost(b));
}

/** A number with a real minus sign, so that columns line up. */
function signed(x: number, digits = 2): string {
  return x.toFixed(digits).replace("-", "−");
}

function nameOf({ label }: Segment, index: number): string {
  return `${NAMES[label]} ${index + 1}`;
}

function setBox(rect: Element, [cx, cy, w, h]: Box): void {
  rect.setAttribute("x", String((cx - w / 2) * UNITS));
  rect.setAttribute("y", String((cy - h / 2) * UNITS));
  rect.setAttribute("width", String(w * UNITS));
  rect.setAttribute("height", String(h * UNITS));
}

/** A segment: its box, filled with the color of its class. */
function drawSegment({ label, box }: Segment, index: number): SVGGElement {
  const rect = svg("rect", { fill: css(CLASS_COLORS[label], 0.35) });
  rect.style.setProperty("stroke", css(CLASS_COLORS[label]));
  setBox(rect, box);
  // Its name stands above it, where no prediction's handle is.
  const [x, y] = [(box[0] + box[2] / 2) * UNITS, (box[1] - box[3] / 2) * UNITS];
  const attributes = { x, y: y - 1.5, "text-anchor": "end" };
  const name = svg("text", attributes, nameOf({ label, box }, index));
  return svg("g", { class: "dl-segment" }, rect, name);
}

/** A line between the centers of two boxes. */
function line(a: Box, b: Box): SVGLineElement {
  const [x1, y1, x2, y2] = [a[0], a[1], b[0], b[1]].map((x) => x * UNITS);
  return svg("line", { x1, y1, x2, y2 });
}
