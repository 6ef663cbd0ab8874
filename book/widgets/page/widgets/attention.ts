// Chapter 3: where a segment's box embedding looks, head by head.

import { attentionMaps } from "../../engine/attention_maps";
import { bestClasses } from "../../engine/classes";
import { NAMES, SIZE } from "../../engine/scenes";
import { Chips, Report } from "../parts/chips";
import {
  button,
  Choice,
  canvas,
  html,
  oneStop,
  percent,
  slider,
} from "../parts/dom";
import { figure, nextScene } from "../parts/figure";
import { FINE, Live } from "../parts/live";
import { drawMap, sumOfMaps, VEIL } from "../parts/maps";
import { drawOutline } from "../parts/outline";
import { Scale, short } from "../parts/scale";
import { SceneView } from "../parts/scene_view";

const TILE = 96; // pixels a side
const COLUMNS = 4; // of the heads
const NOTE =
  "The model itself uses the embeddings of layer 3. Brightening changes the " +
  "colors, not the numbers.";
const ALL = -1; // instead of a head

/** Builds the widget. */
export function attention(root: HTMLElement, scene: number): Live {
  return new Attention(root, scene).live;
}

class Attention {
  readonly live: Live;
  private head = ALL;
  private layer = 2;
  private joint = true;
  private gamma = 0.5;
  private readonly over = canvas(FINE, { class: "dl-over-scene" });
  private readonly tiles: HeadTile[];
  private readonly words = html("p", { class: "dl-words" });
  private readonly all = button(
    { class: "dl-switch" },
    () => {
      this.head = ALL;
      this.draw();
    },
    "All heads",
  );
  private readonly scale = new Scale();

  constructor(root: HTMLElement, scene: number) {
    this.live = new Live(scene, ["attention_scores"]);
    const view = new SceneView(this.live);
    view.cover(this.over[0]);
    this.tiles = Array.from({ length: 8 }, (_, head) => {
      const press = () => {
        this.head = this.head === head ? ALL : head;
        this.draw();
      };
      return new HeadTile(head, press);
    });
    const redraw = () => this.draw();
    this.live.show({ answer: redraw, choice: redraw });
    const softmax = new Choice<boolean>(
      "One softmax",
      [
        [true, "over all heads"],
        [false, "for each head"],
      ],
      this.joint,
      (joint) => {
        this.joint = joint;
        this.draw();
      },
    );
    const layers = new Choice<number>(
      "Box embedding from decoder layer",
      [
        [0, "1"],
        [1, "2"],
        [2, "3"],
      ],
      this.layer,
      (layer) => {
        this.layer = layer;
        this.draw();
      },
    );
    const bounds = { min: 0, max: 0.9, step: 0.05, value: 1 - this.gamma };
    const faint = slider("Brighten faint values", bounds, (value) => {
      this.gamma = 1 - value;
      this.draw();
    });
    const heads = html(
      "div",
      { class: "dl-heads", role: "toolbar", "aria-label": "Heads" },
      ...this.tiles.map(({ root }) => root),
    );
    oneStop(heads, COLUMNS);
    root.replaceChildren(
      html(
        "div",
        { class: "dl-pair dl-attention" },
        html(
          "div",
          {},
          figure(view.root, "Drag a thing.", nextScene(this.live)),
          // Below the scene, which else would move when their number changes.
          new Chips(this.live).root,
        ),
        html("div", {}, heads, this.scale.root, this.words),
      ),
      html(
        "div",
        { class: "dl-tools" },
        this.all,
        softmax.root,
        layers.root,
        faint,
      ),
      html("p", { class: "dl-note" }, NOTE),
      new Report(this.live, () => this.words.textContent!).root,
    );
  }

  private draw(): void {
    const { answer, chosen, found } = this.live;
    if (answer === undefined || found === undefined) return;
    const { heads, num_queries } = answer.config;
    const { data, shape } = answer.results[`attention_scores.${this.layer}`];
    const side = shape[2];
    const size = side * side;
    const all = attentionMaps(data, num_queries, heads, this.joint);
    const own = all.subarray(
      chosen * heads * size,
      (chosen + 1) * heads * size,
    );
    const top = Math.max(...own);
    const shares = this.tiles.map((tile, head) => {
      const map = own.subarray(head * size, (head + 1) * size);
      const share = map.reduce((a, b) => a + b, 0);
      const pressed = head === this.head;
      tile.show(this.bright(map, top), side, share, pressed);
      return share;
    });
    const seen =
      this.head === ALL
        ? sumOfMaps(own, 0, heads, size)
        : own.slice(this.head * size, (this.head + 1) * size);
    // The sum of eight maps of 1 each has a scale of its own.
    const most = this.head === ALL ? Math.max(...seen) : top;
    this.drawOver(this.bright(seen, most), side);
    const note = most > top ? `(all together: up to ${short(most)})` : "";
    this.scale.show(top, this.gamma, note);
    this.all.setAttribute("aria-pressed", String(this.head === ALL));
    this.tell(seen, shares, side);
  }

