// The film of the training, as tools/make_web_film.py describes it.

import type { Found } from "../../engine/classes";
import { fromBase64 } from "../../engine/weights";
import { loadBeside } from "../parts/scripts";

declare global {
  var detrLiteFilm: string | undefined;
}

export interface Phase {
  name: string;
  steps: number[]; // that frames were taken at
  losses: [step: number, loss: number][];
}

interface Header {
  scenes: number[];
  mask_scale: number;
  phases: Phase[];
  tensors: [name: string, shape: number[], kind: string, at: number][];
}

/** What the model says of a scene at one step of its training. */
export interface Frame {
  phase: Phase;
  step: number;
  /** (4, N): centers and sizes. */
  boxes: Float32Array;
  /** The best class of each query, "no object" included. */
  said: Found[];
  /** For each true segment its query. */
  queries: number[];
  /** Of each query, h w numbers from 0 to 1. */
  maps: Float32Array[];
  /** Of each query, logits; none while the boxes are trained. */
  masks: Float32Array[] | undefined;
}

const KINDS = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array };
type Numbers = Uint8Array | Int8Array | Uint16Array;

/** All frames, and what they were taken of. */
export class Film {
  readonly scenes: number[];
  readonly phases: Phase[];
  readonly count: number; // of frames
  private readonly scale: number;
  private readonly arrays = new Map<string, [Numbers, number[]]>();

  constructor(file: Uint8Array<ArrayBuffer>) {
    const size = new DataView(file.buffer).getUint32(0, true);
    const text = new TextDecoder().decode(file.subarray(4, 4 + size));
    const header = JSON.parse(text) as Header;
    this.scenes = header.scenes;
    this.phases = header.phases;
    this.scale = header.mask_scale;
    this.count = header.phases.reduce((sum, x) => sum + x.steps.length, 0);
    for (const [name, shape, kind, at] of header.tensors) {
      const count = shape.reduce((a, b) => a * b, 1);
      const Kind = KINDS[kind as keyof typeof KINDS];
      const numbers = new Kind(file.buffer, 4 + size + at, count);
      this.arrays.set(name, [numbers, shape]);
    }
  }

  static async load(): Promise<Film> {
    if (globalThis.detrLiteFilm === undefined) await loadBeside("film.js");
    return new Film(fromBase64(globalThis.detrLiteFilm!));
  }

  /** A frame of a scene, both by their positions in the film. */
  frame(index: number, scene: number): Frame {
    let phase = 0;
    let place = index;
    while (place >= this.phases[phase].steps.length) {
      place -= this.phases[phase++].steps.length;
    }
    const boxes = this.rows("boxes", index, scene);
    const classes = this.rows("classes", index, scene);
    const masks = this.arrays.get("masks")![1][0]; // frames that have some
    const first = this.count - masks;
    const parts = (rows: Float32Array[], scale: number) =>
      rows.map((row) => row.map((x) => x / scale));
    return {
      phase: this.phases[phase],
      step: this.phases[phase].steps[place],
      boxes: transposed(boxes).map((x) => x / 65535),
      said: classes.map(best),
      queries: [...this.rows("queries", index, scene)].map(([x]) => x),
      maps: parts(this.rows("maps", index, scene), 255),
      masks:
        index < first
          ? undefined
          : parts(this.rows("masks", index - first, scene), this.scale),
    };
  }

  /** What an array holds for one frame of one scene: a row for each entry. */
  private rows(name: string, frame: number, scene: number): Float32Array[] {
    const [numbers, shape] = this.arrays.get(name)!;
    const [, scenes, count, ...rest] = shape;
    const size = rest.reduce((a, b) => a * b, 1);
    const start = (frame * scenes + scene) * count * size;
    return Array.from({ length: count }, (_, i) => {
      const from = start + i * size;
      return Float32Array.from(numbers.subarray(from, from + size));
    });
  }
}

function best(probabilities: Float32Array, query: number): Found {
  const most = Math.max(...probabilities);
  return { query, label: probabilities.indexOf(most), score: most / 255 };
}

/** Rows of numbers as columns, in one piece. */
function transposed(rows: Float32Array[]): Float32Array {
  const count = rows.length;
  return Float32Array.from(
    { length: count * rows[0].length },
    (_, i) => rows[i % count][Math.floor(i / count)],
  );
}
