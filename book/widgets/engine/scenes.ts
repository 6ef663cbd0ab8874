// Scenes: beach pictures, bit for bit those of detr_lite.data.scenes.
//
// A scene is first described, by numbers that a page may change, and then
// drawn.  Everything is drawn with integers, at twice the size, and averaged.

import { RandomState } from "./random";

export const SIZE = 96; // pixels a side
export const CANVAS = 2 * SIZE;
export const NAMES = [
  "ball",
  "crate",
  "tent",
  "starfish",
  "sky",
  "sea",
  "sand",
  "grass",
];
export const ISTHING = NAMES.map((_, label) => label < 4);
export const [BALL, CRATE, TENT, STARFISH] = [0, 1, 2, 3];
export const [SKY, SEA, SAND, GRASS] = [4, 5, 6, 7];

const ONE = 1024; // fixed-point 1.0
export const TURN = 1024; // angles in 1/1024 of a turn
const SINE = Int32Array.from({ length: TURN }, (_, a) =>
  round(ONE * Math.sin((2 * Math.PI * a) / TURN)),
);
const AREAS = [
  [SEA, SAND],
  [SEA],
  [SAND],
  [GRASS],
  [GRASS, SAND],
  [SEA, GRASS],
];
const PALETTES: Record<number, number[][]> = {
  [SKY]: [
    [150, 190, 225],
    [195, 205, 215],
    [225, 180, 160],
    [110, 150, 205],
  ],
  [SEA]: [
    [40, 95, 150],
    [50, 130, 150],
    [85, 120, 160],
  ],
  [SAND]: [
    [215, 190, 140],
    [195, 165, 115],
    [225, 210, 175],
  ],
  [GRASS]: [
    [85, 140, 60],
    [115, 150, 70],
    [60, 110, 60],
  ],
};

/** How a thing is bounded: see _SIDES in the package. */
export interface Sides {
  directions: number[]; // of the sides, in turns
  distance: number; // from the center, as a part of the radius
  needed: number; // how many of the sides a point must lie within
}
export const SIDES: Record<number, Sides> = {
  [CRATE]: { directions: [0, 1 / 4, 2 / 4, 3 / 4], distance: 0.82, needed: 4 },
  [TENT]: {
    directions: [1 / 4, 1 / 4 + 1 / 3, 1 / 4 + 2 / 3],
    distance: 0.64,
    needed: 3,
  },
  [STARFISH]: {
    directions: [0, 1, 2, 3, 4].map((k) => 1 / 4 + k / 5),
    distance: 0.42,
    needed: 4,
  },
};

/** A region of stuff; the edge is its upper one, and the sky has none. */
export interface Region {
  label: number;
  color: number[];
  slope: number; // of the light, from top to bottom
  ripples: number; // of the pattern on sea and grass; 0 elsewhere
  edge?: Edge;
}

export interface Edge {
  top: number;
  waves: number;
  phase: number;
  height: number;
  tilt: number;
}

export interface Thing {
  label: number;
  radius: number;
  cx: number;
  cy: number;
  angle: number;
  color: number[];
  slope: number;
}

export interface Picture {
  pixels: Uint8ClampedArray; // (96, 96, 3)
  ids: Uint8Array; // (96, 96), from 1 on
  labels: number[]; // of id i at i - 1
}

interface Layer {
  canvas: Int16Array; // (192, 192, 3)
  ids: Uint8Array; // (192, 192)
}

