/** One pen for two papers: what is drawn on a canvas can be drawn again as SVG, to be taken along. */

export type Pen = Pick<
  CanvasRenderingContext2D,
  "fillStyle" | "strokeStyle" | "lineWidth" | "globalAlpha" | "textAlign" | "font" | "fillRect" | "strokeRect" | "beginPath" | "moveTo" | "lineTo" | "stroke" | "fillText" | "save" | "restore" | "translate" | "rotate"
>;

const ANCHORS: Record<string, string> = { left: "start", start: "start", center: "middle", right: "end", end: "end" };
const SIZE = /([\d.]+)px\s+(.*)/;

class SvgPen implements Pen {
  fillStyle: Pen["fillStyle"] = "#000";
  strokeStyle: Pen["strokeStyle"] = "#000";
  lineWidth = 1;
  globalAlpha = 1;
  textAlign: CanvasTextAlign = "left";
  font = "11px sans-serif";
  readonly marks: string[] = [];
  private path = "";
  private moves: string[] = [];
  private kept: string[][] = [];

  save(): void {
    this.kept.push([...this.moves]);
  }
  restore(): void {
    this.moves = this.kept.pop() ?? [];
  }
  translate(x: number, y: number): void {
    this.moves.push(`translate(${short(x)} ${short(y)})`);
  }
  rotate(angle: number): void {
    this.moves.push(`rotate(${short((angle * 180) / Math.PI)})`);
  }
  fillRect(x: number, y: number, width: number, height: number): void {
    this.mark("rect", `x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" fill="${String(this.fillStyle)}"`);
  }
  strokeRect(x: number, y: number, width: number, height: number): void {
    this.mark("rect", `x="${short(x)}" y="${short(y)}" width="${short(width)}" height="${short(height)}" fill="none" stroke="${String(this.strokeStyle)}" stroke-width="${this.lineWidth}"`);
  }
  beginPath(): void {
    this.path = "";
  }
  moveTo(x: number, y: number): void {
    this.path += `M${short(x)} ${short(y)}`;
  }
  lineTo(x: number, y: number): void {
    this.path += `L${short(x)} ${short(y)}`;
  }
  stroke(): void {
    this.mark("path", `d="${this.path}" fill="none" stroke="${String(this.strokeStyle)}" stroke-width="${this.lineWidth}"`);
  }
  fillText(text: string, x: number, y: number): void {
    const [, size = "11", family = "sans-serif"] = SIZE.exec(this.font) ?? [];
    const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    this.mark("text", `x="${short(x)}" y="${short(y)}" fill="${String(this.fillStyle)}" font-size="${size}" font-family="${family}" text-anchor="${ANCHORS[this.textAlign] ?? "start"}"`, escaped);
  }
  private mark(name: string, attributes: string, inside = ""): void {
    const opacity = this.globalAlpha < 1 ? ` opacity="${short(this.globalAlpha)}"` : "";
    const moved = this.moves.length ? ` transform="${this.moves.join(" ")}"` : "";
    this.marks.push(`<${name} ${attributes}${opacity}${moved}${inside ? `>${inside}</${name}>` : "/>"}`);
  }
}

function short(value: number): string {
  return Number(value.toFixed(2)).toString();
}

/** What `draw` draws, as the text of an SVG file. */
export function asSvg(width: number, height: number, draw: (pen: Pen) => void): string {
  const pen = new SvgPen();
  draw(pen);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">\n${pen.marks.join("\n")}\n</svg>\n`;
}
