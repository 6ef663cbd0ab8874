// The whole model: DETR, its attention maps, and masks from them.

import { attentionMaps, attentionScores } from "./attention_maps";
import { type Change, paddedPositions, type Size } from "./changes";
import { bestClasses, found } from "./classes";
import { detr } from "./detr";
import { maskHead } from "./mask_head";
import type { Network } from "./network";
import type { Tensor } from "./tensor";

const STRIDE = 8; // pixels from a position of the encoded image to the next

/**
 * Runs the model on a picture; every result is in net.results by its name.
 *
 * pixels: H x W x 3 bytes, as the picture lies; masks: which queries get a
 * mask, those that found something or all; changes: what the model does
 * without, or does wrong; size: of the picture, if the rest is padding.
 */
export function run(
  net: Network,
  pixels: ArrayLike<number>,
  masks: "found" | "all",
  changes: Change[] = [],
  size?: Size,
): void {
  const { config } = net;
  net.clear();
  net.changes = new Set(changes);
  const side = config.shortest;
  const picture = size ?? [side, side];
  const image = normalized(net, pixels, picture);
  const seen = net.changes.has("padding_mask_lost") ? [side, side] : picture;
  net.inside = [seen[0] / STRIDE, seen[1] / STRIDE];
  net.padded = paddedPositions(side / STRIDE, net.inside);
  const detection = detr(net, image);
  if (net.changes.has("memory_swapped")) {
    const { src_proj, memory } = detection;
    Object.assign(detection, { src_proj: memory, memory: src_proj });
  }
  detection.box_embeddings.forEach((embeddings, i) => {
    const scores = attentionScores(net, embeddings, detection.memory);
    net.note(`attention_scores.${i}`, scores);
  });
  const last = config.decoder_layers - 1;
  const scores = net.results.get(`attention_scores.${last}`)!;
  const maps = net.note("attention_maps", net.heap.take(...scores.shape));
  const { num_queries, heads, joint_softmax, threshold } = config;
  const joint = joint_softmax && !net.changes.has("per_head_softmax");
  maps.data.set(attentionMaps(scores.data, num_queries, heads, joint));
  const logits = detection.class_logits.data;
  const kept =
    masks === "all"
      ? bestClasses(logits, num_queries)
      : found(logits, num_queries, threshold);
  const mask_logits = maskHead(
    net,
    detection.src_proj,
    maps,
    kept.map(({ query }) => query),
    detection.pyramid,
  );
  net.note("mask_logits", mask_logits);
}

/** Bytes to numbers around 0, in the padding 0 itself: (3, H, W). */
function normalized(
  net: Network,
  pixels: ArrayLike<number>,
  [rows, columns]: Size,
): Tensor {
  const { mean, std } = net.weights;
  const side = net.config.shortest;
  const image = net.note("image", net.heap.take(3, side, side));
  const { data } = image;
  for (let i = 0; i < side * side; i++) {
    const inside = i % side < columns && i < rows * side;
    for (let c = 0; c < 3; c++) {
      const value = pixels[3 * i + c] / 255;
      data[c * side * side + i] = inside ? (value - mean[c]) / std[c] : 0;
    }
  }
  return image;
}
