// Chapter 3: where a segment's box embedding looks, head by head.

import { attentionMaps } from "../engine/attention_maps";
import { NAMES, SIZE } from "../engine/scenes";
import { Chips, Report } from "./chips";
import { css, heat } from "./colors";
import { button, Choice, canvas, html, percent, slider } from "./dom";
import { FINE, Live } from "./live";
import { drawMap, sumOfMaps, VEIL } from "./maps";
import { drawOutline } from "./outline";
import { figure, nextScene } from "./parts";
import { SceneView } from "./scene_view";

const TILE = 96; // pixels a side
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
      "Query from decoder layer",
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
    root.replaceChildren(
      new Chips(this.live).root,
      html(
        "div",
        { class: "dl-pair dl-attention" },
        figure(view.root, "Drag things here too.", nextScene(this.live)),
        html(
          "div",
          {},
          html(
            "div",
            { class: "dl-heads", role: "group", "aria-label": "Heads" },
            ...this.tiles.map(({ root }) => root),
          ),
          this.scale.root,
          this.words,
          html("div", { class: "dl-tools" }, softmax.root, layers.root, faint),
        ),
      ),
      new Report(this.live).root,
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
      tile.show(this.live, this.bright(map, top), side, share, pressed);
      return share;
    });
    const seen =
      this.head === ALL
        ? sumOfMaps(own, 0, heads, size)
        : own.slice(this.head * size, (this.head + 1) * size);
    // The sum of eight maps of 1 each has a scale of its own.
    const most = this.head === ALL ? Math.max(...seen) : top;
    this.drawOver(this.bright(seen, most), side);
    this.scale.show(most, this.gamma);
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
    const best = shares.indexOf(Math.max(...shares));
    const who =
      this.head !== ALL
        ? `Head ${this.head} has ${percent(shares[this.head])}`
        : this.joint
          ? `Head ${best} has ${percent(shares[best])} of the ${name}’s attention`
          : "Each head’s map sums to 1";
    const what = this.head === ALL ? "All heads" : "It";
    this.words.textContent =
      `${who}. ${what}: 90 % on ${positions} of ${side * side} positions, ` +
      `${percent(on / sum)} on the ${name} itself.`;
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

  show(
    live: Live,
    map: Float32Array,
    side: number,
    share: number,
    pressed: boolean,
  ): void {
    drawMap(this.context, map, side);
    drawOutline(this.context, live);
    this.share.textContent = percent(share);
    this.root.setAttribute("aria-pressed", String(pressed));
    const label = `Head ${this.head}, ${percent(share)}`;
    this.root.setAttribute("aria-label", label);
  }
}

/** The color scale, from 0 to the largest weight. */
class Scale {
  readonly root: HTMLElement;
  private readonly bar = html("span", { class: "dl-bar" });
  private readonly top = html("span");

  constructor() {
    this.root = html(
      "div",
      { class: "dl-scale", "aria-hidden": "true" },
      html("span", {}, "0"),
      this.bar,
      this.top,
    );
  }

  show(most: number, gamma: number): void {
    const stops = Array.from({ length: 17 }, (_, i) =>
      css(heat((i / 16) ** gamma)),
    );
    this.bar.style.background = `linear-gradient(90deg, ${stops.join()})`;
    this.top.textContent = most.toPrecision(2);
  }
}
