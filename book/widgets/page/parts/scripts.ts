// Scripts that are loaded when they are needed: they hold numbers, or the
// engine.

// They lie beside the pages' script.
const HERE = (document.currentScript as HTMLScriptElement | null)?.src;

/** Runs a script. */
export function load(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve();
    script.onerror = () => reject(new Error(`${url} could not be loaded.`));
    document.head.append(script);
  });
}

/** Runs a script that lies beside this one. */
export function loadBeside(name: string): Promise<void> {
  return load(new URL(name, HERE).href);
}
