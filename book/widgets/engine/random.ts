// NumPy's RandomState: the Mersenne Twister MT19937, seeded by a list of
// numbers.  NumPy has frozen it, so a scene's numbers stay what they are.

const SIZE = 624;
const SHIFT = 397;

/** The stream of RandomState(key). */
export class RandomState {
  private readonly state = new Uint32Array(SIZE);
  private used = SIZE;

  constructor(key: number[]) {
    const { state } = this;
    // Math.imul multiplies 32-bit integers; the array keeps 32 bits of sums.
    const mixed = (i: number) => state[i] ^ (state[i] >>> 30);
    state[0] = 19650218;
    for (let i = 1; i < SIZE; i++) {
      state[i] = Math.imul(1812433253, mixed(i - 1)) + i;
    }
    let i = 1;
    const advance = () => {
      i++;
      if (i === SIZE) {
        state[0] = state[SIZE - 1];
        i = 1;
      }
    };
    for (let k = 0; k < SIZE; k++) {
      const j = k % key.length;
      state[i] = (state[i] ^ Math.imul(mixed(i - 1), 1664525)) + key[j] + j;
      advance();
    }
    for (let k = 1; k < SIZE; k++) {
      state[i] = (state[i] ^ Math.imul(mixed(i - 1), 1566083941)) - i;
      advance();
    }
    state[0] = 0x80000000;
  }

  /** The next 32 bits. */
  private next(): number {
    const { state } = this;
    if (this.used === SIZE) {
      for (let i = 0; i < SIZE; i++) {
        const after = state[(i + 1) % SIZE];
        const y = (state[i] & 0x80000000) | (after & 0x7fffffff);
        const twist = y & 1 ? 0x9908b0df : 0;
        state[i] = state[(i + SHIFT) % SIZE] ^ (y >>> 1) ^ twist;
      }
      this.used = 0;
    }
    let y = state[this.used++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  /** randint(low, high + 1): bits are drawn until they are in the range. */
  between(low: number, high: number): number {
    const range = high - low;
    if (range === 0) return low;
    const mask = 2 ** Math.ceil(Math.log2(range + 1)) - 1;
    for (;;) {
      const value = this.next() & mask;
      if (value <= range) return low + value;
    }
  }

  /** bytes(count), count a multiple of 4: each number gives four bytes. */
  bytes(count: number): Uint8Array {
    const result = new Uint8Array(count);
    for (let i = 0; i < count; i += 4) {
      const bits = this.next();
      for (let k = 0; k < 4; k++) result[i + k] = bits >>> (8 * k);
    }
    return result;
  }
}
