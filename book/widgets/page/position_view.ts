// A picture whose positions can be chosen: by pointing, dragging, or arrows.

import { canvas, html, svg } from "./dom";
import { ARROWS, clip, draggable, place } from "./drag";

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

  /** keys: whether the keyboard moves the cursor here; once is enough. */
  constructor(
    private readonly cursor: Cursor,
    keys: boolean,
  ) {
    const { side } = cursor;
    this.mark.append(
      svg("rect", { class: "dl-under", width: 1, height: 1 }),
      svg("rect", { class: "dl-over", width: 1, height: 1 }),
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
    this.root.addEventListener("pointerdown", (event) => this.pointed(event));
    draggable(this.mark, this.root, side, {
      begin: () => {},
      move: (x, y) => cursor.move(Math.floor(y), Math.floor(x)),
    });
    cursor.show(() => this.draw());
    this.draw();
  }

  private pointed(event: PointerEvent): void {
    const [x, y] = place(this.root, this.cursor.side, event);
    this.cursor.move(Math.floor(y), Math.floor(x));
  }

  private listen(): void {
    this.mark.setAttribute("tabindex", "0");
    this.mark.setAttribute("role", "button");
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
    const where = `Row ${row + 1}, column ${column + 1}`;
    this.mark.setAttribute("aria-label", `${where}. Arrow keys move it.`);
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
