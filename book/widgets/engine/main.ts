// The engine's side of the conversation with a page.
//
// It runs in a worker, so that a page stays smooth while the model computes;
// where there is none, in the page itself.  Both talk through a MessagePort.

import wasm from "../product.wasm";
import type { Change, Size } from "./changes";
import { Network } from "./network";
import { run } from "./panoptic_detr";
import { Heap } from "./tensor";
import { fromBase64 } from "./weights";

/** What the model is to look at, and what the page wants to know. */
export interface Task {
  pixels: Uint8ClampedArray;
  masks: "found" | "all"; // which queries get one
  wanted: string[]; // names of results
  changes?: Change[];
  size?: Size; // of the picture, if it doesn't fill its canvas
}

/** What a page sends: first the weights, then tasks. */
export type Request =
  | { kind: "weights"; base64: string; plain: boolean }
  | { kind: "task"; id: number; task: Task };

/** What the engine answers: results by name; a shape and its numbers each. */
export type Answer =
  | { kind: "ready"; config: Network["config"] }
  | { kind: "results"; id: number; results: Results; milliseconds: number }
  | { kind: "failed"; message: string };

export interface Result {
  shape: number[];
  data: Float32Array<ArrayBuffer>;
}
export type Results = Record<string, Result>;

/** Answers what comes through a port. */
function serve(port: MessagePort | Worker): void {
  let net: Network | undefined;
  const answer = (message: Answer, moved: Transferable[] = []) =>
    port.postMessage(message, moved);
  port.onmessage = async ({ data: request }: MessageEvent<Request>) => {
    try {
      if (request.kind === "weights") {
        const heap = await Heap.create(request.plain ? undefined : wasm);
        net = new Network(heap, fromBase64(request.base64));
        answer({ kind: "ready", config: net.config });
      } else if (net !== undefined) {
        const before = performance.now();
        const { id, task } = request;
        run(net, task.pixels, task.masks, task.changes, task.size);
        const milliseconds = performance.now() - before;
        const results = copies(net, task.wanted);
        const moved = Object.values(results).map(({ data }) => data.buffer);
        answer({ kind: "results", id, results, milliseconds }, moved);
      }
    } catch (error) {
      answer({ kind: "failed", message: (error as Error).message });
    }
  };
}

/** Results by name; "stage5" or "boxes" stands for all that begin so. */
function copies(net: Network, wanted: string[]): Results {
  const results: Results = {};
  for (const [name, { shape, data }] of net.results) {
    const [group] = name.split(".");
    if (wanted.includes(name) || wanted.includes(group)) {
      results[name] = {
        shape: [...shape],
        data: data.slice() as Result["data"],
      };
    }
  }
  return results;
}

if (typeof document === "undefined") {
  serve(self as unknown as Worker);
} else {
  Object.assign(globalThis, { detrLiteServe: serve });
}
