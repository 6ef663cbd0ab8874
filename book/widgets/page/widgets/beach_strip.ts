// The five stages of the chosen segment, each a picture that leads to its
// chapter, and before them what the model sees.

import { NAMES, SIZE } from "../../engine/scenes";
import { segmentColors } from "../parts/answer_view";
import { drawBeach } from "../parts/beach_drawing";
import { CLASS_COLORS, css } from "../parts/colors";
import { calm, canvas, html, percent } from "../parts/dom";
import type { Live } from "../parts/live";
import {
  drawMap,
  drawPixels,
  meanOfChannels,
  stretched,
  sumOfMaps,
  VEIL,
} from "../parts/maps";

const PIXELS = 192; // of each picture, a side
const GAP = 6; // between the maps of the heads
const MAP = (PIXELS - 2 * GAP) / 3;
const GROWTH = 400; // milliseconds from one step of a mask to the next

export const WANTED = [
  "memory",
  "attention_maps",
  "stage2",
  "stage4",
  "stage5",
];

const STAGES: [title: string, chapter: string][] = [
  ["Encoder", "01_encoded_image.html"],
  ["Queries", "02_box_embeddings.html"],
  ["Attention", "03_attention_maps.html"],
  ["Mask", "04_fpn_features.html"],
  ["Argmax", "05_training_steps.html"],
];

interface Tile {
  root: HTMLElement;
  context: CanvasRenderingContext2D;
  note: HTMLElement;
}

/** The row of pictures under the beach. */
export class StageStrip {
  readonly root: HTMLElement;
  private readonly tiles: Tile[];
  private growth = 0;
  private later = 0;
  private readonly small = canvas(MAP)[1]; // the beach
  private readonly part = canvas(MAP)[1]; // and a map over it

  constructor(private readonly live: Live) {
    this.tiles = [
      tile("What it sees"),
      ...STAGES.map(([title, chapter], i) => tile(title, i + 1, chapter)),
    ];
    this.root = html(
      "div",
      { class: "dl-stages" },
      ...this.tiles.map(({ root }) => root),
    );
    live.show({
      picture: () => this.drawInput(),
      // One frame after the answer itself, which shall not wait for this.
      answer: () => {
        cancelAnimationFrame(this.later);
        this.later = requestAnimationFrame(() => this.draw());
      },
      choice: () => {
        this.draw();
        this.grow();
      },
    });
    this.drawInput();
  }

  private drawInput(): void {
    const [{ context, note }] = this.tiles;
    drawPixels(context, this.live.picture.pixels, SIZE);
    note.textContent = `${SIZE} × ${SIZE} pixels`;
  }

  private draw(): void {
    clearTimeout(this.growth);
    const { answer, found } = this.live;
    if (answer === undefined || found === undefined) return;
    this.drawEncoded();
    this.drawQuery();
    this.drawAttention();
    this.drawMask(this.steps().length - 1);
    this.drawArgmax();
  }

  /** How alike all positions are to the one that is looked at most. */
  private drawEncoded(): void {
    const { results } = this.live.answer!;
    const { data, shape } = results.memory;
    const size = shape[1] * shape[2];
    const look = this.look();
    const from = look.indexOf(Math.max(...look));
    const alike = new Float32Array(size);
    const norm = (i: number) => Math.sqrt(dot(data, shape[0], size, i, i));
    for (let i = 0; i < size; i++) {
      alike[i] = dot(data, shape[0], size, from, i) / (norm(from) * norm(i));
    }
    const { context, note } = this.tiles[1];
    drawMap(context, stretched(alike), shape[1]);
    ring(context, from % shape[2], Math.floor(from / shape[2]), shape[1]);
    note.textContent = "similar to it";
  }

