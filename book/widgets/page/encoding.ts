// Chapter 1: what a position knows, before the encoder and after it.

import type { Config } from "../engine/models";
import { ISTHING, NAMES, SIZE } from "../engine/scenes";
import { drawBeach } from "./beach_drawing";
import { BoxesView } from "./boxes_view";
import { Report } from "./chips";
import { Clocks } from "./clocks";
import { Choice, html } from "./dom";
import { Live } from "./live";
import { drawMap, VEIL } from "./maps";
import { figure, nextScene } from "./parts";
import { Cursor, PositionView } from "./position_view";
import { similarities } from "./similarity";

const SIDE = 12; // positions of the encoded image
const LARGE = 576; // pixels of the scene
const SMALL = 192; // and of a map
const ALL = -1; // instead of a head
const CLOCKS =
  "Each sine of the positional encoding is, with its cosine, the hand of a " +
  "clock. Move, and you see why there are many: fast hands tell neighbors " +
  "apart, slow ones tell one end of the image from the other.";

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
  private readonly words = html("p", { class: "dl-words" });
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
    const draw = () => this.draw();
    this.cursor.show(draw);
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
        figure(
          this.scene.root,
          "Point at a position, or move it with the arrow keys.",
          nextScene(this.live),
        ),
        html(
          "div",
          {},
          html(
            "div",
            { class: "dl-layers" },
            ...this.maps.map(({ root }) => root),
          ),
          this.words,
          html("p", { class: "dl-words" }, CLOCKS),
          this.clocks,
        ),
      ),
      this.controls(),
      new Report(this.live).root,
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
      (on) => this.live.set("encodings", !on),
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
    this.boxes.show(data, kept);
    const names = kept.map(({ label }) => NAMES[label]).join(", ");
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
    const top = Math.max(...looks);
    const lifted = looks.map((x) => Math.sqrt(x / top));
    const head = this.head === ALL ? "" : `, head ${this.head}`;
    third.show(this.live, lifted, `layer ${this.layer + 1}${head}`);
    this.tell(before, after);
  }

  /** Where the position looks, (h w): of a head, or the mean of all. */
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
    return look;
  }

  /** How many of the positions most like this one lie on the same segment. */
  private tell(before: Float32Array, after: Float32Array): void {
    const { ids, labels } = this.live.picture;
    const { index } = this.cursor;
    const own = positions(ids);
    const label = labels[own[index] - 1];
    const same = own.map((id, i) => id === own[index] && i !== index);
    const size = same.filter(Boolean).length;
    const name = NAMES[label];
    if (size === 0) {
      this.words.textContent = `This position is all there is of the ${name}.`;
      return;
    }
    const hits = [before, after].map(
      (map) => nearest(map, index, size).filter((i) => same[i]).length,
    );
    const what = ISTHING[label] ? `same ${name}` : name;
    this.words.textContent =
      `This position lies on ${ISTHING[label] ? "a" : "the"} ${name} that ` +
      `covers ${size + 1} positions. Of the ${size} most similar to it, ` +
      `${hits[0]} lie on the ${what} before the encoder, and ${hits[1]} ` +
      "after it.";
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

  constructor(
    private readonly title: string,
    cursor: Cursor,
  ) {
    this.view = new PositionView(cursor, SMALL, false);
    const name = html("strong", {}, title);
    this.root = figure(this.view.root, name, this.words);
  }

  show(live: Live, map: Float32Array, words: string): void {
    const { context, drawing } = this.view;
    drawBeach(context, live.beach, live.shore);
    drawMap(context, map, SIDE, VEIL);
    this.words.textContent = words;
    drawing.setAttribute("aria-label", `${this.title}, ${words}`);
  }
}
