"""Bar and line plots as SVG, written by hand: no library is worth a dependency for two of them."""

import math
from html import escape

WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 760, 170, 130, 64, 34, 20
LINE_HEIGHT = 360
OURS, FLOOR, OTHERS, INK, GREY = "#c2410c", "#64748b", "#93b4d6", "#1f2937", "#d1d5db"
COLOURS = [OURS, "#1d4ed8", "#047857"]


def bars(title, note, rows, log=False):
    """One horizontal bar for each `(label, (median, least, most), colour)`; whiskers show the spread."""
    height = TOP + ROW * len(rows) + BOTTOM
    room = WIDTH - LEFT - RIGHT
    top = max(most for _, (_, _, most), _ in rows)
    # A logarithmic bar begins at one; what is below has none.
    decades = max(1, math.ceil(math.log10(max(top, 10))))

    def x(value):
        if log:
            return LEFT + room * max(0.0, math.log10(max(value, 1.0))) / decades
        return LEFT + room * max(0.0, value) / top

    parts = heading(title, note)
    marks = [10**power for power in range(decades + 1)] if log else ticks(top)
    for mark in marks:
        parts.append(line(x(mark), TOP - 4, x(mark), height - BOTTOM, GREY))
        parts.append(text(x(mark), height - 4, figure(mark), 11, "middle"))
    for row, (label, (median, least, most), colour) in enumerate(rows):
        y = TOP + ROW * row
        parts.append(text(LEFT - 8, y + 18, label, 13, "end"))
        parts.append(f'<rect x="{LEFT}" y="{y + 3}" width="{max(x(median) - LEFT, 1):.1f}" '
                     f'height="{ROW - 12}" fill="{colour}"/>')
        middle = y + 3 + (ROW - 12) / 2
        parts.append(line(x(least), middle, x(most), middle, INK))
        for end in (least, most):
            parts.append(line(x(end), middle - 4, x(end), middle + 4, INK))
        parts.append(text(x(max(median, most)) + 8, y + 18, figure(median), 13, "start"))
    return document(height, parts)


def lines(title, note, xs, series):
    """Lines over `xs`, from zero, for each `(label, [value])`; each is labelled at its end."""
    room, tall = WIDTH - LEFT - RIGHT, LINE_HEIGHT - TOP - 40
    top = max(value for _, values in series for value in values) * 1.15 or 1
    span = max(xs)

    def at(value_x, value):
        return LEFT + room * value_x / span, TOP + tall * (1 - value / top)

    parts = heading(title, note)
    for mark in ticks(top):
        _, y = at(0, mark)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, GREY))
        parts.append(text(LEFT - 8, y + 4, figure(mark), 11, "end"))
    for value_x in xs:
        x, y = at(value_x, 0)
        parts.append(line(x, y, x, y + 4, INK))
        parts.append(text(x, y + 18, f"{value_x:,}", 11, "middle"))
    for colour, (label, values) in zip(COLOURS, series):
        points = [at(*pair) for pair in zip(xs, values)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in points:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
        x, y = points[-1]
        parts.append(text(x + 8, y + 4, label, 13, "start", colour))
    return document(LINE_HEIGHT, parts)


def figure(value):
    """Three digits, and no more than are there."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ticks(top):
    """About five round numbers from zero to `top`."""
    step = 10 ** math.floor(math.log10(top / 5)) if top > 0 else 1
    step = next(step * times for times in (1, 2, 5, 10) if top / (step * times) <= 6)
    return [step * count for count in range(int(top / step) + 1)]


def heading(title, note):
    return [text(20, 26, title, 16, "start"), text(20, 46, note, 12, "start", FLOOR)]


def text(x, y, words, size, anchor, colour=INK):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}">{escape(words)}</text>')


def line(x1, y1, x2, y2, colour):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def document(height, parts):
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n'
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n{body}\n</svg>\n')