/** Python's round: halves go to the even neighbor. */
function round(x: number): number {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

/** Python's //: rounds down, also below 0. */
function div(a: number, b: number): number {
  return Math.floor(a / b);
}

/** A scene whose things and whose horizon can be moved. */
export class Beach {
  readonly regions: Region[];
  things: Thing[] = [];
  private readonly gray: Int16Array;
  private readonly color: Int16Array;
  private stuff: Layer;

  /** The scene of a seed and an index, as render_scene draws it. */
  constructor(seed: number, index: number) {
    const random = new RandomState([seed, index]);
    this.regions = randomRegions(random);
    this.stuff = paintStuff(this.regions);
    const painter = new Painter(this.stuff, this.regions.length);
    const count = random.between(1, 5);
    for (let i = 0; i < count; i++) {
      const thing = randomThing(random, random.between(BALL, STARFISH));
      // What would be hidden to more than half keeps another thing out.
      if (painter.leavesHalf(thing)) {
        painter.paint(thing);
        this.things.push(thing);
      }
    }
    this.gray = noise(random, SIZE * SIZE, 9);
    this.color = noise(random, SIZE * SIZE * 3, 3);
  }

  /** Moves the edge below the sky, and the others with it. */
  moveHorizon(top: number): void {
    const by = top - this.horizon;
    for (const { edge } of this.regions) if (edge) edge.top += by;
    this.stuff = paintStuff(this.regions);
  }

  get horizon(): number {
    return this.regions[1].edge!.top;
  }

  /** The picture that the model sees, and its truth. */
  draw(): Picture {
    const painter = new Painter(this.stuff, this.regions.length);
    for (const thing of this.things) painter.paint(thing);
    const labels = [...this.regions, ...this.things].map((x) => x.label);
    const { canvas, ids } = painter.layer;
    return {
      pixels: shrink(canvas, this.gray, this.color),
      ids: Uint8Array.from({ length: SIZE * SIZE }, (_, i) => {
        const [y, x] = [div(i, SIZE), i % SIZE];
        return ids[2 * y * CANVAS + 2 * x];
      }),
      labels,
    };
  }
}

/** How deep an edge lies at a column of the canvas. */
function depth(edge: Edge, x: number): number {
  const wave = SINE[(x * edge.waves + edge.phase) % TURN];
  return (
    edge.top + div(wave * edge.height, ONE) + div((x - SIZE) * edge.tilt, 128)
  );
}

/** Draws the numbers of two or three regions, in the package's order. */
function randomRegions(random: RandomState): Region[] {
  const labels = [SKY, ...AREAS[random.between(0, AREAS.length - 1)]];
  let top = random.between(div(CANVAS, 5), div(CANVAS, 2));
  const edges = labels.slice(1).map((): Edge => {
    const waves = random.between(2, 10);
    const phase = random.between(0, 1023);
    const height = random.between(0, 8);
    const tilt = random.between(-12, 12);
    const edge = { top, waves, phase, height, tilt };
    top += random.between(div(CANVAS, 5), div(CANVAS, 3));
    return edge;
  });
  return labels.map((label, i) => {
    const palette = PALETTES[label];
    const base = palette[random.between(0, palette.length - 1)];
    const color = base.map((channel) => channel + random.between(-14, 14));
    const slope = random.between(-30, 30);
    const patterned = label === SEA || label === GRASS;
    const ripples = patterned ? random.between(60, 140) : 0;
    return { label, color, slope, ripples, edge: edges[i - 1] };
  });
}

/** The light on a pixel of a region: a slope, and a pattern on some. */
export function light(region: Region, x: number, y: number): number {
  const shade = div((y - SIZE) * region.slope, SIZE);
  if (region.ripples === 0) return shade;
  const [along, across] = region.label === SEA ? [y, x] : [x, y];
  const bend = div(6 * SINE[(9 * across) % TURN], 64);
  const phase = (along * region.ripples + bend) & (TURN - 1);
  return shade + div(SINE[phase] * 14, ONE);
}

function paintStuff(regions: Region[]): Layer {
  const canvas = new Int16Array(CANVAS * CANVAS * 3);
  const ids = new Uint8Array(CANVAS * CANVAS);
  for (let x = 0; x < CANVAS; x++) {
    const depths = regions.map(({ edge }) => (edge ? depth(edge, x) : 0));
    for (let y = 0; y < CANVAS; y++) {
      // As many edges as lie above, in whatever order: the region.
      let index = 0;
      for (let i = 1; i < depths.length; i++) if (y >= depths[i]) index++;
      const at = y * CANVAS + x;
      ids[at] = index + 1;
      const shade = light(regions[index], x, y);
      for (let c = 0; c < 3; c++) {
        canvas[3 * at + c] = regions[index].color[c] + shade;
      }
    }
  }
  return { canvas, ids };
}

/** Draws the numbers of a thing, in the package's order. */
function randomThing(random: RandomState, label: number): Thing {
  const radius = random.between(div(CANVAS, 10), div(CANVAS * 9, 40));
  const half = div(radius, 2);
  const cx = random.between(half, CANVAS - half);
  const cy = random.between(div(CANVAS, 5), CANVAS - half);
  const angle = random.between(-TURN / 16, TURN / 16);
  const color = [0, 1, 2].map(() => random.between(30, 235));
  const high = random.between(0, 2);
  color[high] = random.between(190, 250);
  // Python draws the value before it decides where to put it.
  const low = random.between(10, 70);
  color[(high + random.between(1, 2)) % 3] = low;
  const slope = random.between(-24, 24);
  return { label, radius, cx, cy, angle, color, slope };
}

/** Whether a point at an offset from the center lies in a thing. */
function inside(
  { label, angle }: Thing,
  dx: number,
  dy: number,
  radius: number,
): boolean {
  if (label === BALL) return dx * dx + dy * dy <= radius * radius;
  const { directions, distance, needed } = SIDES[label];
  const limit = round(distance * ONE) * radius;
  let count = 0;
  for (const direction of directions) {
    const turn = (round(direction * TURN) + angle + TURN) % TURN;
    const [cos, sin] = [SINE[(turn + TURN / 4) % TURN], SINE[turn]];
    if (dx * cos + dy * sin <= limit) count++;
  }
  return count >= needed;
}

/** The radius of a thing without its dark outline. */
export function coreRadius(radius: number): number {
  return radius - Math.max(div(radius, 8), 4);
}

/** Paints things over stuff, one after the other. */
class Painter {
  readonly layer: Layer;
  private readonly full: number[]; // the area of each when it was drawn
  private readonly now: number[]; // the area of each that is still seen

  constructor(stuff: Layer, regions: number) {
    this.layer = { canvas: stuff.canvas.slice(), ids: stuff.ids.slice() };
    this.full = new Array<number>(regions).fill(0);
    for (const id of stuff.ids) this.full[id - 1]++;
    this.now = [...this.full];
  }

  /** Whether every segment would keep half of itself below this thing. */
  leavesHalf(thing: Thing): boolean {
    const now = [...this.now];
    for (const at of body(thing)) now[this.layer.ids[at] - 1]--;
    return now.every((area, i) => 2 * area >= this.full[i]);
  }

  paint(thing: Thing): void {
    const { canvas, ids } = this.layer;
    const core = coreRadius(thing.radius);
    const pixels = body(thing);
    this.full.push(pixels.length);
    this.now.push(pixels.length);
    for (const at of pixels) {
      this.now[ids[at] - 1]--;
      ids[at] = this.full.length;
      const [dy, dx] = [div(at, CANVAS) - thing.cy, (at % CANVAS) - thing.cx];
      const filled = inside(thing, dx, dy, core);
      const shade = div(dy * thing.slope, thing.radius);
      for (let c = 0; c < 3; c++) {
        const channel = thing.color[c];
        canvas[3 * at + c] = filled ? channel + shade : div(channel * 3, 8);
      }
    }
  }
}

/** The pixels of the canvas that a thing covers. */
function body(thing: Thing): number[] {
  const { cx, cy, radius } = thing;
  const reach = div(radius * 3, 2);
  const pixels: number[] = [];
  const [y0, y1] = [Math.max(cy - reach, 0), Math.min(cy + reach, CANVAS)];
  const [x0, x1] = [Math.max(cx - reach, 0), Math.min(cx + reach, CANVAS)];
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      if (inside(thing, x - cx, y - cy, radius)) pixels.push(y * CANVAS + x);
    }
  }
  return pixels;
}

/** Integers in [-amplitude, amplitude], near to uniform. */
function noise(
  random: RandomState,
  count: number,
  amplitude: number,
): Int16Array {
  return Int16Array.from(
    random.bytes(count),
    (byte) => ((byte * (2 * amplitude + 1)) >> 8) - amplitude,
  );
}

/** The mean of each 2 x 2 pixels of the canvas, and noise. */
function shrink(
  canvas: Int16Array,
  gray: Int16Array,
  color: Int16Array,
): Uint8ClampedArray {
  const pixels = new Uint8ClampedArray(SIZE * SIZE * 3);
  const below = 3 * CANVAS;
  for (let i = 0; i < SIZE * SIZE; i++) {
    const from = 3 * (2 * div(i, SIZE) * CANVAS + 2 * (i % SIZE));
    for (let c = 0; c < 3; c++) {
      const at = from + c;
      const sum =
        canvas[at] +
        canvas[at + 3] +
        canvas[at + below] +
        canvas[at + below + 3];
      pixels[3 * i + c] = (sum >> 2) + gray[i] + color[3 * i + c];
    }
  }
  return pixels;
}
