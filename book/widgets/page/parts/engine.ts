// The page's side of the conversation with the engine.

import source from "engine-source";
import type { Answer, Request, Results, Task } from "../../engine/main";
import type { Config } from "../../engine/models";
import { load, loadBeside } from "./scripts";

declare global {
  var detrLiteWeights: string | undefined;
  var detrLiteServe: ((port: MessagePort) => void) | undefined;
}

/** What a picture gives: results by name, and how long they took. */
export interface Run {
  results: Results;
  milliseconds: number;
}

interface Waiting {
  resolve: (run: Run) => void;
  reject: (error: Error) => void;
}

/** The model, behind a port; one for all widgets of a page. */
export class Engine {
  private readonly waiting = new Map<number, Waiting>();
  private runs = 0;

  private constructor(
    private readonly port: Worker | MessagePort,
    readonly config: Config,
  ) {
    port.onmessage = ({ data }: MessageEvent<Answer>) => this.receive(data);
  }

  /** Loads the weights and starts the engine; plain: without WebAssembly. */
  static async start(plain = false, inPage = false): Promise<Engine> {
    const [base64, port] = await Promise.all([weights(), open(inPage)]);
    const config = await new Promise<Config>((resolve, reject) => {
      port.onmessage = ({ data }: MessageEvent<Answer>) => {
        if (data.kind === "ready") resolve(data.config);
        if (data.kind === "failed") reject(new Error(data.message));
      };
      port.postMessage({ kind: "weights", base64, plain } satisfies Request);
    });
    return new Engine(port, config);
  }

  /** Gives the model a task. */
  run(task: Task): Promise<Run> {
    const id = this.runs++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.port.postMessage({ kind: "task", id, task } satisfies Request);
    });
  }

  private receive(answer: Answer): void {
    if (answer.kind === "results") {
      this.waiting.get(answer.id)?.resolve(answer);
      this.waiting.delete(answer.id);
    } else if (answer.kind === "failed") {
      for (const { reject } of this.waiting.values()) {
        reject(new Error(answer.message));
      }
      this.waiting.clear();
    }
  }
}

let shared: Promise<Engine> | undefined;

/** The page's engine, started at the first call. */
export function engine(): Promise<Engine> {
  shared ??= Engine.start();
  return shared;
}

/** Loads the script that holds the weights. */
async function weights(): Promise<string> {
  if (globalThis.detrLiteWeights === undefined) {
    await loadBeside("weights.js");
  }
  return globalThis.detrLiteWeights!;
}

/** Starts a worker from the engine's text, or the engine in the page. */
async function open(inPage: boolean): Promise<Worker | MessagePort> {
  const url = URL.createObjectURL(
    new Blob([source], { type: "text/javascript" }),
  );
  if (!inPage) {
    try {
      return new Worker(url);
    } catch {
      // A browser that allows no workers here: the page must do.
    }
  }
  await load(url);
  const { port1, port2 } = new MessageChannel();
  globalThis.detrLiteServe!(port2);
  return port1;
}
