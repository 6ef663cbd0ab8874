// A beach and the model's answer to it, kept up to date.

import type { Change } from "../engine/changes";
import { bestClasses, type Found, found } from "../engine/classes";
import type { Results } from "../engine/main";
import type { Config } from "../engine/models";
import {
  type Panoptic,
  panopticSegmentation,
  USUAL,
  type Ways,
} from "../engine/panoptic";
import {
  Beach,
  CANVAS,
  ISTHING,
  type Picture,
  SIZE,
  type Thing,
} from "../engine/scenes";
import { drawShore } from "./beach_drawing";
import { type Engine, engine, type Run } from "./engine";

export const SEED = 2; // of the validation scenes: the model was not trained on them

// The same mask logits, compared at more places than the model's 96 x 96
// pixels, so that outlines are as fine as the screen.
export const FINE = 288;

/** What the model says about a picture. */
export interface Answer {
  config: Config;
  results: Results;
  all: Found[]; // the best class of each query
  kept: Found[]; // what was found
  masks: Float32Array[]; // their logits
  panoptic: Panoptic; // positions in kept, 96 x 96
  fine: Int8Array; // the same, FINE x FINE
  milliseconds: number;
}

/** How the model's results are made segments; the model isn't asked. */
export interface Reading {
  threshold?: number; // of the probability; the model's own if there is none
  ways?: Ways;
  halves?: boolean; // whether two queries share each stuff
}

/** What a view of a beach does when something changes. */
export interface View {
  picture?: () => void; // the beach
  answer?: () => void; // what the model says about it
  choice?: () => void; // the query that the reader looks at
}

/** Whether another segment begins right of a pixel of a map or below it. */
export function atEdge(
  map: ArrayLike<number>,
  side: number,
  i: number,
): boolean {
  const inRow = (i + 1) % side !== 0;
  const inColumn = i + side < map.length;
  return (
    (inRow && map[i + 1] !== map[i]) || (inColumn && map[i + side] !== map[i])
  );
}

/** One beach, its answer, and the views that show them. */
export class Live {
  beach: Beach;
  picture: Picture;
  shore: HTMLCanvasElement;
  answer: Answer | undefined;
  chosen = -1; // a query
  masks: "found" | "all" = "found"; // which queries get one
  readonly changes = new Set<Change>(); // what the model does otherwise
  reading: Reading = {};
  private followed: Thing | undefined; // whose segment is looked at
  private readonly views: View[] = [];
  private stale = true; // the picture has changed since it was last sent
  private busy = false;
  private model: Engine | undefined;
  private run: Run | undefined; // the model's last

  constructor(
    public scene: number,
    private readonly wanted: string[],
    private readonly anyQuery = false, // one that found nothing may be chosen
  ) {
    this.beach = new Beach(SEED, scene);
    this.picture = this.beach.draw();
    this.shore = drawShore(this.beach.regions);
  }

  show(view: View): void {
    this.views.push(view);
  }

  /** Another scene. */
  open(scene: number): void {
    this.scene = scene;
    this.beach = new Beach(SEED, scene);
    this.shore = drawShore(this.beach.regions);
    this.chosen = -1;
    this.change();
  }

  /** The horizon, in pixels of the scene's canvas. */
  moveHorizon(top: number): void {
    this.beach.moveHorizon(top);
    this.shore = drawShore(this.beach.regions);
    this.change();
  }

  /** Switches a part of the model off or on, or a mistake on or off. */
  set(change: Change, on: boolean): void {
    if (on) this.changes.add(change);
    else this.changes.delete(change);
    this.change();
  }

  /** Something on the beach was changed: draw, and ask the model. */
  change(): void {
    this.picture = this.beach.draw();
    this.stale = true;
    void this.ask();
    for (const view of this.views) view.picture?.();
  }

