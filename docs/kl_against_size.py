"""Draws docs/kl-against-size.svg from the measurements in bench-runs/.

    python3 docs/kl_against_size.py           # writes the picture
    python3 docs/kl_against_size.py --check   # fails if the picture is not what the measurements give

Every point is a row of bench-runs/smollm2-quality/quality.json or bench-runs/smollm2-peers/peers.json:
stored bits a linear weight against KL divergence from the original in nats a token. Needs nothing but Python.
"""

import json
import math
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ["bench-runs/smollm2-quality/quality.json", "bench-runs/smollm2-peers/peers.json"]
PICTURE = ROOT / "docs/kl-against-size.svg"

# Family in the JSON, its name in the picture, colour, and whether its points are joined.
SERIES = [
    ("trellis", "nwc, trellis of 8 states (default)", "#1f5fbf", True),
    ("latent-states-8", "nwc, learned codec, latents on a trellis", "#1e9e77", True),
    ("ldlq-128", "the paper's settings (--preset paper)", "#8c6edc", True),
    ("gptq", "GPTQ, groups of 128", "#d9661f", True),
    ("llama.cpp", "llama.cpp types (no calibration)", "#777777", False),
]

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 58, 62
BITS = (1.8, 8.4)
KL = (0.004, 2.0)


def x(bits):
    return LEFT + (bits - BITS[0]) / (BITS[1] - BITS[0]) * (WIDTH - LEFT - RIGHT)


def y(kl):
    share = math.log(kl / KL[0]) / math.log(KL[1] / KL[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def text(at_x, at_y, words, anchor="start", size=13, more=""):
    return (
        f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{words}</text>'
    )


def axes():
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for bits in range(2, 9):
        yield f'<path d="M{x(bits):.1f} {TOP}V{bottom}" stroke="#e4e4e4"/>'
        yield text(x(bits), bottom + 20, bits, "middle")
    for kl in [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]:
        yield f'<path d="M{LEFT} {y(kl):.1f}H{right}" stroke="#e4e4e4"/>'
        yield text(LEFT - 8, y(kl) + 4, f"{kl:g}", "end")
    yield f'<path d="M{LEFT} {TOP}V{bottom}H{right}" stroke="#555" fill="none"/>'
    yield text((LEFT + right) / 2, bottom + 46, "stored bits per linear weight", "middle", 14)
    turned = f' transform="rotate(-90 20 {(TOP + bottom) / 2:.1f})"'
    yield text(20, (TOP + bottom) / 2, "KL divergence, nats per token", "middle", 14, turned)


def series(rows, family, colour, is_joined):
    points = sorted(
        (row["bpw_payload"], row["evaluation"]["kl"], row["name"]) for row in rows if row["family"] == family
    )
    if not points:
        sys.exit(f"no rows of the family {family} in {' and '.join(FILES)}")
    for bits, kl, name in points:
        if not (BITS[0] <= bits <= BITS[1] and KL[0] <= kl <= KL[1]):
            sys.exit(f"{name}: {bits} bits and a KL of {kl} lie outside the picture")
    if is_joined:
        path = "L".join(f"{x(bits):.1f} {y(kl):.1f}" for bits, kl, _ in points)
        yield f'<path d="M{path}" stroke="{colour}" stroke-width="2" fill="none"/>'
    for bits, kl, name in points:
        yield f'<circle cx="{x(bits):.1f}" cy="{y(kl):.1f}" r="4" fill="{colour}"/>'
        if not is_joined:
            # A neighbour in the way of the label: below it, then.
            is_crowded = any(0 < x(b) - x(bits) < 60 and abs(y(k) - y(kl)) < 14 for b, k, _ in points)
            yield text(x(bits) + 8, y(kl) + (16 if is_crowded else 4), name.removeprefix(family + "-"), "start", 11, ' fill="#555"')


def picture(rows):
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    tokens = {row["evaluation"]["n_tokens"] for row in rows}
    title = f"SmolLM2-135M-Instruct (dequantised from 4 bits), {' or '.join(map(str, sorted(tokens)))} tokens of WikiText-2"
    yield text(LEFT, 24, title, "start", 15)
    yield text(LEFT, 44, "Lower and further left is better; embeddings unchanged in all rows.", "start", 13, ' fill="#555"')
    yield from axes()
    for family, _, colour, is_joined in SERIES:
        yield from series(rows, family, colour, is_joined)
    for idx, (_, name, colour, _) in enumerate(SERIES):
        at = TOP + 22 + 22 * idx
        yield f'<circle cx="{WIDTH - 330}" cy="{at - 4}" r="5" fill="{colour}"/>'
        yield text(WIDTH - 316, at, name)
    yield "</svg>"


def main():
    rows = [row for name in FILES for row in json.loads((ROOT / name).read_text())]
    drawn = "\n".join(picture(rows)) + "\n"
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(drawn)
    elif PICTURE.read_text() != drawn:
        sys.exit(f"{PICTURE.name} is not what the measurements give: run python3 docs/kl_against_size.py")


if __name__ == "__main__":
    main()