  /** The queries as dots, those that found something in their color. */
  private drawQuery(): void {
    const { all, kept } = this.live.answer!;
    const found = this.live.found!;
    const { context, note } = this.tiles[2];
    context.clearRect(0, 0, PIXELS, PIXELS);
    const step = PIXELS / 4;
    for (const { query, label } of all) {
      const x = (0.5 + (query % 4)) * step;
      const y = (0.5 + Math.floor(query / 4)) * step + step / 2;
      const on = kept.some((k) => k.query === query);
      const chosen = query === found.query;
      context.beginPath();
      context.arc(x, y, on ? step * 0.3 : step * 0.12, 0, 2 * Math.PI);
      context.fillStyle = on ? css(CLASS_COLORS[label]) : "#8a9099";
      context.fill();
      if (chosen) {
        context.lineWidth = 5;
        context.strokeStyle = getComputedStyle(this.root).color;
        context.beginPath();
        context.arc(x, y, step * 0.4, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    const { query, label } = found;
    note.textContent = `query ${query}: ${NAMES[label]}`;
  }

  /** The map of each head, all on one scale. */
  private drawAttention(): void {
    const { results, config } = this.live.answer!;
    const { data, shape } = results.attention_maps;
    const size = shape[2] * shape[3];
    const first = this.live.chosen * config.heads;
    const own = data.slice(first * size, (first + config.heads) * size);
    const top = Math.max(...own);
    const { context, note } = this.tiles[3];
    context.clearRect(0, 0, PIXELS, PIXELS);
    drawBeach(this.small, this.live.beach, this.live.shore);
    const draw = (map: Float32Array, place: number, name: string) => {
      this.part.drawImage(this.small.canvas, 0, 0);
      const bright = map.map((x) => Math.sqrt(x / top));
      drawMap(this.part, bright, shape[2], VEIL);
      const x = (place % 3) * (MAP + GAP);
      const y = Math.floor(place / 3) * (MAP + GAP);
      context.drawImage(this.part.canvas, x, y);
      write(context, name, x + 4, y + 4);
    };
    const shares = Array.from({ length: config.heads }, (_, head) => {
      const map = own.slice(head * size, (head + 1) * size);
      draw(map, head < 4 ? head : head + 1, String(head));
      return map.reduce((a, b) => a + b, 0);
    });
    // All heads together, in the middle of them.
    draw(this.look(), 4, "all");
    context.strokeStyle = "#fff";
    context.lineWidth = 3;
    context.strokeRect(MAP + GAP + 1, MAP + GAP + 1, MAP - 2, MAP - 2);
    const best = Math.max(...shares);
    note.textContent = `${percent(best)} in head ${shares.indexOf(best)}`;
  }

  /** The mask from coarse to fine: what is drawn, its side, its name. */
  private steps(): [Float32Array, number, string][] {
    const { results } = this.live.answer!;
    const query = this.live.chosen;
    const stage = (name: string): [Float32Array, number, string] => {
      const { data, shape } = results[`${name}.${query}`];
      const mean = stretched(meanOfChannels(data, shape[0]));
      return [mean, shape[1], `${shape[1]} × ${shape[1]}`];
    };
    const { data, shape } = results.mask_logits;
    const size = shape[1] * shape[2];
    const logits = data.slice(query * size, (query + 1) * size);
    const mask = logits.map((x) => 1 / (1 + Math.exp(-x)));
    const look = stretched(this.look());
    return [
      [look, 12, "12 × 12"],
      stage("stage2"),
      stage("stage4"),
      stage("stage5"),
      [mask, shape[1], `mask, ${shape[1]} × ${shape[1]}`],
    ];
  }

  private drawMask(step: number): void {
    const [data, side, words] = this.steps()[step];
    const { context, note } = this.tiles[4];
    drawMap(context, data, side);
    note.textContent = words;
  }

  /** Plays the steps, unless the reader wants things to stand still. */
  private grow(step = 0): void {
    if (calm() || this.live.answer === undefined) return;
    this.drawMask(step);
    if (step + 1 < this.steps().length) {
      this.growth = window.setTimeout(() => this.grow(step + 1), GROWTH);
    }
  }

  /** Whose each pixel is, with the chosen segment bright. */
  private drawArgmax(): void {
    const { panoptic, kept } = this.live.answer!;
    const colors = segmentColors(kept.map(({ label }) => label));
    const pixels = new Uint8ClampedArray(3 * SIZE * SIZE);
    let area = 0;
    panoptic.map.forEach((position, i) => {
      if (position < 0) return;
      const chosen = kept[position].query === this.live.chosen;
      const part = chosen ? 1 : 0.3;
      if (chosen) area++;
      pixels.set(
        colors[position].map((x) => x * part),
        3 * i,
      );
    });
    const { context, note } = this.tiles[5];
    drawPixels(context, pixels, SIZE);
    note.textContent = `${area} pixels`;
  }

  /** Where the chosen query looks, all heads added. */
  private look(): Float32Array {
    const { results, config } = this.live.answer!;
    const { data, shape } = results.attention_maps;
    const size = shape[2] * shape[3];
    const first = this.live.chosen * config.heads;
    return sumOfMaps(data, first, config.heads, size);
  }
}

function tile(title: string, number?: number, chapter?: string): Tile {
  const [picture, context] = canvas(PIXELS, { "aria-hidden": "true" });
  const note = html("span", { class: "dl-note" }, "\u00a0");
  const heading = html("span", { class: "dl-title" }, title);
  if (number !== undefined) {
    const first = html("span", { class: "dl-number" }, String(number));
    heading.prepend(first, " ");
  }
  const parts = [picture, heading, note];
  const root =
    chapter === undefined
      ? html("div", { class: "dl-stage" }, ...parts)
      : html("a", { class: "dl-stage", href: chapter }, ...parts);
  return { root, context, note };
}

/** The dot product of two columns of a (rows, size) matrix. */
function dot(
  data: Float32Array,
  rows: number,
  size: number,
  i: number,
  j: number,
): number {
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    sum += data[row * size + i] * data[row * size + j];
  }
  return sum;
}

/** Writes a name over a map. */
function write(
  context: CanvasRenderingContext2D,
  name: string,
  x: number,
  y: number,
): void {
  context.font = "bold 20px sans-serif";
  context.textBaseline = "top";
  context.lineJoin = "round";
  context.lineWidth = 5;
  context.strokeStyle = "#0a0e14";
  context.strokeText(name, x, y);
  context.fillStyle = "#fff";
  context.fillText(name, x, y);
}

/** Marks one position of a map. */
function ring(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  side: number,
): void {
  const unit = PIXELS / side;
  context.strokeStyle = "#fff";
  context.lineWidth = 3;
  context.strokeRect(x * unit + 1, y * unit + 1, unit - 2, unit - 2);
}
