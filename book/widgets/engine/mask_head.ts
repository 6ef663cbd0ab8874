// The mask head: an FPN-style CNN from attention maps to mask logits.

import type { Level } from "./changes";
import { add, convolution, convolve, groupNorm, linear, relu } from "./layers";
import type { Network } from "./network";
import type { Tensor } from "./tensor";

const HEAD = "mask_head";

/** What all queries of a picture share. */
interface Shared {
  image: Tensor;
  res4: Tensor;
  res3: Tensor;
  res2: Tensor;
}

/**
 * The mask logits of some queries.
 *
 * attention_maps: (N, M, h, w).  The result is (N, H/2, W/2) at the size of
 * Res2; the masks of queries that aren't listed are left at 0.
 */
export function maskHead(
  net: Network,
  src_proj: Tensor,
  attention_maps: Tensor,
  queries: number[],
  [res2, res3, res4]: Tensor[],
): Tensor {
  const { weights } = net;
  const shared: Shared = {
    image: convolve(
      weights.get(`${HEAD}.lay1.weight.image`),
      weights.get(`${HEAD}.lay1.bias`),
      src_proj,
    ),
    res4: level(net, "res4", `${HEAD}.adapter1`, res4),
    res3: level(net, "res3", `${HEAD}.adapter2`, res3),
    res2: level(net, "res2", `${HEAD}.adapter3`, res2),
  };
  const [, h, w] = res2.shape;
  const masks = net.heap.take(attention_maps.shape[0], h, w);
  masks.data.fill(0);
  for (const query of queries) {
    const mask = oneMask(net, attention_maps.part(query), shared, query);
    masks.part(query).data.set(mask.data);
  }
  return masks;
}

/** What a level of the pyramid adds: its mean, or nothing, if it is off. */
function level(
  net: Network,
  name: Level,
  adapter: string,
  features: Tensor,
): Tensor {
  const added = linear(net, adapter, features);
  if (net.changes.has(name)) added.data.fill(0);
  if (net.changes.has(`${name}_detail`)) flatten(added);
  return added;
}

/** Replaces each channel by its mean over all places. */
function flatten(x: Tensor): void {
  const [channels, h, w] = x.shape;
  for (let channel = 0; channel < channels; channel++) {
    const { data } = x.part(channel);
    data.fill(data.reduce((a, b) => a + b, 0) / (h * w));
  }
}

/** One query's mask: its maps, enlarged with the backbone's help. */
function oneMask(
  net: Network,
  maps: Tensor,
  shared: Shared,
  query: number,
): Tensor {
  const stage = (number: number, y: Tensor): Tensor => {
    const x = relu(groupNorm(net, `${HEAD}.gn${number}`, y));
    return net.note(`stage${number}.${query}`, x);
  };
  const layer = (number: number, x: Tensor): Tensor =>
    stage(number, convolution(net, `${HEAD}.lay${number}`, x));
  const seen = convolve(
    net.weights.get(`${HEAD}.lay1.weight.maps`),
    undefined,
    maps,
  );
  let x = stage(1, add(seen, shared.image));
  x = layer(2, x);
  x = layer(3, fuse(x, shared.res4));
  x = layer(4, fuse(x, shared.res3));
  x = layer(5, fuse(x, shared.res2));
  return convolution(net, `${HEAD}.out_lay`, x);
}

/** Brings x to the size of the features, each pixel copied, and adds them. */
function fuse(x: Tensor, features: Tensor): Tensor {
  const [channels, side] = features.shape;
  const small = x.shape[1];
  if (small === side) return add(x, features);
  const sum = x.heap.take(channels, side, side);
  const [from, more, to] = [x.data, features.data, sum.data];
  const times = side / small;
  for (let channel = 0, i = 0; channel < channels; channel++) {
    for (let y = 0; y < side; y++) {
      const row = (channel * small + Math.floor(y / times)) * small;
      for (let j = 0; j < side; j++, i++) {
        to[i] = more[i] + from[row + Math.floor(j / times)];
      }
    }
  }
  return sum;
}
