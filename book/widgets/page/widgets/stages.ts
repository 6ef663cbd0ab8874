// Chapter 4: a segment's mask on its way through the CNN, level by level.

import type { Level } from "../../engine/changes";
import { NAMES } from "../../engine/scenes";
import { drawBeach } from "../parts/beach_drawing";
import { Chips, Report } from "../parts/chips";
import {
  button,
  Choice,
  canvas,
  html,
  listed,
  slider,
  toggle,
} from "../parts/dom";
import { figure, nextScene } from "../parts/figure";
import { FINE, Live } from "../parts/live";
import { drawMap, sumOfMaps, VEIL } from "../parts/maps";
import { drawOutline } from "../parts/outline";
import { SceneView } from "../parts/scene_view";
import { score } from "../parts/truth";

const LEVELS: Level[] = ["res4", "res3", "res2"];
const STAGES: [name: string, what: string, level?: Level][] = [
  ["attention maps", "where the query looks"],
  ["stage 1", "the maps beside the image, src_proj"],
  ["stage 2", "half the channels"],
  ["stage 3", "", "res4"],
  ["stage 4", "twice as large, ", "res3"],
  ["stage 5", "twice as large, ", "res2"],
  ["mask", "one channel, the probability at each place"],
];
const BRIGHT =
  "Bright in stages 1 to 5: where the query’s channels are farthest from the " +
  "mean of all queries.";
const TILE = 96; // pixels a side

/** What a level that is off adds: its mean over all places, or nothing. */
type Rest = "mean" | "nothing";

/** What a stage shows: numbers from 0 to 1, side x side. */
interface Picture {
  data: Float32Array;
  side: number;
}

/** Builds the widget. */
export function stages(root: HTMLElement, scene: number): Live {
  return new MaskStages(root, scene).live;
}

class MaskStages {
  readonly live: Live;
  private step = STAGES.length - 1;
  private readonly off = new Set<Level>();
  private rest: Rest = "mean";
  private readonly large = canvas(FINE, { role: "img" });
  private readonly caption = html("span");
  private readonly tiles: Tile[];
  private readonly scrub: HTMLElement;
  private readonly words = html("p", { class: "dl-words", role: "status" });

  constructor(root: HTMLElement, scene: number) {
    const groups = STAGES.slice(1, -1).map((_, i) => `stage${i + 1}`);
    this.live = new Live(scene, ["attention_maps", ...groups]);
    const view = new SceneView(this.live);
    this.tiles = STAGES.map(([name], i) => new Tile(name, () => this.go(i)));
    const bounds = {
      min: 0,
      max: STAGES.length - 1,
      step: 1,
      value: this.step,
    };
    this.scrub = slider("Stage", bounds, (step) => this.go(step));
    this.scrub.classList.add("dl-scrub");
    const redraw = () => this.draw();
    this.live.show({ answer: redraw, choice: redraw });
    root.replaceChildren(
      new Chips(this.live).root,
      html(
        "div",
        { class: "dl-pair" },
        figure(view.root, "Drag a thing.", nextScene(this.live)),
        figure(
          html("div", { class: "dl-answer" }, this.large[0]),
          this.caption,
        ),
      ),
      this.scrub,
      html(
        "div",
        { class: "dl-steps", role: "group", "aria-label": "Stages" },
        ...this.tiles.map(({ root }) => root),
      ),
      html("p", { class: "dl-note" }, BRIGHT),
      this.switches(),
      this.words,
      new Report(this.live).root,
    );
  }

  /** A button for each level of the pyramid. */
  private switches(): HTMLElement {
    const buttons = LEVELS.map((level) =>
      toggle(nameOf(level), true, (on) => {
        if (on) this.off.delete(level);
        else this.off.add(level);
        this.change();
      }),
    );
    const rest = new Choice<Rest>(
      "One that is off adds",
      [
        ["mean", "its mean"],
        ["nothing", "nothing"],
      ],
      this.rest,
      (rest) => {
        this.rest = rest;
        this.change();
      },
    );
    return html(
      "div",
      { class: "dl-tools", role: "group", "aria-label": "Levels to add" },
      html("span", { class: "dl-label" }, "Levels that are added"),
      ...buttons,
      rest.root,
    );
  }

  /** Asks the model again, without the levels that are off. */
  private change(): void {
    const { changes } = this.live;
    changes.clear();
    for (const level of this.off) {
      changes.add(this.rest === "mean" ? `${level}_detail` : level);
    }
    this.live.change();
  }

