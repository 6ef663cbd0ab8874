// How alike the positions of an encoded image are.

/**
 * The cosine of each position's vector with that of one position, after the
 * mean that all positions share is taken off.
 *
 * features: (d, h w); returns (h w), from -1 to 1.
 */
export function similarities(
  features: Float32Array,
  positions: number,
  one: number,
): Float32Array {
  const products = new Float64Array(positions);
  const squares = new Float64Array(positions);
  for (let row = 0; row < features.length; row += positions) {
    const own = features.subarray(row, row + positions);
    const mean = own.reduce((a, b) => a + b, 0) / positions;
    const wanted = own[one] - mean;
    for (let i = 0; i < positions; i++) {
      const x = own[i] - mean;
      products[i] += x * wanted;
      squares[i] += x * x;
    }
  }
  return Float32Array.from(products, (product, i) =>
    product === 0 ? 0 : product / Math.sqrt(squares[i] * squares[one]),
  );
}
