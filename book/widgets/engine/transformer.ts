// The transformer: an encoder over positions, a decoder over queries.
// Tokens are columns: d x L for positions, d x N for queries.

import { add, layerNorm, linear, relu, softmax } from "./layers";
import type { Network } from "./network";
import { product, productOfTransposed, type Tensor } from "./tensor";

const TRANSFORMER = "detr.transformer";
const NEVER = -1e30; // a score whose weight is 0

/**
 * Mixes the values for each query, with M heads.
 *
 * The weights are noted under `seen`, (M, keys, queries): the column of a
 * query sums to 1 in each head.  hidden: which keys nobody may look at.
 */
function attention(
  net: Network,
  name: string,
  query: Tensor,
  key: Tensor,
  value: Tensor,
  seen: string,
  hidden?: Uint8Array,
): Tensor {
  const { heap, weights } = net;
  const { width, heads } = net.config;
  const part = width / heads;
  const weight = weights.get(`${name}.in_proj_weight`);
  const bias = weights.get(`${name}.in_proj_bias`);
  const [q, k, v] = [query, key, value].map((x, i) =>
    product(
      weight.rows(i * width, (i + 1) * width),
      x,
      bias.rows(i * width, (i + 1) * width),
    ),
  );
  const [keys, queries] = [key.matrix[1], query.matrix[1]];
  const looks = net.note(seen, heap.take(heads, keys, queries));
  const mixed = heap.take(width, queries);
  for (let head = 0; head < heads; head++) {
    const own = (x: Tensor): Tensor => {
      const [, columns] = x.matrix;
      return x.rows(head * part, (head + 1) * part).view(part, columns);
    };
    const scores = productOfTransposed(own(k), own(q));
    hidden?.forEach((one, i) => {
      if (one) scores.part(i).data.fill(NEVER);
    });
    const look = softmax(scores, 1 / Math.sqrt(part));
    looks.part(head).data.set(look.data);
    own(mixed).data.set(product(own(v), look).data);
  }
  return linear(net, `${name}.out_proj`, mixed);
}

/**
 * Attention along the batch instead of the positions: in a batch of one,
 * each position sees itself alone.
 */
function alone(net: Network, name: string, value: Tensor): Tensor {
  const { width } = net.config;
  const part = (name: string) =>
    net.weights.get(name).rows(2 * width, 3 * width);
  const v = product(
    part(`${name}.in_proj_weight`),
    value,
    part(`${name}.in_proj_bias`),
  );
  return linear(net, `${name}.out_proj`, v);
}

function feedForward(net: Network, name: string, x: Tensor): Tensor {
  const hidden = relu(linear(net, `${name}.linear1`, x));
  return linear(net, `${name}.linear2`, hidden);
}

/** Self-attention over positions, then a feed-forward network, each layer. */
export function encoder(net: Network, src: Tensor, pos: Tensor): Tensor {
  let x = src;
  for (let i = 0; i < net.config.encoder_layers; i++) {
    const name = `${TRANSFORMER}.encoder.layers.${i}`;
    const where = add(x, pos); // positions go to queries and keys
    const seen = `encoder_attention.${i}`;
    const mixed = net.changes.has("batch_first")
      ? alone(net, `${name}.self_attn`, x)
      : attention(net, `${name}.self_attn`, where, where, x, seen, net.padded);
    x = layerNorm(net, `${name}.norm1`, add(x, mixed));
    x = layerNorm(net, `${name}.norm2`, add(x, feedForward(net, name, x)));
    net.note(`encoder.${i}`, x);
  }
  return x;
}

/** Queries look at each other, then at the encoded image, in each layer. */
export function decoder(
  net: Network,
  queries: Tensor,
  memory: Tensor,
  pos: Tensor,
): Tensor[] {
  const results: Tensor[] = [];
  const places = net.changes.has("positions_lost") ? memory : add(memory, pos);
  let x = net.heap.take(...queries.shape);
  x.data.fill(0);
  for (let i = 0; i < net.config.decoder_layers; i++) {
    const name = `${TRANSFORMER}.decoder.layers.${i}`;
    const where = add(x, queries);
    let mixed = attention(
      net,
      `${name}.self_attn`,
      where,
      where,
      x,
      `decoder_self_attention.${i}`,
    );
    x = layerNorm(net, `${name}.norm1`, add(x, mixed));
    mixed = attention(
      net,
      `${name}.multihead_attn`,
      add(x, queries),
      places,
      memory,
      `decoder_cross_attention.${i}`,
      net.padded,
    );
    x = layerNorm(net, `${name}.norm2`, add(x, mixed));
    x = layerNorm(net, `${name}.norm3`, add(x, feedForward(net, name, x)));
    const embeddings = layerNorm(net, `${TRANSFORMER}.decoder.norm`, x);
    results.push(net.note(`box_embeddings.${i}`, embeddings));
  }
  return results;
}
