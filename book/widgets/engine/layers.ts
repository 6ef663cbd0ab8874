// The layers that every stage is made of, as in PyTorch's torch.nn.

import type { Network } from "./network";
import { product, type Tensor } from "./tensor";

// Columns of the picture's patches that are multiplied at a time: few enough
// that they stay in the processor's fastest memory.
const COLUMNS = 144;

/** W x + b: (inputs, ...) -> (outputs, ...); also a 1 x 1 convolution. */
export function linear(net: Network, name: string, x: Tensor): Tensor {
  const { weights } = net;
  return product(weights.get(`${name}.weight`), x, weights.get(`${name}.bias`));
}

export interface Steps {
  stride?: number;
  dilation?: number;
}

/** A convolution by name: (C, h, w) -> (outputs, h / stride, w / stride). */
export function convolution(
  net: Network,
  name: string,
  x: Tensor,
  steps: Steps = {},
): Tensor {
  const { weights } = net;
  return convolve(
    weights.get(`${name}.weight`),
    weights.get(`${name}.bias`),
    x,
    steps,
  );
}

/**
 * A convolution as matrix products: the patch under the kernel, at each place
 * that it stops at, becomes a column of numbers; the weights are the rows
 * that it is multiplied with.  The border is padded with zeros, so that with
 * stride 1 the size stays.
 */
export function convolve(
  weight: Tensor,
  bias: Tensor | undefined,
  x: Tensor,
  { stride = 1, dilation = 1 }: Steps = {},
): Tensor {
  const { heap } = x;
  const [channels, side] = x.shape;
  const [outputs, , kernel] = weight.shape;
  const out = Math.ceil(side / stride);
  const inner = channels * kernel * kernel;
  const y = heap.take(outputs, out, out);
  const rows = Math.max(1, Math.floor(COLUMNS / out));
  const patches = heap.take(inner, rows * out);
  for (let first = 0; first < out; first += rows) {
    const count = Math.min(rows, out - first);
    const columns = count * out;
    gather(x, patches, kernel, stride, dilation, first, count, out);
    heap.multiply(
      outputs,
      columns,
      inner,
      weight.at,
      inner,
      1,
      patches.at,
      columns,
      y.at + first * out,
      out * out,
      bias === undefined ? -1 : bias.at,
    );
  }
  return y;
}

/** Lays out the patches of some rows of results, one patch a column. */
function gather(
  x: Tensor,
  patches: Tensor,
  kernel: number,
  stride: number,
  dilation: number,
  first: number,
  count: number,
  out: number,
): void {
  const [channels, side] = x.shape;
  const { floats } = x.heap;
  const padding = (dilation * (kernel - 1)) >> 1;
  let to = patches.at;
  for (let channel = 0; channel < channels; channel++) {
    for (let ky = 0; ky < kernel; ky++) {
      for (let kx = 0; kx < kernel; kx++) {
        // Where the kernel hangs over the left or the right border: zeros.
        const left = kx * dilation - padding;
        const start = Math.ceil(Math.max(0, -left) / stride);
        const last = Math.floor((side - 1 - left) / stride);
        const end = Math.min(out, last + 1);
        for (let row = first; row < first + count; row++, to += out) {
          const above = row * stride + ky * dilation - padding;
          if (above < 0 || above >= side) {
            floats.fill(0, to, to + out);
            continue;
          }
          const from = x.at + (channel * side + above) * side + left;
          for (let j = 0; j < start; j++) floats[to + j] = 0;
          for (let j = end; j < out; j++) floats[to + j] = 0;
          if (stride === 1) {
            // Nearly always; a loop of its own is twice as fast.
            for (let j = start; j < end; j++) floats[to + j] = floats[from + j];
          } else {
            for (let j = start; j < end; j++) {
              floats[to + j] = floats[from + j * stride];
            }
          }
        }
      }
    }
  }
}

/** x + y, as a new tensor. */
export function add(x: Tensor, y: Tensor): Tensor {
  const sum = x.heap.take(...x.shape);
  const [a, b, to] = [x.data, y.data, sum.data];
  for (let i = 0; i < to.length; i++) to[i] = a[i] + b[i];
  return sum;
}

/** max(x, 0), in place. */
export function relu(x: Tensor): Tensor {
  const { data } = x;
  for (let i = 0; i < data.length; i++) if (data[i] < 0) data[i] = 0;
  return x;
}

/** 1 / (1 + e^-x), in place. */
export function sigmoid(x: Tensor): Tensor {
  const { data } = x;
  for (let i = 0; i < data.length; i++) data[i] = 1 / (1 + Math.exp(-data[i]));
  return x;
}

/** Softmax of scale * x down each column, in place: columns sum to 1. */
export function softmax(x: Tensor, scale: number): Tensor {
  const [rows, columns] = x.matrix;
  const { data } = x;
  const largest = new Float32Array(columns).fill(Number.NEGATIVE_INFINITY);
  const sum = new Float64Array(columns);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++, i++) {
      if (data[i] > largest[j]) largest[j] = data[i];
    }
  }
  for (let row = 0, i = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++, i++) {
      data[i] = Math.exp((data[i] - largest[j]) * scale);
      sum[j] += data[i];
    }
  }
  for (let row = 0, i = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++, i++) data[i] /= sum[j];
  }
  return x;
}

const EPSILON = 1e-5;

/** LayerNorm of each column, as a new tensor. */
export function layerNorm(net: Network, name: string, x: Tensor): Tensor {
  const weight = net.weights.get(`${name}.weight`).data;
  const bias = net.weights.get(`${name}.bias`).data;
  const [rows, columns] = x.matrix;
  const result = x.heap.take(...x.shape);
  const [from, to] = [x.data, result.data];
  for (let j = 0; j < columns; j++) {
    let mean = 0;
    for (let i = j; i < from.length; i += columns) mean += from[i];
    mean /= rows;
    let square = 0;
    for (let i = j; i < from.length; i += columns) {
      square += (from[i] - mean) ** 2;
    }
    const scale = 1 / Math.sqrt(square / rows + EPSILON);
    for (let row = 0, i = j; row < rows; row++, i += columns) {
      to[i] = (from[i] - mean) * scale * weight[row] + bias[row];
    }
  }
  return result;
}

/** The mean, and one over the standard deviation. */
function moments(data: Float32Array): [number, number] {
  let mean = 0;
  for (let i = 0; i < data.length; i++) mean += data[i];
  mean /= data.length;
  let square = 0;
  for (let i = 0; i < data.length; i++) square += (data[i] - mean) ** 2;
  return [mean, 1 / Math.sqrt(square / data.length + EPSILON)];
}

const GROUPS = 8;

/** GroupNorm with 8 groups of channels, in place. */
export function groupNorm(net: Network, name: string, x: Tensor): Tensor {
  const weight = net.weights.get(`${name}.weight`).data;
  const bias = net.weights.get(`${name}.bias`).data;
  const [channels, pixels] = x.matrix;
  const each = channels / GROUPS;
  for (let group = 0; group < GROUPS; group++) {
    const { data } = x.rows(group * each, (group + 1) * each);
    const [mean, scale] = moments(data);
    for (let channel = 0; channel < each; channel++) {
      const gain = scale * weight[group * each + channel];
      const shift = bias[group * each + channel] - mean * gain;
      const [from, to] = [channel * pixels, (channel + 1) * pixels];
      for (let i = from; i < to; i++) data[i] = data[i] * gain + shift;
    }
  }
  return x;
}
