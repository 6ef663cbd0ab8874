// Chapter 1: what a position knows, before the encoder and after it.

import type { Config } from "../../engine/models";
import { ISTHING, NAMES, SIZE } from "../../engine/scenes";
import { drawBeach } from "../parts/beach_drawing";
import { BoxesView } from "../parts/boxes_view";
import { Report } from "../parts/chips";
import { Choice, html, percent } from "../parts/dom";
import { figure, nextScene } from "../parts/figure";
import { Live } from "../parts/live";
import { drawMap, VEIL } from "../parts/maps";
import { Cursor, PositionView } from "../parts/position_view";
import { Scale } from "../parts/scale";
import { Clocks } from "./encoding_clocks";
import { similarities } from "./encoding_similarity";

const SIDE = 12; // positions of the encoded image
const LARGE = 576; // pixels of the scene
const SMALL = 192; // and of a map
const ALL = -1; // instead of a head
const CLOCKS =
  "Each sine of the positional encoding is, with its cosine, the hand of a " +
  "clock. Move, and you see why there are many: fast hands tell neighbors " +
  "apart, slow ones tell one end of the image from the other.";

const OFF =
  "Without encodings, nothing tells the model where a position is: the boxes " +
  "land elsewhere, and things are missed.";

/** Builds the widget. */
export function encoding(root: HTMLElement, scene: number): Live {
  return new Encoding(root, scene).live;
}

class Encoding {
  readonly live: Live;
  private layer = 1;
  private head = ALL;
  private readonly cursor: Cursor;
  private readonly scene: PositionView;
  private readonly boxes = new BoxesView();
  private readonly maps: MapView[];
  private readonly where = html("span");
  private readonly words = html("p", { class: "dl-words" });
  private readonly off = html("p", { class: "dl-words", hidden: true }, OFF);
  private readonly report: Report;
  private readonly clocks = html("div");
  private clockwork: Clocks | undefined;

  constructor(root: HTMLElement, scene: number) {
    this.live = new Live(scene, ["src_proj", "memory", "encoder_attention"]);
    this.cursor = new Cursor(SIDE, this.firstThing());
    this.scene = new PositionView(this.cursor, LARGE, true);
    this.scene.cover(this.boxes.root);
    this.maps = ["src_proj", "memory", "attention"].map(
      (title) => new MapView(title, this.cursor),
    );
    this.report = new Report(this.live, () => this.words.textContent!);
    this.cursor.show(() => {
      this.draw();
      this.report.later();
    });
    this.live.show({
      picture: () => this.drawScene(),
      answer: () => {
        this.drawBoxes();
        this.draw();
      },
    });
    this.drawScene();
    root.replaceChildren(
      html(
        "div",
        { class: "dl-pair" },
        figure(this.scene.root, this.where, nextScene(this.live)),
        html(
          "div",
          {},
          html(
            "div",
            { class: "dl-layers" },
            ...this.maps.map(({ root }) => root),
          ),
          this.controls(),
          this.words,
          this.off,
          html("p", { class: "dl-words" }, CLOCKS),
          this.clocks,
        ),
      ),
      this.report.root,
    );
  }

  private controls(): HTMLElement {
    const encodings = new Choice<boolean>(
      "Positional encodings",
      [
        [true, "on"],
        [false, "off"],
      ],
      true,
      (on) => {
        this.off.hidden = on;
        this.live.set("encodings", !on);
      },
    );
    const layers = new Choice<number>(
      "Attention of encoder layer",
      [
        [0, "1"],
        [1, "2"],
      ],
      this.layer,
      (layer) => {
        this.layer = layer;
        this.draw();
      },
    );
    const heads = new Choice<number>(
      "Head",
      [[ALL, "all"], ...[0, 1, 2, 3, 4, 5, 6, 7].map(numbered)],
      this.head,
      (head) => {
        this.head = head;
        this.draw();
      },
    );
    const all = [encodings, layers, heads].map(({ root }) => root);
    return html("div", { class: "dl-tools" }, ...all);
  }

  /** The position at the center of the first thing. */
  private firstThing(): [number, number] {
    const { things } = this.live.beach;
    const { cx, cy } = things[0] ?? { cx: SIZE, cy: SIZE };
    const place = (x: number) => Math.floor((x / (2 * SIZE)) * SIDE);
    return [place(cy), place(cx)];
  }

  private drawScene(): void {
    drawBeach(this.scene.context, this.live.beach, this.live.shore);
  }

  private drawBoxes(): void {
    const { results, config, kept } = this.live.answer!;
    const { data } = results[`boxes.${config.decoder_layers - 1}`];
    const things = kept.filter(({ label }) => ISTHING[label]);
    this.boxes.show(data, things);
    const names = things.map(({ label }) => NAMES[label]).join(", ");
    const label = `The scene, with boxes around ${names}`;
    this.scene.drawing.setAttribute("aria-label", label);
    this.wind(config);
  }

