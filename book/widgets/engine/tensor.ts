// Tensors: numbers on one heap, and the matrix product of two of them.
//
// There is one picture at a time, so no tensor has a batch in front.  Feature
// maps are channels x rows x columns, and tokens are *columns*: what PyTorch
// has as L x d is d x L here.  So the maps of a picture are its tokens as
// they lie, and a linear layer is the product of its weight with them.

/** C = A B + bias on the heap; product/product.ts says what the numbers are. */
export type Multiply = (
  m: number,
  n: number,
  k: number,
  a: number,
  aRow: number,
  aColumn: number,
  b: number,
  bRow: number,
  c: number,
  cRow: number,
  bias: number,
) => void;

const MEGABYTES = 64;

/** One piece of memory for weights and results, which WebAssembly sees too. */
export class Heap {
  readonly floats: Float32Array;
  multiply: Multiply;
  private top = 4;
  private bottom = 4;

  private constructor(memory: ArrayBuffer) {
    this.floats = new Float32Array(memory);
    this.multiply = plainMultiply(this.floats);
  }

  /** Returns an empty heap; wasm: the product, as WebAssembly. */
  static async create(wasm?: Uint8Array<ArrayBuffer>): Promise<Heap> {
    if (wasm !== undefined) {
      try {
        const memory = new WebAssembly.Memory({ initial: MEGABYTES * 16 });
        const made = await WebAssembly.instantiate(wasm, { env: { memory } });
        const heap = new Heap(memory.buffer);
        heap.multiply = made.instance.exports.multiply as Multiply;
        return heap;
      } catch {
        // No WebAssembly, or none with SIMD: plain JavaScript will do.
      }
    }
    return new Heap(new ArrayBuffer(MEGABYTES * 2 ** 20));
  }

  /** A new tensor; what its numbers are is up to who asked for it. */
  take(...shape: number[]): Tensor {
    const tensor = new Tensor(this, this.top, shape);
    this.top += (tensor.size + 3) & ~3;
    if (this.top > this.floats.length) throw new Error("The heap is full.");
    return tensor;
  }

  /** Everything taken so far stays. */
  keep(): void {
    this.bottom = this.top;
  }

  /** Everything taken since keep() is given back. */
  clear(): void {
    this.top = this.bottom;
  }
}

/** A piece of the heap with a shape. */
export class Tensor {
  readonly size: number;

  constructor(
    readonly heap: Heap,
    readonly at: number,
    readonly shape: readonly number[],
  ) {
    this.size = shape.reduce((a, b) => a * b, 1);
  }

  /** The numbers themselves; who changes them changes the tensor. */
  get data(): Float32Array {
    return this.heap.floats.subarray(this.at, this.at + this.size);
  }

  /** The same numbers, of another shape. */
  view(...shape: number[]): Tensor {
    return new Tensor(this.heap, this.at, shape);
  }

  /** Some entries along the first dimension, not copied. */
  rows(from: number, to: number): Tensor {
    const [all, ...rest] = this.shape;
    const row = this.size / all;
    return new Tensor(this.heap, this.at + from * row, [to - from, ...rest]);
  }

  /** One entry along the first dimension, not copied. */
  part(index: number): Tensor {
    return this.rows(index, index + 1).view(...this.shape.slice(1));
  }

  /** The shape as a matrix: rows, and all the rest as columns. */
  get matrix(): [number, number] {
    return [this.shape[0], this.size / this.shape[0]];
  }
}

/** (m, k) times (k, ...) plus a bias for each row: (m, ...). */
export function product(a: Tensor, b: Tensor, bias?: Tensor): Tensor {
  const [m, k] = a.matrix;
  return into(a, m, k, 1, b, bias);
}

/** The transpose of (k, m) times (k, ...): (m, ...). */
export function productOfTransposed(a: Tensor, b: Tensor): Tensor {
  const [, m] = a.matrix;
  return into(a, m, 1, m, b);
}

function into(
  a: Tensor,
  m: number,
  aRow: number,
  aColumn: number,
  b: Tensor,
  bias?: Tensor,
): Tensor {
  const [k, n] = b.matrix;
  const c = a.heap.take(m, ...b.shape.slice(1));
  const start = bias === undefined ? -1 : bias.at;
  a.heap.multiply(m, n, k, a.at, aRow, aColumn, b.at, n, c.at, n, start);
  return c;
}

/** The matrix product in plain JavaScript: the same, several times slower. */
function plainMultiply(floats: Float32Array): Multiply {
  return (m, n, k, a, aRow, aColumn, b, bRow, c, cRow, bias) => {
    const sums = new Float64Array(n);
    for (let i = 0; i < m; i++) {
      sums.fill(bias < 0 ? 0 : floats[bias + i]);
      for (let p = 0; p < k; p++) {
        const x = floats[a + i * aRow + p * aColumn];
        const row = b + p * bRow;
        for (let j = 0; j < n; j++) sums[j] += x * floats[row + j];
      }
      floats.set(sums, c + i * cRow);
    }
  };
}
