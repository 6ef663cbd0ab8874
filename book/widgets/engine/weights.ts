// The file of weights, as tools/make_web_weights.py describes it.

import { type Config, check } from "./models";
import type { Heap, Tensor } from "./tensor";

interface Header {
  config: Config;
  mean: number[];
  std: number[];
  tensors: [name: string, shape: number[], kind: string, at: number][];
}

/** Parameters by name, on a heap, and what else the file says. */
export class Weights {
  readonly config: Config;
  readonly mean: number[];
  readonly std: number[];
  private readonly tensors = new Map<string, Tensor>();

  constructor(
    readonly heap: Heap,
    file: Uint8Array<ArrayBuffer>,
  ) {
    const size = new DataView(file.buffer).getUint32(0, true);
    const text = new TextDecoder().decode(file.subarray(4, 4 + size));
    const header = JSON.parse(text) as Header;
    this.config = check(header.config);
    this.mean = header.mean;
    this.std = header.std;
    for (const [name, shape, kind, at] of header.tensors) {
      const tensor = heap.take(...shape);
      const read = kind === "int8" ? readBytes : readHalves;
      read(file.buffer, 4 + size + at, tensor);
      this.tensors.set(name, tensor);
    }
    heap.keep();
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  get(name: string): Tensor {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) {
      throw new Error(`The weights have no ${name}; make them again.`);
    }
    return tensor;
  }
}

/** One float32 scale for each row, then a signed byte for each number. */
function readBytes(file: ArrayBuffer, at: number, tensor: Tensor): void {
  const [rows, columns] = tensor.matrix;
  const scales = new Float32Array(file, at, rows);
  const bytes = new Int8Array(file, at + scales.byteLength, tensor.size);
  const { data } = tensor;
  for (let i = 0; i < data.length; i++) {
    data[i] = bytes[i] * scales[Math.floor(i / columns)];
  }
}

/** Two bytes for each number: sign, five bits of exponent, ten of fraction. */
function readHalves(file: ArrayBuffer, at: number, tensor: Tensor): void {
  const halves = new Uint16Array(file, at, tensor.size);
  const { data } = tensor;
  for (let i = 0; i < data.length; i++) {
    const sign = halves[i] & 0x8000 ? -1 : 1;
    const exponent = (halves[i] >> 10) & 31;
    const fraction = (halves[i] & 1023) / 1024;
    data[i] =
      exponent === 0
        ? sign * fraction * 2 ** -14
        : sign * (1 + fraction) * 2 ** (exponent - 15);
  }
}

/** Bytes from their base64. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** The transpose of a matrix, as a new tensor. */
export function transposed(matrix: Tensor): Tensor {
  const [rows, columns] = matrix.matrix;
  const result = matrix.heap.take(columns, rows);
  const from = matrix.data;
  const to = result.data;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
  }
  return result;
}