  /** Makes the clocks, once it is known how the model encodes. */
  private wind(config: Config): void {
    if (this.clockwork === undefined) {
      this.clockwork = new Clocks(this.cursor, config);
      this.clocks.append(this.clockwork.root);
    }
    this.clockwork.off = this.live.changes.has("encodings");
  }

  private draw(): void {
    const { answer } = this.live;
    if (answer === undefined) return;
    const { index } = this.cursor;
    const { src_proj, memory } = answer.results;
    const before = similarities(src_proj.data, SIDE * SIDE, index);
    const after = similarities(memory.data, SIDE * SIDE, index);
    // What is unlike is as dark as what has nothing in common.
    const bright = (map: Float32Array) => map.map((x) => Math.max(0, x));
    const [first, second, third] = this.maps;
    first.show(this.live, bright(before), "similarity");
    second.show(this.live, bright(after), "similarity");
    const looks = this.attention();
    // Often most of it is on the position itself, and hides all the rest.
    const itself = looks[index];
    looks[index] = 0;
    const top = Math.max(...looks);
    const head = this.head === ALL ? "all heads" : `head ${this.head}`;
    const words = `layer ${this.layer + 1}, ${head}`;
    third.show(this.live, looks, words, top, 0.5);
    this.where.textContent = `${this.cursor.words}. Point, or use arrow keys.`;
    const look = `Of its attention, ${percent(itself)} is on itself, which the map leaves out.`;
    this.words.textContent = `${this.story(before, after)} ${look}`;
  }

  /** Where the position looks, (h w), as parts of 1: a head, or the mean. */
  private attention(): Float32Array {
    const { results } = this.live.answer!;
    const look = new Float32Array(SIDE * SIDE);
    const seen = results[`encoder_attention.${this.layer}`];
    const [heads, keys, queries] = seen.shape;
    for (let head = 0; head < heads; head++) {
      if (this.head !== ALL && this.head !== head) continue;
      for (let key = 0; key < keys; key++) {
        const at = (head * keys + key) * queries + this.cursor.index;
        look[key] += seen.data[at];
      }
    }
    return this.head === ALL ? look.map((x) => x / heads) : look;
  }

  /** How many of the positions most like this one lie on the same segment. */
  private story(before: Float32Array, after: Float32Array): string {
    const { ids, labels } = this.live.picture;
    const { index } = this.cursor;
    const own = positions(ids);
    const label = labels[own[index] - 1];
    const same = own.map((id, i) => id === own[index] && i !== index);
    const size = same.filter(Boolean).length;
    const name = NAMES[label];
    if (size === 0) {
      return `This position is all there is of the ${name}.`;
    }
    const hits = [before, after].map(
      (map) => nearest(map, index, size).filter((i) => same[i]).length,
    );
    const what = ISTHING[label] ? `same ${name}` : name;
    return (
      `This position lies on ${ISTHING[label] ? "a" : "the"} ${name} that ` +
      `covers ${size + 1} positions. Of the ${size} most similar to it, ` +
      `${hits[0]} lie on the ${what} before the encoder, and ${hits[1]} ` +
      "after it."
    );
  }
}

function numbered(head: number): [number, string] {
  return [head, String(head)];
}

/** The id of the segment at the middle of each position. */
function positions(ids: Uint8Array): number[] {
  const step = SIZE / SIDE;
  return Array.from({ length: SIDE * SIDE }, (_, i) => {
    const [row, column] = [Math.floor(i / SIDE), i % SIDE];
    const y = row * step + step / 2;
    return ids[y * SIZE + column * step + step / 2];
  });
}

/** The positions with the largest values, one left out. */
function nearest(map: Float32Array, but: number, count: number): number[] {
  return [...map.keys()]
    .filter((i) => i !== but)
    .sort((a, b) => map[b] - map[a])
    .slice(0, count);
}

/** A map over the scene, with its name and the shared cursor. */
class MapView {
  readonly root: HTMLElement;
  private readonly view: PositionView;
  private readonly words = html("span");
  private readonly scale = new Scale();

  constructor(
    private readonly title: string,
    cursor: Cursor,
  ) {
    this.view = new PositionView(cursor, SMALL, false);
    const name = html("strong", {}, title);
    this.root = figure(this.view.root, name, this.words);
    this.view.root.after(this.scale.root);
  }

  /** top: what is brightest; gamma: the power that makes faint ones bright. */
  show(live: Live, map: Float32Array, words: string, top = 1, gamma = 1): void {
    const { context, drawing } = this.view;
    drawBeach(context, live.beach, live.shore);
    drawMap(
      context,
      map.map((x) => (x / top) ** gamma),
      SIDE,
      VEIL,
    );
    this.scale.show(top, gamma);
    this.words.textContent = words;
    drawing.setAttribute("aria-label", `${this.title}, ${words}`);
  }
}
