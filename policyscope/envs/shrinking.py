"""Screens made smaller by averaging areas, many at once, to the bytes of OpenCV's INTER_AREA."""

from math import gcd

import numpy as np
from jaxtyping import Float32, Int, UInt8

from policyscope.errors import InvalidInput

FRAMES_AT_ONCE = 16


class Shrinking:
    """Resizes frames by averaging areas, to the bytes of OpenCV's INTER_AREA.

    An average is a sum of grey levels times whole numbers, exact in any order, over the size of
    the area. Only where it lies half way between two levels does OpenCV's order of adding up
    rounded numbers decide; there it is followed.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        self.target = target
        self.is_identity = source == target
        if any(big < small for big, small in zip(source, target, strict=True)):
            raise InvalidInput(
                f"Frames of {source[0]}×{source[1]} can be shrunk, not grown to "
                f"{target[0]}×{target[1]}."
            )
        self.down, self.down_weight = area_weights(source[0], target[0])
        self.across, self.across_weight = area_weights(source[1], target[1])
        # Lines of one area count alike in each of so many equal parts of the screen.
        parts = [gcd(big, small) for big, small in zip(source, target, strict=True)]
        self.period = source[1] // parts[1], target[1] // parts[1]
        lines = source[0] // parts[0]
        self.area = lines * self.period[0]
        self.line_counts = np.rint(self.down_weight * lines).astype(np.uint16)[:, :, None]
        counts = np.zeros(self.period, np.float32)
        for index, weight in zip(self.across, self.across_weight, strict=True):
            place = np.arange(self.period[1])
            # A part with no weight names a pixel twice.
            np.add.at(counts, (index[place], place), np.rint(weight[place] * self.period[0]))
        self.pixel_counts = counts
        # Fresh memory costs more than the sums do.
        most, (height, width) = FRAMES_AT_ONCE, source
        self._deep = np.empty((most, height, width), np.uint16)
        self._lines, self._more = np.empty((2, most, target[0], width), np.uint16)
        self._wide = np.empty((most, target[0], width), np.float32)
        self._average, self._level = np.empty((2, most, *target), np.float32)
        # Further from half way than OpenCV's roundings can move a sum of at most 255.
        self.halfway = 255 * 2.0**-23 * (len(self.down) + len(self.across) + 2)

    def __call__(self, frames: UInt8[np.ndarray, "frame ..."]) -> UInt8[np.ndarray, "frame ..."]:
        """The frames at their new size."""
        if self.is_identity:
            return frames
        if frames.ndim == 4:
            colours = self(np.concatenate(np.moveaxis(frames, 3, 0)))
            return np.stack(np.split(colours, 3), axis=-1)
        small = np.empty((len(frames), *self.target), np.uint8)
        for first in range(0, len(frames), FRAMES_AT_ONCE):
            few = slice(first, first + FRAMES_AT_ONCE)
            self._shrink(frames[few], small[few])
        return small

    def _shrink(
        self,
        frames: UInt8[np.ndarray, "frame height width"],
        small: UInt8[np.ndarray, "frame shorter narrower"],
    ) -> None:
        average, level = self._average[: len(frames)], self._level[: len(frames)]
        np.matmul(
            self._sum_lines(frames).reshape(-1, self.period[0]),
            self.pixel_counts,
            out=average.reshape(-1, self.period[1]),
        )
        average *= np.float32(1 / self.area)
        np.rint(average, out=level)
        small[:] = level
        average -= level
        np.abs(average, out=average)
        is_halfway = np.flatnonzero(average >= 0.5 - self.halfway)
        if len(is_halfway):
            frame, y, x = np.unravel_index(is_halfway, small.shape)
            small[frame, y, x] = self._added_up(frames, frame, y, x)

    def _sum_lines(
        self, frames: UInt8[np.ndarray, "frame height width"]
    ) -> Float32[np.ndarray, "frame shorter width"]:
        few = slice(len(frames))
        deep, lines, more, wide = (
            room[few] for room in (self._deep, self._lines, self._more, self._wide)
        )
        deep[:] = frames
        lines[:] = 0
        for index, count in zip(self.down, self.line_counts, strict=True):
            np.take(deep, index, axis=1, out=more, mode="clip")
            np.multiply(more, count, out=more)
            np.add(lines, more, out=lines)
        wide[:] = lines
        return wide

    def _added_up(
        self,
        frames: UInt8[np.ndarray, "frame height width"],
        frame: Int[np.ndarray, " pixel"],
        y: Int[np.ndarray, " pixel"],
        x: Int[np.ndarray, " pixel"],
    ) -> UInt8[np.ndarray, " pixel"]:
        """Some pixels, by OpenCV's order of sums: along a line first, then over the lines."""
        total = np.zeros(len(frame), np.float32)
        for line, line_weight in zip(self.down, self.down_weight, strict=True):
            along = np.zeros(len(frame), np.float32)
            for pixel, weight in zip(self.across, self.across_weight, strict=True):
                along += frames[frame, line[y], pixel[x]] * weight[x]
            total += along * line_weight[y]
        return np.rint(total).astype(np.uint8)


def area_weights(
    source: int, target: int
) -> tuple[Int[np.ndarray, "part target"], Float32[np.ndarray, "part target"]]:
    """Which source pixels each target pixel covers, and what share of it each is."""
    scale = source / target
    cells: list[list[tuple[int, float]]] = []
    for place in range(target):
        first, last = place * scale, place * scale + scale
        width = min(scale, source - first)
        begin = int(np.ceil(first))
        end = min(int(np.floor(last)), source - 1)
        begin = min(begin, end)
        cell: list[tuple[int, float]] = []
        if begin - first > 1e-3:  # OpenCV's own tolerance.
            cell.append((begin - 1, (begin - first) / width))
        cell.extend((pixel, 1.0 / width) for pixel in range(begin, end))
        if last - end > 1e-3:
            cell.append((end, min(min(last - end, 1.0), width) / width))
        cells.append(cell)
    parts = max(map(len, cells))
    # A weight of zero adds exactly nothing.
    padded = [cell + [(cell[-1][0], 0.0)] * (parts - len(cell)) for cell in cells]
    index = np.array([[pixel for pixel, _ in cell] for cell in padded])
    weight = np.array([[share for _, share in cell] for cell in padded], np.float32)
    return np.ascontiguousarray(index.T), np.ascontiguousarray(weight.T)
