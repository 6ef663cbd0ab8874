// Dragging with a mouse, a pen or a finger.

/** What a drag does; x and y are in units of the board. */
export interface Drag {
  begin: (x: number, y: number) => void;
  move: (x: number, y: number) => void;
}

/** Where a pointer or a finger is, in pixels of the window. */
export interface Point {
  clientX: number;
  clientY: number;
}

/** Where a pointer is on a board that is `units` wide. */
export function place(
  board: Element,
  units: number,
  { clientX, clientY }: Point,
): [number, number] {
  const box = board.getBoundingClientRect();
  const scale = units / box.width;
  return [(clientX - box.left) * scale, (clientY - box.top) * scale];
}

/** Lets a mark on a board be dragged. */
export function draggable(
  mark: SVGElement,
  board: Element,
  units: number,
  drag: Drag,
): void {
  let down = false;
  // A finger on the mark drags it; anywhere else it scrolls the page.
  mark.addEventListener("touchstart", (event) => event.preventDefault(), {
    passive: false,
  });
  mark.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.stopPropagation(); // what lies below stays where it is
    down = true;
    mark.setPointerCapture(event.pointerId);
    mark.focus({ preventScroll: true });
    drag.begin(...place(board, units, event));
  });
  mark.addEventListener("pointermove", (event) => {
    if (down) drag.move(...place(board, units, event));
  });
  for (const end of ["pointerup", "pointercancel"] as const) {
    mark.addEventListener(end, () => {
      down = false;
    });
  }
}

/**
 * Lets a reader scrub across a board. A mouse is followed at once, a finger
 * when it taps or goes sideways: up and down it scrolls the page.
 */
export function scrubbable(
  board: HTMLElement,
  follow: (point: Point) => void,
): void {
  let down: PointerEvent | undefined;
  board.classList.add("dl-scrubbed");
  board.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    down = event;
    board.setPointerCapture(event.pointerId);
    if (event.pointerType === "mouse") follow(event);
  });
  board.addEventListener("pointermove", (event) => {
    if (down === undefined) return;
    const x = Math.abs(event.clientX - down.clientX);
    const y = Math.abs(event.clientY - down.clientY);
    if (event.pointerType === "mouse" || x > y) follow(event);
  });
  for (const end of ["pointerup", "pointercancel"] as const) {
    board.addEventListener(end, () => {
      down = undefined;
    });
  }
  board.addEventListener("click", follow);
}

/** The directions of the arrow keys. */
export const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function clip(x: number, low: number, high: number): number {
  return Math.min(Math.max(x, low), high);
}
