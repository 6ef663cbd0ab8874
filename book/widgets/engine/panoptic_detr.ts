// The whole model: DETR, its attention maps, and masks from them.

import { attentionMaps, attentionScores } from "./attention_maps";
import { bestClasses, found } from "./classes";
import { detr } from "./detr";
import { maskHead } from "./mask_head";
import type { Network } from "./network";
import type { Tensor } from "./tensor";

/**
 * Runs the model on a picture; every result is in net.results by its name.
 *
 * pixels: H x W x 3 bytes, as the picture lies; masks: which queries get a
 * mask, those that found something or all.
 */
export function run(
  net: Network,
  pixels: ArrayLike<number>,
  masks: "found" | "all",
): void {
  const { config } = net;
  net.clear();
  const detection = detr(net, normalized(net, pixels));
  detection.box_embeddings.forEach((embeddings, i) => {
    const scores = attentionScores(net, embeddings, detection.memory);
    net.note(`attention_scores.${i}`, scores);
  });
  const last = config.decoder_layers - 1;
  const scores = net.results.get(`attention_scores.${last}`)!;
  const maps = net.note("attention_maps", net.heap.take(...scores.shape));
  const { num_queries, heads, joint_softmax, threshold } = config;
  maps.data.set(attentionMaps(scores.data, num_queries, heads, joint_softmax));
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

/** Bytes to numbers around 0: (3, H, W). */
function normalized(net: Network, pixels: ArrayLike<number>): Tensor {
  const { mean, std } = net.weights;
  const side = net.config.shortest;
  const image = net.note("image", net.heap.take(3, side, side));
  const { data } = image;
  for (let i = 0; i < side * side; i++) {
    for (let c = 0; c < 3; c++) {
      const value = pixels[3 * i + c] / 255;
      data[c * side * side + i] = (value - mean[c]) / std[c];
    }
  }
  return image;
}
