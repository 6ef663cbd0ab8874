// Attention maps: where in the encoded image each box embedding looks.

import { linear } from "./layers";
import type { Network } from "./network";
import { productOfTransposed, type Tensor } from "./tensor";

/**
 * How well each position fits what an embedding asks for, in each head.
 *
 * (d, N) box embeddings and (d, h, w) memory -> (N, M, h, w) scores.
 */
export function attentionScores(
  net: Network,
  embeddings: Tensor,
  memory: Tensor,
): Tensor {
  const { heads, width, num_queries } = net.config;
  const [, h, w] = memory.shape;
  const part = width / heads;
  const q = linear(net, "bbox_attention.q_linear", embeddings);
  const k = linear(net, "bbox_attention.k_linear", memory).view(width, h * w);
  const result = net.heap.take(num_queries, heads, h, w);
  const to = result.data;
  for (let head = 0; head < heads; head++) {
    const own = (x: Tensor) => x.rows(head * part, (head + 1) * part);
    const scores = productOfTransposed(own(k), own(q)).data; // (hw, N)
    for (let i = 0; i < scores.length; i++) {
      const query = i % num_queries;
      const position = Math.floor(i / num_queries);
      to[(query * heads + head) * h * w + position] = net.padded?.[position]
        ? Number.NEGATIVE_INFINITY
        : scores[i] / Math.sqrt(part);
    }
  }
  return result;
}

/**
 * Scores to maps, as new numbers.
 *
 * joint: one softmax for each query over all heads and positions together;
 * otherwise one for each head.
 */
export function attentionMaps(
  scores: Float32Array,
  queries: number,
  heads: number,
  joint: boolean,
): Float32Array {
  const maps = new Float32Array(scores.length);
  const row = scores.length / (joint ? queries : queries * heads);
  for (let from = 0; from < scores.length; from += row) {
    let largest = Number.NEGATIVE_INFINITY;
    for (let i = from; i < from + row; i++) {
      if (scores[i] > largest) largest = scores[i];
    }
    let sum = 0;
    for (let i = from; i < from + row; i++) {
      maps[i] = Math.exp(scores[i] - largest);
      sum += maps[i];
    }
    for (let i = from; i < from + row; i++) maps[i] /= sum;
  }
  return maps;
}
