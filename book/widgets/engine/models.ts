// A model's configuration, and which ones this engine can run.

/** The fields of detr_lite.models.ModelConfig that a forward pass needs. */
export interface Config {
  num_classes: number;
  masks: boolean;
  bottleneck: boolean;
  depths: number[];
  resnet_width: number;
  dilate_res5: boolean;
  pool: boolean;
  width: number;
  heads: number;
  encoder_layers: number;
  decoder_layers: number;
  num_queries: number;
  temperature: number;
  cycles: number;
  pyramid: boolean;
  joint_softmax: boolean;
  threshold: number;
  shortest: number;
}

// What this engine has no code for, and what it takes for granted instead.
const NEEDED: Partial<Config> = {
  masks: true,
  bottleneck: false,
  dilate_res5: true,
  pool: false,
  pyramid: true,
};

/** Returns the configuration, or throws a sentence that says what is wrong. */
export function check(config: Config): Config {
  for (const [name, needed] of Object.entries(NEEDED)) {
    const given = config[name as keyof Config];
    if (given !== needed) {
      throw new Error(
        `The pages can only run models with ${name} = ${needed}, ` +
          `and these weights have ${name} = ${given}.`,
      );
    }
  }
  // The matrix product takes its columns, tokens or queries, by fours.
  const side = config.shortest / 8;
  for (const [name, count] of [
    ["num_queries", config.num_queries],
    ["shortest / 8", side],
  ] as const) {
    if (count % 4 !== 0) {
      throw new Error(
        `The pages can only run models whose ${name} is a multiple of 4, ` +
          `and these weights have ${count}.`,
      );
    }
  }
  return config;
}
