// A picture whose positions can be chosen: by pointing, dragging, or arrows.

import { canvas, html, svg } from "./dom";
import { ARROWS, clip, draggable, type Point, place } from "./drag";

const LEAST = 12; // of a picture's side

/** A row and a column of the encoded image. */
export type Position = [row: number, column: number];

/** The position that all views of a widget share. */
export class Cursor {
  private readonly views: (() => void)[] = [];

  constructor(
    readonly side: number,
    public position: Position,
  ) {}

  show(view: () => void): void {
    this.views.push(view);
  }

  /** Its number among all positions, row by row. */
  get index(): number {
    return this.position[0] * this.side + this.position[1];
  }

  /** Where it is, in words. */
  get words(): string {
    return `Row ${this.position[0] + 1}, column ${this.position[1] + 1}`;
  }

  move(row: number, column: number): void {
    const last = this.side - 1;
    this.position = [clip(row, 0, last), clip(column, 0, last)];
    for (const view of this.views) view();
  }
}

/** The cursor over a picture: it follows the pointer and the arrow keys. */
export class CursorBoard {
  readonly root: SVGSVGElement;
  private readonly mark = svg("g", { class: "dl-cursor" });
  private kept: Position | undefined; // where it was clicked

  /** keys: whether the keyboard moves the cursor here; once is enough. */
  constructor(
    private readonly cursor: Cursor,
    keys: boolean,
  ) {
    const { side } = cursor;
    // A little inside, so that the picture's edge cuts nothing off.
    const place = { x: 0.06, y: 0.06, width: 0.88, height: 0.88 };
    this.mark.append(
      svg("rect", { class: "dl-under", ...place }),
      svg("rect", { class: "dl-over", ...place }),
      this.grip(),
    );
    this.root = svg("svg", {
      class: "dl-cursor-board",
      viewBox: `0 0 ${side} ${side}`,
    });
    this.root.append(this.mark);
    if (keys) this.listen();
    else this.root.setAttribute("aria-hidden", "true");
    this.root.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") this.pointed(event);
    });
    // A finger moves it by a tap; a swipe scrolls. What a mouse clicks is
    // there again when it leaves.
    this.root.addEventListener("click", (event) => {
      this.pointed(event);
      this.kept = cursor.position;
    });
    this.root.addEventListener("pointerleave", ({ pointerType }) => {
      if (pointerType === "mouse" && this.kept) cursor.move(...this.kept);
    });
    draggable(this.mark, this.root, side, {
      begin: (x, y) => cursor.move(Math.floor(y), Math.floor(x)),
      move: (x, y) => cursor.move(Math.floor(y), Math.floor(x)),
    });
    cursor.show(() => this.draw());
    this.draw();
  }

  /** Where a finger may take it: at least so much that it can be hit. */
  private grip(): SVGElement {
    const width = Math.max(1, this.cursor.side / LEAST);
    const from = (1 - width) / 2;
    return svg("rect", { x: from, y: from, width, height: width });
  }

  private pointed(event: Point): void {
    const [x, y] = place(this.root, this.cursor.side, event);
    this.cursor.move(Math.floor(y), Math.floor(x));
  }

  private listen(): void {
    this.mark.setAttribute("tabindex", "0");
    // A slider, for want of a word for two directions.
    this.mark.setAttribute("role", "slider");
    this.mark.setAttribute("aria-label", "Position. Arrow keys move it.");
    this.mark.setAttribute("aria-valuemax", String(this.cursor.side ** 2));
    this.mark.setAttribute("aria-valuemin", "1");
    this.mark.addEventListener("keydown", (event) => {
      const [x, y] = ARROWS[event.key] ?? [0, 0];
      if (!x && !y) return;
      event.preventDefault();
      const [row, column] = this.cursor.position;
      this.cursor.move(row + y, column + x);
    });
  }

  private draw(): void {
    const [row, column] = this.cursor.position;
    this.mark.setAttribute("transform", `translate(${column} ${row})`);
    this.mark.setAttribute("aria-valuenow", String(this.cursor.index + 1));
    this.mark.setAttribute("aria-valuetext", this.cursor.words);
  }
}

/** A picture to draw on, with the cursor over it. */
export class PositionView {
  readonly root: HTMLElement;
  readonly context: CanvasRenderingContext2D;
  readonly drawing: HTMLCanvasElement;
  private readonly board: CursorBoard;

  constructor(cursor: Cursor, pixels: number, keys: boolean) {
    [this.drawing, this.context] = canvas(pixels, { role: "img" });
    this.board = new CursorBoard(cursor, keys);
    const parts = [this.drawing, this.board.root];
    this.root = html("div", { class: "dl-scene" }, ...parts);
  }

  /** Lays a picture over the drawing, below the cursor. */
  cover(picture: Element): void {
    this.board.root.before(picture);
  }
}
