// Chapter 4: a segment's mask on its way through the CNN, level by level.

import { NAMES } from "../engine/scenes";
import { drawBeach } from "./beach_drawing";
import { Chips, Report } from "./chips";
import { button, canvas, html, slider, toggle } from "./dom";
import { FINE, Live } from "./live";
import { drawMap, sumOfMaps, VEIL } from "./maps";
import { drawOutline } from "./outline";
import { figure, nextScene } from "./parts";
import { SceneView } from "./scene_view";
import { score } from "./truth";

const LEVELS = ["res4", "res3", "res2"] as const;
const STAGES: [name: string, what: string][] = [
  ["attention maps", "the start: where the query looks"],
  ["stage 1", "the maps beside the image, src_proj"],
  ["stage 2", "half the channels"],
  ["stage 3", "Res4 added"],
  ["stage 4", "twice as large, Res3 added"],
  ["stage 5", "twice as large, Res2 added"],
  ["mask", "one channel: the probability of each place"],
];
const TILE = 96; // pixels a side

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
          this.scrub,
        ),
      ),
      html(
        "div",
        { class: "dl-steps", role: "group", "aria-label": "Stages" },
        ...this.tiles.map(({ root }) => root),
      ),
      this.switches(),
      this.words,
      new Report(this.live).root,
    );
  }

  /** A button for each level of the pyramid. */
  private switches(): HTMLElement {
    const buttons = LEVELS.map((level) =>
      toggle(`Res${level.slice(3)}`, true, (on) => this.live.set(level, !on)),
    );
    return html(
      "div",
      { class: "dl-tools", role: "group", "aria-label": "Levels to add" },
      html("span", { class: "dl-label" }, "Levels that are added"),
      ...buttons,
    );
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
    const [name, what] = STAGES[this.step];
    this.caption.replaceChildren(
      html("strong", {}, name),
      ` ${side} × ${side}: ${what}`,
    );
    drawing.setAttribute("aria-label", `${name} of ${this.name}`);
    this.tell();
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
    const off = LEVELS.filter((level) => this.live.changes.has(level));
    const without =
      off.length > 0
        ? `Without ${off.map((level) => `Res${level.slice(3)}`).join(" and ")}`
        : "With all levels";
    this.words.textContent =
      `${without}: the ${this.name} has an IoU of ${iou.toFixed(2)} with the ` +
      `truth, and the scene a PQ of ${quality.pq.toFixed(2)}.`;
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

/** Numbers relative to the largest of them. */
function relative(data: Float32Array): Float32Array {
  const top = Math.max(...data);
  return data.map((x) => (top > 0 ? x / top : 0));
}
