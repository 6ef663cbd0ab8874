// A beach and the model's answer to it, kept up to date.

import type { Change } from "../../engine/changes";
import { bestClasses, type Found, found } from "../../engine/classes";
import type { Results } from "../../engine/main";
import type { Config } from "../../engine/models";
import {
  type Panoptic,
  panopticSegmentation,
  USUAL,
  type Ways,
} from "../../engine/panoptic";
import {
  Beach,
  ISTHING,
  type Picture,
  SIZE,
  type Thing,
} from "../../engine/scenes";
import { drawShore } from "./beach_drawing";
import { type Engine, engine, type Run } from "./engine";

export const SEED = 2; // of the validation scenes: the model was not trained on them

// The same mask logits, compared at more places than the model's 96 x 96
// pixels, so that outlines are as fine as the screen.
export const FINE = 288;

/** The results that every answer is read from. */
export const ALWAYS = ["class_logits", "boxes", "mask_logits"];

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
  readonly first: number; // the scene of the beginning
  beach: Beach;
  picture: Picture;
  shore: HTMLCanvasElement;
  answer: Answer | undefined;
  chosen = -1; // a query
  masks: "found" | "all" = "found"; // which queries get one
  readonly changes = new Set<Change>(); // what the model is to do otherwise
  answered: ReadonlySet<Change> = new Set(); // the same, of this answer
  reading: Reading = {};
  followed: Thing | undefined; // what the chosen segment lies on, if a thing
  private owners = new Map<number, Thing>(); // by query: what it lies on
  private judged: Thing[] = []; // what was there when the model answered
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
    this.first = scene;
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
    this.followed = undefined;
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
        await this.compute(this.model);
      }
    } finally {
      this.busy = false;
    }
  }

  /** Shows the model the picture. */
  protected async compute(model: Engine): Promise<void> {
    const { masks } = this;
    const changes = new Set(this.changes);
    const { pixels } = this.picture;
    const wanted = [...ALWAYS, ...this.wanted];
    this.run = await model.run({
      pixels,
      masks,
      wanted,
      changes: [...changes],
    });
    this.answered = changes;
    this.read();
  }

  /** Reads the model's last results, perhaps in another way. */
  read(reading: Reading = {}): void {
    Object.assign(this.reading, reading);
    if (this.run === undefined) return;
    this.answer = understood(this.model!, this.run, this.reading);
    this.judged = [...this.beach.things];
    this.owners = owners(this.answer, this.picture, this.beach);
    this.keepChoice();
    for (const view of this.views) view.answer?.();
  }

  /** Looks at a query, and at the thing that its segment lies on. */
  choose(query: number): void {
    if (query >= 0) this.look(query, this.owners.get(query));
  }

  /** Looks at a thing, and at its segment, wherever the thing goes. */
  follow(thing: Thing | undefined): void {
    const query = this.queryOf(thing);
    this.look(query < 0 ? this.chosen : query, thing);
  }

  private look(query: number, thing: Thing | undefined): void {
    if (query === this.chosen && thing === this.followed) return;
    this.chosen = query;
    this.followed = thing;
    for (const view of this.views) view.choice?.();
  }

  /** The query that found a thing, by the right name if there are two. */
  private queryOf(thing: Thing | undefined): number {
    if (thing === undefined) return -1;
    const own = this.segments.filter(
      ({ query }) => this.owners.get(query) === thing,
    );
    const right = own.find(({ label }) => label === thing.label);
    return (right ?? own[0])?.query ?? -1;
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

  /** The thing that the reader follows, if no segment lies on it. */
  get missed(): Thing | undefined {
    const thing = this.followed;
    // One that was just added is not missed yet.
    const shown = thing !== undefined && this.judged.includes(thing);
    return shown && this.queryOf(thing) < 0 ? thing : undefined;
  }

  /** A thing that several segments lie on. */
  get foundTwice(): Thing | undefined {
    const things = this.segments.map(({ query }) => this.owners.get(query));
    return things.find((thing, i) => thing && things.indexOf(thing) < i);
  }

  /** Segments in an order that stays while things move: things, then stuff. */
  get inOrder(): Found[] {
    const { things } = this.beach;
    const rank = ({ query, label }: Found) => {
      const thing = this.owners.get(query);
      if (thing !== undefined) return things.indexOf(thing);
      return things.length + label;
    };
    return this.segments.sort((a, b) => rank(a) - rank(b));
  }

  /** A query that lost its segment gives the choice to the first thing. */
  private keepChoice(): void {
    // Another query may have taken the thing over.
    if (this.owners.get(this.chosen) !== this.followed) {
      const query = this.queryOf(this.followed);
      if (query >= 0) this.chosen = query;
    }
    const { segments } = this;
    const any = this.anyQuery && this.chosen >= 0;
    if (!any && !segments.some(({ query }) => query === this.chosen)) {
      const thing = segments.find(({ label }) => ISTHING[label]);
      this.chosen = (thing ?? segments[0])?.query ?? -1;
    }
    this.followed ??= this.owners.get(this.chosen);
  }
}

/** The things that the segments of things lie on, by query. */
function owners(
  { kept, panoptic }: Answer,
  { ids, labels }: Picture,
  { things }: Beach,
): Map<number, Thing> {
  const counts = kept.map(() => new Array<number>(labels.length + 1).fill(0));
  panoptic.map.forEach((position, i) => {
    if (position >= 0) counts[position][ids[i]]++;
  });
  const found = new Map<number, Thing>();
  const regions = labels.length - things.length; // their ids come first
  kept.forEach(({ query, label }, position) => {
    const pixels = counts[position];
    const most = Math.max(...pixels);
    const thing = things[pixels.indexOf(most) - 1 - regions];
    if (ISTHING[label] && most > 0 && thing) found.set(query, thing);
  });
  return found;
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
export function inHalves(
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
