// What is seen with a fault and without it, and what two measures say of it.

import { agreement, type Box } from "../../engine/boxes";
import { type Found, found } from "../../engine/classes";
import type { Config } from "../../engine/models";
import { enlarged, segmentsOf, USUAL } from "../../engine/panoptic";
import { panopticQuality, type Segments } from "../../engine/quality";
import { ISTHING, NAMES, type Picture, SIZE } from "../../engine/scenes";
import type { Run } from "../parts/engine";
import { inHalves } from "../parts/live";
import { boxOf } from "../parts/truth";
import type { Misreading, Situation } from "./fault_exhibits";

/** Rows that are cut off at the top where the situation is padding. */
export const CUT = SIZE / 4;
const UNKNOWN = -1; // the class of an id that no list has

/** All that the pictures and the measures need, in pixels of the scene. */
export interface Seen {
  found: Found[];
  boxes: Box[]; // of each found
  segments: Segments;
  maps: Float32Array; // (M, h w) of the first thing, or of the first found
  looking: string; // what that is
  quality: number; // PQ of this scene
  fit: number; // mean IoU of the boxes with the true ones
}

/** Reads a run, rightly or wrongly, in a situation or in none. */
export function seen(
  config: Config,
  { results }: Run,
  picture: Picture,
  situation?: Situation,
  misreading?: Misreading,
): Seen {
  const { num_queries, threshold, decoder_layers } = config;
  const last = decoder_layers - 1;
  const logits = results[`class_logits.${last}`].data;
  let kept = found(logits, num_queries, threshold);
  const boxes = boxesOf(results[`boxes.${last}`].data, kept, misreading);
  const { data, shape } = results.mask_logits;
  const side = shape[1];
  let masks: Float32Array[] = kept.map(({ query }) =>
    data.subarray(query * side * side, (query + 1) * side * side),
  );
  const all = kept;
  if (situation === "halves") [kept, masks] = inHalves(kept, masks, side);
  const cut = situation === "padding" ? CUT : 0;
  const rows = SIZE - cut; // of the image
  const squeezed = misreading === "squeezed";
  const large = masks.map((mask) =>
    rowsOf(enlarged(mask, side, SIZE), rows, squeezed),
  );
  const mode = misreading === "unmerged" ? "original" : "union";
  const { map } = segmentsOf(large, kept, ISTHING, { ...USUAL, mode });
  const ids = new Uint8Array(SIZE * SIZE);
  map.forEach((position, i) => {
    ids[cut * SIZE + i] = position + 1;
  });
  const labels = kept.map(({ label }) => label);
  const lost = misreading === "bytes" && situation === "file";
  const segments = { ids, labels: lost ? labels.map(() => UNKNOWN) : labels };
  const truth = cutOff(picture, cut);
  const placed = boxes.map((box) => inScene(box, cut));
  const thing = kept.find(({ label }) => ISTHING[label]) ?? kept[0];
  const size = results.attention_maps.data.length / num_queries;
  const from = (thing?.query ?? 0) * size;
  return {
    found: all,
    boxes: placed,
    segments,
    maps: results.attention_maps.data.slice(from, from + size),
    looking: NAMES[thing?.label ?? -1] ?? "",
    quality: panopticQuality(known(segments), truth).pq,
    fit: fitOf(placed, all, truth),
  };
}

/** The boxes of what was found, relative to the image. */
function boxesOf(
  data: Float32Array,
  kept: Found[],
  misreading?: Misreading,
): Box[] {
  const count = data.length / 4;
  return kept.map(({ query }) => {
    const box = [0, 1, 2, 3].map((i) => data[i * count + query]) as Box;
    if (misreading !== "corners") return box;
    // What are a center and a size is taken for two corners.
    const [x0, y0, x1, y1] = box;
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0];
  });
}

/** The image's rows of a mask of the canvas: cropped, or all squeezed in. */
function rowsOf(
  mask: Float32Array,
  rows: number,
  squeezed: boolean,
): Float32Array {
  if (!squeezed) return mask.subarray(0, rows * SIZE);
  const result = new Float32Array(rows * SIZE);
  for (let y = 0; y < rows; y++) {
    const from = Math.floor(((y + 0.5) * SIZE) / rows) * SIZE;
    result.set(mask.subarray(from, from + SIZE), y * SIZE);
  }
  return result;
}

/** A box relative to the image as one relative to the scene. */
function inScene([cx, cy, w, h]: Box, cut: number): Box {
  const rows = SIZE - cut;
  return [cx, (cy * rows + cut) / SIZE, w, (h * rows) / SIZE];
}

/** The truth, without the rows that are cut off. */
function cutOff({ ids, labels }: Picture, cut: number): Segments {
  return { ids: ids.map((id, i) => (i < cut * SIZE ? 0 : id)), labels };
}

/** Segments without those that no list has. */
function known({ ids, labels }: Segments): Segments {
  const there = (id: number) => id > 0 && labels[id - 1] !== UNKNOWN;
  return { ids: Array.from(ids, (id) => (there(id) ? id : 0)), labels };
}

/** How well the best box of its class fits each true segment, on average. */
function fitOf(boxes: Box[], kept: Found[], truth: Segments): number {
  const fits = truth.labels.flatMap((label, i) => {
    const wanted = boxOf(truth.ids, i + 1);
    if (wanted === undefined) return [];
    const own = boxes.filter((_, j) => kept[j].label === label);
    return [Math.max(0, ...own.map((box) => agreement(box, wanted).iou))];
  });
  return fits.reduce((a, b) => a + b, 0) / Math.max(fits.length, 1);
}

/** The image's rows moved to the top of the canvas, as a batch has them. */
export function onCanvas(pixels: Uint8ClampedArray): Uint8ClampedArray {
  const moved = new Uint8ClampedArray(pixels.length);
  moved.set(pixels.subarray(3 * CUT * SIZE));
  return moved;
}
