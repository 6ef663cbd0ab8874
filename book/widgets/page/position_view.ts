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

/** A picture with the cursor on it. */
export class PositionView {
  readonly root: HTMLElement;
  readonly context: CanvasRenderingContext2D;
  readonly drawing: HTMLCanvasElement;
  private readonly board: SVGSVGElement;
  private readonly mark = svg("g", { class: "dl-cursor" });

  /** keys: whether the keyboard moves the cursor here; once is enough. */
  constructor(
    private readonly cursor: Cursor,
    pixels: number,
    keys: boolean,
  ) {
    const { side } = cursor;
    [this.drawing, this.context] = canvas(pixels, { role: "img" });
    this.mark.append(
      svg("rect", { class: "dl-under", width: 1, height: 1 }),
      svg("rect", { class: "dl-over", width: 1, height: 1 }),
    );
    this.board = svg("svg", { viewBox: `0 0 ${side} ${side}` });
    this.board.append(this.mark);
    this.root = html("div", { class: "dl-scene" }, this.drawing, this.board);
    if (keys) this.listen();
    else this.board.setAttribute("aria-hidden", "true");
    this.board.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") this.pointed(event);
    });
    this.board.addEventListener("pointerdown", (event) => this.pointed(event));
    draggable(this.mark, this.board, side, {
      begin: () => {},
      move: (x, y) => cursor.move(Math.floor(y), Math.floor(x)),
    });
    cursor.show(() => this.draw());
    this.draw();
  }

  /** Lays a picture over the drawing, below the cursor. */
  cover(picture: Element): void {
    this.board.before(picture);
  }

  private pointed(event: PointerEvent): void {
    const [x, y] = place(this.board, this.cursor.side, event);
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
