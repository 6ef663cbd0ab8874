// What a page may ask of the model besides its answer: to do without
// something, or to make a mistake that real programs made.

/** Levels of the pyramid that the mask head adds. */
export type Level = "res2" | "res3" | "res4";

/**
 * Parts that the model can be run without: a level altogether, or only its
 * detail, so that its mean over all places is added at each of them.
 */
export type Missing = "encodings" | Level | `${Level}_detail`;

/** Mistakes in the model itself; names as in detr_lite.teaching.faults. */
export type Mistake =
  | "batch_first"
  | "memory_swapped"
  | "no_object_ignored"
  | "padding_mask_lost"
  | "per_head_softmax"
  | "positions_lost";

export type Change = Missing | Mistake;

/** Rows and columns of a picture on its canvas; the rest is padding. */
export type Size = [rows: number, columns: number];

/** Which of h x w positions are padding, or undefined if none is. */
export function paddedPositions(
  side: number,
  [rows, columns]: Size,
): Uint8Array | undefined {
  if (rows === side && columns === side) return undefined;
  return Uint8Array.from({ length: side * side }, (_, i) =>
    Number(i % side >= columns || Math.floor(i / side) >= rows),
  );
}