  private go(step: number): void {
    this.step = step;
    this.scrub.querySelector("input")!.valueAsNumber = step;
    this.draw();
  }

  private draw(): void {
    if (this.live.answer === undefined || this.live.chosen < 0) return;
    const pictures = this.pictures();
    pictures.forEach((picture, i) => {
      this.tiles[i].show(picture, i === this.step);
    });
    const { data, side } = pictures[this.step];
    const [drawing, context] = this.large;
    drawBeach(context, this.live.beach, this.live.shore);
    drawMap(context, data, side, VEIL);
    drawOutline(context, this.live);
    const [name, what, level] = STAGES[this.step];
    const added = level === undefined ? "" : this.added(level);
    this.caption.replaceChildren(
      html("strong", {}, name),
      ` ${side} × ${side}: ${what}${added}`,
    );
    drawing.setAttribute("aria-label", `${name} of ${this.name}`);
    const scrub = this.scrub.querySelector("input")!;
    scrub.setAttribute("aria-valuetext", name);
    this.tell();
  }

  /** What a level gives to its stage. */
  private added(level: Level): string {
    const name = nameOf(level);
    const { answered } = this.live;
    if (answered.has(level)) return `without ${name}`;
    return `${name}${answered.has(`${level}_detail`) ? "’s mean" : ""} added`;
  }

  private get name(): string {
    return NAMES[this.live.found?.label ?? 0];
  }

  /** All that is drawn of the chosen query, stage by stage. */
  private pictures(): Picture[] {
    const { results, config } = this.live.answer!;
    const { chosen } = this.live;
    const maps = results.attention_maps;
    const size = maps.shape[2] * maps.shape[3];
    const look = sumOfMaps(
      maps.data,
      chosen * config.heads,
      config.heads,
      size,
    );
    const between = STAGES.slice(1, -1).map((_, i) => this.own(i + 1));
    const masks = results.mask_logits;
    const area = masks.shape[1] * masks.shape[2];
    const logits = masks.data.slice(chosen * area, (chosen + 1) * area);
    return [
      { data: relative(look).map(Math.sqrt), side: maps.shape[2] },
      ...between,
      { data: logits.map((x) => 1 / (1 + Math.exp(-x))), side: masks.shape[1] },
    ];
  }

  /**
   * What is the query's own at a stage: how far its channels are from the
   * mean of all queries, which holds the image that they share.
   */
  private own(stage: number): Picture {
    const { results, kept } = this.live.answer!;
    const all = kept.map(({ query }) => results[`stage${stage}.${query}`]);
    const { data, shape } = results[`stage${stage}.${this.live.chosen}`];
    const size = shape[1] * shape[2];
    const squares = new Float32Array(size);
    data.forEach((x, i) => {
      const mean = all.reduce((sum, one) => sum + one.data[i], 0) / all.length;
      squares[i % size] += (x - mean) ** 2;
    });
    return { data: relative(squares.map(Math.sqrt)), side: shape[1] };
  }

  /** What the mask and the whole scene are worth. */
  private tell(): void {
    const { quality, iou } = score(this.live);
    const { answered } = this.live;
    const off = LEVELS.filter(
      (level) => answered.has(level) || answered.has(`${level}_detail`),
    ).map(nameOf);
    const levels = off.length > 0 ? `${listed(off)} off` : "All levels on";
    this.words.textContent =
      `${levels}. The white line is the ${this.name}’s segment, what its ` +
      `mask wins in the argmax: IoU ${iou.toFixed(2)} with the truth. ` +
      `The scene has a PQ of ${quality.pq.toFixed(2)}.`;
  }
}

/** A stage, small; press it to see it large. */
class Tile {
  readonly root: HTMLButtonElement;
  private readonly context: CanvasRenderingContext2D;

  constructor(name: string, press: () => void) {
    const [picture, context] = canvas(TILE, { "aria-hidden": "true" });
    this.context = context;
    const words = html("span", { class: "dl-row" }, name);
    this.root = button({ class: "dl-head" }, press, picture, words);
  }

  show({ data, side }: Picture, pressed: boolean): void {
    drawMap(this.context, data, side);
    this.root.setAttribute("aria-pressed", String(pressed));
  }
}

function nameOf(level: Level): string {
  return `Res${level.slice(3)}`;
}

/** Numbers relative to the largest of them. */
function relative(data: Float32Array): Float32Array {
  const top = Math.max(...data);
  return data.map((x) => (top > 0 ? x / top : 0));
}
