// What the build puts in place of two imports.
declare module "*.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
declare module "engine-source" {
  const script: string;
  export default script;
}