  private bright(map: Float32Array, top: number): Float32Array {
    return map.map((x) => (x / top) ** this.gamma);
  }

  /** The map over the scene, and the outline of the segment. */
  private drawOver(map: Float32Array, side: number): void {
    const [drawing, context] = this.over;
    context.clearRect(0, 0, drawing.width, drawing.height);
    drawMap(context, map, side, VEIL);
    drawOutline(context, this.live);
  }

  /** What the picture shows, as a sentence. */
  private tell(seen: Float32Array, shares: number[], side: number): void {
    const name = NAMES[this.live.found!.label];
    const sum = seen.reduce((a, b) => a + b, 0);
    const sorted = [...seen].sort((a, b) => b - a);
    let positions = 0;
    for (let rest = 0.9 * sum; rest > 0; positions++) rest -= sorted[positions];
    const touched = this.touched(side);
    const on = seen.reduce((total, x, i) => total + (touched[i] ? x : 0), 0);
    const who = this.who(name, shares);
    const what =
      this.head === ALL
        ? "Of the attention of all heads together"
        : "Of its attention";
    this.words.textContent =
      `${who} ${what}, 90\u00a0% lies on ${positions} of ` +
      `${side * side} positions, and ${percent(on / sum)} on the ${name} ` +
      `itself.${this.answered()}`;
  }

  /** How much of the attention a head has: the chosen one, or the best. */
  private who(name: string, shares: number[]): string {
    if (!this.joint) {
      return this.head === ALL
        ? "Each head’s map sums to 1."
        : `Head ${this.head}’s map sums to 1.`;
    }
    const best = shares.indexOf(Math.max(...shares));
    const head = this.head === ALL ? best : this.head;
    const share =
      shares[head] < 0.005 ? "less than 1\u00a0%" : percent(shares[head]);
    return `Head ${head} has ${share} of the ${name}’s attention.`;
  }

  /** What the query says after a layer that is not the last. */
  private answered(): string {
    const { results, config } = this.live.answer!;
    if (this.layer === config.decoder_layers - 1) return "";
    const { data } = results[`class_logits.${this.layer}`];
    const all = bestClasses(data, config.num_queries);
    const says = NAMES[all[this.live.chosen].label] ?? "no object";
    return ` After layer ${this.layer + 1} its query says “${says}”.`;
  }

  /** The positions that the chosen segment has a pixel in. */
  private touched(side: number): boolean[] {
    const { panoptic, kept } = this.live.answer!;
    const touched = new Array<boolean>(side * side).fill(false);
    const step = SIZE / side;
    panoptic.map.forEach((position, i) => {
      if (kept[position]?.query !== this.live.chosen) return;
      const [y, x] = [Math.floor(i / SIZE), i % SIZE];
      touched[Math.floor(y / step) * side + Math.floor(x / step)] = true;
    });
    return touched;
  }
}

/** One head's map, its number and its share; press it to see it large. */
class HeadTile {
  readonly root: HTMLButtonElement;
  private readonly context: CanvasRenderingContext2D;
  private readonly share = html("span", { class: "dl-score" });

  constructor(
    private readonly head: number,
    press: () => void,
  ) {
    const [picture, context] = canvas(TILE, { "aria-hidden": "true" });
    this.context = context;
    const name = html("strong", {}, `head ${head}`);
    const words = html("span", { class: "dl-row" }, name, this.share);
    this.root = button({ class: "dl-head" }, press, picture, words);
  }

  show(map: Float32Array, side: number, share: number, pressed: boolean): void {
    drawMap(this.context, map, side);
    this.share.textContent = percent(share);
    this.root.setAttribute("aria-pressed", String(pressed));
    const label = `Head ${this.head}, ${percent(share)}`;
    this.root.setAttribute("aria-label", label);
  }
}
