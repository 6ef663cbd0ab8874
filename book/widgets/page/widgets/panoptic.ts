// Chapter 5: from the masks to the panoptic segmentation, step by step.

import type { Found } from "../../engine/classes";
import { USUAL, type Ways } from "../../engine/panoptic";
import { NAMES, SIZE } from "../../engine/scenes";
import { AnswerView } from "../parts/answer_view";
import { Report } from "../parts/chips";
import { CLASS_COLORS, css } from "../parts/colors";
import { Choice, html, percent, slider, toggle } from "../parts/dom";
import { figure, nextScene } from "../parts/figure";
import { innermost } from "../parts/innermost";
import { Live } from "../parts/live";
import { Cursor, CursorBoard } from "../parts/position_view";
import { SceneView } from "../parts/scene_view";
import { score } from "../parts/truth";

const LARGEST = 400; // pixels that may still be too few

/** Builds the widget. */
export function panoptic(root: HTMLElement, scene: number): Live {
  return new PanopticSteps(root, scene).live;
}

class PanopticSteps {
  readonly live: Live;
  private readonly cursor = new Cursor(SIZE, [SIZE / 2, SIZE / 2]);
  private ways: Ways = USUAL;
  private readonly rows = html("tbody");
  private readonly words = html("p", { class: "dl-words", role: "status" });

  constructor(root: HTMLElement, scene: number) {
    this.live = new Live(scene, []);
    this.live.masks = "all";
    const view = new SceneView(this.live);
    const answer = new AnswerView(this.live);
    answer.root.append(new CursorBoard(this.cursor, true).root);
    const draw = () => this.draw();
    let begun = false;
    const begin = () => {
      if (begun) return;
      begun = true;
      this.begin();
    };
    this.live.show({ answer: begin });
    this.cursor.show(() => {
      const [row, column] = this.cursor.position;
      const query = this.live.queryAt(column / SIZE, row / SIZE);
      if (query >= 0) this.live.choose(query);
      draw();
    });
    this.live.show({ answer: draw, choice: draw });
    root.replaceChildren(
      html(
        "div",
        { class: "dl-pair" },
        figure(view.root, "Drag a thing.", nextScene(this.live)),
        figure(answer.root, "Point at a pixel: who wants it?"),
      ),
      this.words,
      this.controls(),
      this.table(),
      new Report(this.live).root,
    );
  }

  /** Puts the pixel into the segment that is chosen at first. */
  private begin(): void {
    const { kept, panoptic } = this.live.answer!;
    const at = kept.findIndex(({ query }) => query === this.live.chosen);
    const middle = innermost(panoptic.map, kept.length)[at];
    if (middle === undefined) return;
    const [x, y] = middle.map((part) => Math.floor(part * SIZE));
    this.cursor.move(y, x);
  }

  private controls(): HTMLElement {
    const threshold = slider(
      "Keep queries surer than",
      { min: 0, max: 0.99, step: 0.01, value: 0.7 },
      (value) => this.live.read({ threshold: value }),
      percent,
    );
    const tiny = slider(
      "Remove segments of up to",
      { min: 0, max: LARGEST, step: 4, value: USUAL.minArea },
      (minArea) => this.choose({ minArea }),
      (value) => `${value} pixels`,
    );
    const merging = new Choice<Ways["mode"]>(
      "Merge masks of one stuff",
      [
        ["union", "always"],
        ["original", "as the original’s code"],
      ],
      this.ways.mode,
      (mode) => this.choose({ mode }),
    );
    const halves = toggle("Two queries share each stuff", false, (on) =>
      this.live.read({ halves: on }),
    );
    return html(
      "div",
      { class: "dl-tools" },
      threshold,
      tiny,
      merging.root,
      halves,
    );
  }

  private choose(ways: Partial<Ways>): void {
    this.ways = { ...this.ways, ...ways };
    this.live.read({ ways: this.ways });
  }

