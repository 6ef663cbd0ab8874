// The backbone: a ResNet that keeps Res2, Res3, Res4 and Res5 on the way.
// The norms have joined their convolutions in the file of weights.

import { add, convolution, relu } from "./layers";
import type { Network } from "./network";
import type { Tensor } from "./tensor";

const BODY = "detr.backbone.0.body";

/** (3, H, W) normalized image -> Res2, Res3, Res4 and Res5. */
export function backbone(net: Network, image: Tensor): Tensor[] {
  let x = relu(convolution(net, `${BODY}.conv1`, image, { stride: 2 }));
  return net.config.depths.map((depth, i) => {
    // The last stage keeps its size and looks further instead: "DC5".
    const last = i === 3;
    const stride = i === 0 || last ? 1 : 2;
    const dilation = last ? 2 : 1;
    for (let block = 0; block < depth; block++) {
      const name = `${BODY}.layer${i + 1}.${block}`;
      x =
        block === 0
          ? basicBlock(net, name, x, stride, 1, dilation)
          : basicBlock(net, name, x, 1, dilation, dilation);
    }
    return net.note(`res${i + 2}`, x);
  });
}

/** Two 3 x 3 convolutions and a shortcut. */
function basicBlock(
  net: Network,
  name: string,
  x: Tensor,
  stride: number,
  first: number,
  dilation: number,
): Tensor {
  const shortcut = `${name}.downsample.0`;
  const hidden = relu(
    convolution(net, `${name}.conv1`, x, { stride, dilation: first }),
  );
  const y = convolution(net, `${name}.conv2`, hidden, { dilation });
  const beside = net.weights.has(`${shortcut}.weight`)
    ? convolution(net, shortcut, x, { stride })
    : x;
  return relu(add(y, beside));
}
