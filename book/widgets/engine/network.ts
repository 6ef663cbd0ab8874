// What every stage works with: weights, a heap, and a place for results.

import type { Change, Size } from "./changes";
import type { Config } from "./models";
import type { Heap, Tensor } from "./tensor";
import { Weights } from "./weights";

/** The weights of a model, and the results of the picture it saw last. */
export class Network {
  readonly weights: Weights;
  readonly config: Config;
  readonly results = new Map<string, Tensor>();
  changes: ReadonlySet<Change> = new Set();
  inside: Size = [0, 0]; // positions of the picture that are no padding
  padded: Uint8Array | undefined; // 1 for each position that is

  constructor(
    readonly heap: Heap,
    file: Uint8Array<ArrayBuffer>,
  ) {
    this.weights = new Weights(heap, file);
    this.config = this.weights.config;
  }

  /** Forgets the last picture. */
  clear(): void {
    this.results.clear();
    this.heap.clear();
  }

  /** Notes a result under a name, so that a page can ask for it. */
  note(name: string, tensor: Tensor): Tensor {
    this.results.set(name, tensor);
    return tensor;
  }
}