  private table(): HTMLElement {
    const names = [
      "query",
      "what it says",
      "what becomes of it",
      "logit at the pixel",
    ];
    const heads = names.map((name, i) => {
      const kind = i === 3 ? "dl-number-cell" : undefined;
      return html("th", { scope: "col", class: kind }, name);
    });
    return html(
      "table",
      { class: "dl-fates" },
      html("caption", { class: "dl-hidden" }, "The queries"),
      html("thead", {}, html("tr", {}, ...heads)),
      this.rows,
    );
  }

  private draw(): void {
    const { answer } = this.live;
    if (answer === undefined) return;
    const { all, kept } = answer;
    const winner = this.winner();
    const silent = all.filter(({ label }) => NAMES[label] === undefined);
    const rows = all.flatMap((found) => {
      if (silent.includes(found)) return [];
      const places = [...kept.keys()].filter(
        (i) => kept[i].query === found.query,
      );
      return places.length === 0
        ? [this.row(found, -1, false)]
        : places.map((place) => this.row(found, place, place === winner));
    });
    this.rows.replaceChildren(...rows, this.silentRow(silent));
    this.tell(winner);
  }

  /** The position in kept of the mask that has the pixel, or -1. */
  private winner(): number {
    return this.live.answer!.panoptic.owner[this.cursor.index];
  }

  private row(found: Found, place: number, won: boolean): HTMLElement {
    const { query, label, score } = found;
    const name = NAMES[label];
    const dot = html("span", { class: "dl-dot" });
    dot.style.setProperty("--dl-color", css(CLASS_COLORS[label]));
    const who = place < 0 ? String(query) : this.who(place);
    const number = html("th", { scope: "row" }, dot, who);
    const wish = place < 0 ? "" : signed(this.wish(place));
    const row = html(
      "tr",
      {},
      number,
      html("td", {}, `${name} ${percent(score)}`),
      html("td", {}, this.fate(place)),
      html("td", { class: "dl-number-cell" }, wish),
    );
    row.classList.toggle("dl-out", place < 0);
    row.classList.toggle("dl-won", won);
    return row;
  }

  /** All queries that say "no object", in one row. */
  private silentRow(silent: Found[]): HTMLElement {
    const numbers = silent.map(({ query }) => query).join(", ");
    const row = html(
      "tr",
      { class: "dl-out" },
      html("th", { scope: "row" }, numbers),
      html("td", {}, "no object"),
      html("td", {}, "never counts"),
      html("td", {}),
    );
    row.hidden = silent.length === 0;
    return row;
  }

  /** The logit of a mask at the pixel. */
  private wish(place: number): number {
    return this.live.answer!.panoptic.logits[place][this.cursor.index];
  }

  /** A query's number; of two that share a stuff, also which half it has. */
  private who(place: number): string {
    const { kept } = this.live.answer!;
    const { query } = kept[place];
    const same = [...kept.keys()].filter((i) => kept[i].query === query);
    if (same.length === 1) return String(query);
    return `${query} ${place === same[0] ? "left" : "right"}`;
  }

  /** What becomes of a query, in words. */
  private fate(place: number): string {
    if (place < 0) return "not sure enough";
    const { areas, wanted, first } = this.live.answer!.panoptic;
    if (areas[place] > 0) return `${areas[place]} pixels`;
    if (wanted[place] === 0) return "others want every pixel more";
    if (first[place] === place) return `only ${wanted[place]} pixels: removed`;
    const merged = `merged with query ${this.who(first[place])}`;
    return areas[first[place]] > 0 && this.ways.mode === "union"
      ? merged
      : `${merged}, then dropped`;
  }

  private tell(winner: number): void {
    const { kept } = this.live.answer!;
    const { quality } = score(this.live);
    const who =
      winner < 0
        ? "Nobody is left to have this pixel"
        : `The pixel goes to query ${this.who(winner)}, the ` +
          NAMES[kept[winner].label];
    this.words.textContent =
      `${who}. The scene has a PQ of ${quality.pq.toFixed(2)}, with ` +
      `${several(quality.wrong.length, "false positive")} and ` +
      `${several(quality.missed.length, "false negative")}.`;
  }
}

function several(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** A number with a real minus sign, so that columns line up. */
function signed(x: number): string {
  return x.toFixed(1).replace("-", "−");
}