  /** Asks the model, unless it is still busy: then once more afterwards. */
  async ask(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      // Once it is there the picture goes to it at once, before it is drawn.
      this.model ??= await engine();
      while (this.stale) {
        this.stale = false;
        const { model, picture } = this;
        const names = ["class_logits", "boxes", "mask_logits", ...this.wanted];
        const { pixels } = picture;
        const { masks, changes } = this;
        const task = { pixels, masks, wanted: names, changes: [...changes] };
        this.run = await model.run(task);
        this.read();
      }
    } finally {
      this.busy = false;
    }
  }

  /** Reads the model's last results, perhaps in another way. */
  read(reading: Reading = {}): void {
    Object.assign(this.reading, reading);
    if (this.run === undefined) return;
    this.answer = understood(this.model!, this.run, this.reading);
    this.keepChoice();
    for (const view of this.views) view.answer?.();
  }

  /** Looks at a query. */
  choose(query: number): void {
    this.followed = undefined;
    this.look(query);
  }

  /** Looks at a thing's segment, wherever the thing goes. */
  follow(thing: Thing | undefined): void {
    this.followed = thing;
    this.look(this.queryOf(thing));
  }

  private look(query: number): void {
    if (query < 0 || query === this.chosen) return;
    this.chosen = query;
    for (const view of this.views) view.choice?.();
  }

  /** The query that found a thing: whose segment its center lies in. */
  private queryOf(thing: Thing | undefined): number {
    if (thing === undefined) return -1;
    const query = this.queryAt(thing.cx / CANVAS, thing.cy / CANVAS);
    return this.answer?.all[query]?.label === thing.label ? query : -1;
  }

  /** The query whose segment a point lies in; x and y from 0 to 1. */
  queryAt(x: number, y: number): number {
    if (this.answer === undefined) return -1;
    const clip = (part: number) =>
      Math.min(SIZE - 1, Math.max(0, Math.floor(part * SIZE)));
    const { panoptic, kept } = this.answer;
    const position = panoptic.map[clip(y) * SIZE + clip(x)];
    return position < 0 ? -1 : kept[position].query;
  }

  /** What the chosen query found. */
  get found(): Found | undefined {
    return this.answer?.all.find(({ query }) => query === this.chosen);
  }

  /** Segments by position in kept, without those that have no pixel. */
  get segments(): Found[] {
    if (this.answer === undefined) return [];
    const { kept, panoptic } = this.answer;
    return kept.filter((_, i) => panoptic.areas[i] > 0);
  }

  /** A query that lost its segment gives the choice to the first thing. */
  private keepChoice(): void {
    const { segments } = this;
    const followed = this.queryOf(this.followed);
    if (followed >= 0) this.chosen = followed;
    if (this.anyQuery && this.chosen >= 0) return;
    if (segments.some(({ query }) => query === this.chosen)) return;
    const thing = segments.find(({ label }) => ISTHING[label]);
    this.chosen = (thing ?? segments[0])?.query ?? -1;
  }
}

/** Reads an answer out of results. */
function understood(
  { config }: Engine,
  { results, milliseconds }: Run,
  { threshold = config.threshold, ways = USUAL, halves = false }: Reading,
): Answer {
  const { num_queries, decoder_layers } = config;
  const logits = results[`class_logits.${decoder_layers - 1}`].data;
  let kept = found(logits, num_queries, threshold);
  const { data, shape } = results.mask_logits;
  const [, side] = shape;
  let masks: Float32Array[] = kept.map(({ query }) =>
    data.subarray(query * side * side, (query + 1) * side * side),
  );
  if (halves) [kept, masks] = inHalves(kept, masks, side);
  const segments = (size: number) => {
    const minArea = ways.minArea * (size / SIZE) ** 2;
    const own = { ...ways, minArea };
    return panopticSegmentation(masks, side, kept, ISTHING, size, own);
  };
  return {
    config,
    results,
    all: bestClasses(logits, num_queries),
    kept,
    masks,
    panoptic: segments(SIZE),
    fine: segments(FINE).map,
    milliseconds,
  };
}

/** Lets two queries share each stuff: the second has the right half. */
function inHalves(
  kept: Found[],
  masks: Float32Array[],
  side: number,
): [Found[], Float32Array[]] {
  const half = (mask: Float32Array, right: boolean) =>
    mask.map((x, i) => (i % side < side / 2 === right ? x - 50 : x));
  const stuff = kept.filter(({ label }) => !ISTHING[label]);
  const copies = stuff.map((one) => half(masks[kept.indexOf(one)], true));
  const all = masks.map((mask, i) =>
    ISTHING[kept[i].label] ? mask : half(mask, false),
  );
  return [
    [...kept, ...stuff],
    [...all, ...copies],
  ];
}
