// The matrix product, where nearly all of the time goes: C = A B + bias.
//
// AssemblyScript, compiled to WebAssembly with SIMD: a v128 holds four
// numbers and computes with all of them at once.  A block of 4 x 8 results
// stays in registers while its sums run, so that each number that is read
// takes part in several products.  Long sums are made of shorter ones: a
// float that has grown large would swallow the last digits of what is added.

const SHORT: i32 = 32; // products in a shorter sum

/**
 * C (m x n) = A (m x k) B (k x n), plus bias[i] in row i if bias is not -1.
 *
 * Where the matrices begin and the steps from a row to the next (of A, from
 * a column to the next too) are counted in floats; n is a multiple of 4.
 */
export function multiply(
  m: i32,
  n: i32,
  k: i32,
  a: i32,
  aRow: i32,
  aColumn: i32,
  b: i32,
  bRow: i32,
  c: i32,
  cRow: i32,
  bias: i32,
): void {
  for (let i = 0; i < m; i++) {
    const start = bias < 0 ? f32x4.splat(0) : one(bias + i);
    for (let j = 0; j < n; j += 4) put(c + i * cRow + j, start);
  }
  for (let p = 0; p < k; p += SHORT) {
    const some = min(SHORT, k - p);
    accumulate(
      m,
      n,
      some,
      a + p * aColumn,
      aRow,
      aColumn,
      b + p * bRow,
      bRow,
      c,
      cRow,
    );
  }
}

/** C += A B, for a short k. */
function accumulate(
  m: i32,
  n: i32,
  k: i32,
  a: i32,
  aRow: i32,
  aColumn: i32,
  b: i32,
  bRow: i32,
  c: i32,
  cRow: i32,
): void {
  const zero = f32x4.splat(0);
  // In the innermost loop places are counted in bytes and only added to.
  const nextColumn = aColumn << 2;
  const nextRow = bRow << 2;
  for (let i = 0; i < m; i += 4) {
    // Rows past the end repeat the last one: same numbers, same place.
    const i1 = min(i + 1, m - 1);
    const i2 = min(i + 2, m - 1);
    const i3 = min(i + 3, m - 1);
    const c0 = c + i * cRow;
    const c1 = c + i1 * cRow;
    const c2 = c + i2 * cRow;
    const c3 = c + i3 * cRow;
    let j = 0;
    for (; j + 8 <= n; j += 8) {
      // The left four columns of the four rows, and the right four.
      let l0 = zero;
      let l1 = zero;
      let l2 = zero;
      let l3 = zero;
      let r0 = zero;
      let r1 = zero;
      let r2 = zero;
      let r3 = zero;
      let a0 = (a + i * aRow) << 2;
      let a1 = (a + i1 * aRow) << 2;
      let a2 = (a + i2 * aRow) << 2;
      let a3 = (a + i3 * aRow) << 2;
      let at = (b + j) << 2;
      for (let p = 0; p < k; p++) {
        const left = v128.load(at);
        const right = v128.load(at, 16);
        let x = v128.load32_splat(a0);
        l0 = f32x4.add(l0, f32x4.mul(x, left));
        r0 = f32x4.add(r0, f32x4.mul(x, right));
        x = v128.load32_splat(a1);
        l1 = f32x4.add(l1, f32x4.mul(x, left));
        r1 = f32x4.add(r1, f32x4.mul(x, right));
        x = v128.load32_splat(a2);
        l2 = f32x4.add(l2, f32x4.mul(x, left));
        r2 = f32x4.add(r2, f32x4.mul(x, right));
        x = v128.load32_splat(a3);
        l3 = f32x4.add(l3, f32x4.mul(x, left));
        r3 = f32x4.add(r3, f32x4.mul(x, right));
        a0 += nextColumn;
        a1 += nextColumn;
        a2 += nextColumn;
        a3 += nextColumn;
        at += nextRow;
      }
      addRows(c0 + j, c1 + j, c2 + j, c3 + j, l0, l1, l2, l3);
      const e = j + 4;
      addRows(c0 + e, c1 + e, c2 + e, c3 + e, r0, r1, r2, r3);
    }
    const a0 = a + i * aRow;
    const a1 = a + i1 * aRow;
    const a2 = a + i2 * aRow;
    const a3 = a + i3 * aRow;
    for (; j < n; j += 4) {
      let l0 = zero;
      let l1 = zero;
      let l2 = zero;
      let l3 = zero;
      for (let p = 0; p < k; p++) {
        const left = four(b + p * bRow + j);
        const at = p * aColumn;
        l0 = f32x4.add(l0, f32x4.mul(one(a0 + at), left));
        l1 = f32x4.add(l1, f32x4.mul(one(a1 + at), left));
        l2 = f32x4.add(l2, f32x4.mul(one(a2 + at), left));
        l3 = f32x4.add(l3, f32x4.mul(one(a3 + at), left));
      }
      addRows(c0 + j, c1 + j, c2 + j, c3 + j, l0, l1, l2, l3);
    }
  }
}

/** Adds to four rows; all are read before the first is written. */
function addRows(
  c0: i32,
  c1: i32,
  c2: i32,
  c3: i32,
  x0: v128,
  x1: v128,
  x2: v128,
  x3: v128,
): void {
  const y0 = f32x4.add(four(c0), x0);
  const y1 = f32x4.add(four(c1), x1);
  const y2 = f32x4.add(four(c2), x2);
  const y3 = f32x4.add(four(c3), x3);
  put(c0, y0);
  put(c1, y1);
  put(c2, y2);
  put(c3, y3);
}

/** Four numbers from a place on. */
function four(at: i32): v128 {
  return v128.load(at << 2);
}

/** The number at a place, four times. */
function one(at: i32): v128 {
  return v128.load32_splat(at << 2);
}

function put(at: i32, numbers: v128): void {
  v128.store(at << 2, numbers);
}
