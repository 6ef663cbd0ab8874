// DETR: image to box embeddings, and from each a class and a box.

import { backbone } from "./backbone";
import { linear, relu, sigmoid } from "./layers";
import type { Network } from "./network";
import { positionalEncoding } from "./position";
import type { Tensor } from "./tensor";
import { decoder, encoder } from "./transformer";
import { transposed } from "./weights";

const IMPOSSIBLE = -1e30; // a logit whose probability is 0

export interface DetrOutput {
  pyramid: Tensor[];
  src_proj: Tensor;
  memory: Tensor;
  box_embeddings: Tensor[];
  class_logits: Tensor;
}

/** Finds boxes in a normalized image, (3, H, W). */
export function detr(net: Network, image: Tensor): DetrOutput {
  const { width, temperature, cycles, decoder_layers } = net.config;
  const pyramid = backbone(net, image);
  const src_proj = linear(net, "detr.input_proj", pyramid[3]);
  net.note("src_proj", src_proj);
  const pos = positionalEncoding(
    net.heap,
    width,
    src_proj.shape[1],
    temperature,
    cycles,
    net.inside,
  );
  if (net.changes.has("encodings")) pos.data.fill(0);
  const memory = net.note("memory", encoder(net, src_proj, pos));
  const queries = transposed(net.weights.get("detr.query_embed.weight"));
  const box_embeddings = decoder(net, queries, memory, pos);
  box_embeddings.forEach((embeddings, i) => {
    const logits = linear(net, "detr.class_embed", embeddings);
    if (net.changes.has("no_object_ignored")) {
      logits.part(net.config.num_classes).data.fill(IMPOSSIBLE);
    }
    net.note(`class_logits.${i}`, logits);
    net.note(`boxes.${i}`, boxes(net, embeddings));
  });
  const class_logits = net.results.get(`class_logits.${decoder_layers - 1}`)!;
  return { pyramid, src_proj, memory, box_embeddings, class_logits };
}

/** (d, N) box embeddings -> (4, N): cx, cy, w and h, relative to the image. */
function boxes(net: Network, embeddings: Tensor): Tensor {
  let x = embeddings;
  for (const i of [0, 1]) {
    x = relu(linear(net, `detr.bbox_embed.layers.${i}`, x));
  }
  return sigmoid(linear(net, "detr.bbox_embed.layers.2", x));
}
