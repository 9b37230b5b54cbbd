"""Tables 1 to 3.

Built-in and custom cells at one number of threads, and the share of the machine's limit that they
reach.
"""

import statistics

from ..timing import table
from . import limit, problems
from .report import NAMES, median_ms, note_down, progress, said, summary
from .workers import KINDS, LONG, PAUSE, installed, race


def training_steps(workers, options, figures):
    """The cells in all sizes, at one number of threads."""
    here = []
    for part, cells in (("built-in", problems.BUILT_IN), ("custom", problems.CUSTOM)):
        chosen = [cell for cell in cells if cell in options.cells]
        if part not in options.tables or not chosen:
            continue
        found = [
            one(workers, part, cell, size, options) for cell in chosen for size in options.sizes
        ]
        here += found
        figures["steps"] += found
        kinds = [
            kind
            for kind in kinds_of(part, None)
            if any(kind in row["times"] or kind in row["notes"] for row in found)
        ]
        peers = [kind for kind in kinds if kind != "jit"]
        rows = [
            (
                said(workers.threads),
                *(NAMES[kind] for kind in kinds),
                *(f"{NAMES[kind].split()[0]} ratio" for kind in peers),
            )
        ]
        for row in found:
            ms = [
                f"{row['times'][kind]['ms']:.2f}"
                if kind in row["times"]
                else row["notes"].get(kind, "") and "-"
                for kind in kinds
            ]
            ratios = [
                f"{row['ratios'][kind]:.2f}" if kind in row["ratios"] else "" for kind in peers
            ]
            rows.append((f"{row['cell']}, {row['size']}", *ms, *ratios))
        if part == "custom":
            means = {
                kind: [row["ratios"][kind] for row in found if kind in row["ratios"]]
                for kind in peers
            }
            shown = [f"{statistics.geometric_mean(r):.2f}" if r else "" for r in means.values()]
            rows.append(("geometric mean", *[""] * len(kinds), *shown))
        table(f"training step of {part} cells: ms, and ratios to tg.jit", rows)
        for row in found:
            for kind, note in row["notes"].items():
                note_down(
                    figures,
                    f"{row['cell']}, {row['size']}, {said(workers.threads)}, {NAMES.get(kind, kind)}: {note}",
                )
    shares(workers, [row for row in here if row["shares"]])


def kinds_of(part, size):
    """The contenders that are installed, for a size; None for any size."""
    if part == "built-in":
        kinds = [
            "jit",
            "cell",
            *(["plain"] if size in problems.EAGER or size is None else []),
            "layer",
            "scan",
        ]
    else:
        kinds = [
            "jit",
            "cell",
            *(["loop"] if size in problems.EAGER or size is None else []),
            "scan",
        ]
    return [kind for kind in kinds if installed(KINDS[kind])]


def one(workers, part, cell, size, options):
    """Time one cell in one size: a row of figures."""
    progress(f"{cell}, {size}, {said(workers.threads)}")
    dimensions = problems.SIZES[size]
    problem = problems.problem(cell, dimensions)
    contenders = {kind: (kind, problem) for kind in kinds_of(part, size)}
    if part == "built-in" and size in problems.LIMITED:
        contenders["sgemm"] = ("sgemm", problem)
    times, notes = race(
        workers, contenders, 1.0 if options.quick else 4.0, PAUSE if workers.threads == 1 else LONG
    )
    ms = {kind: median_ms(t) for kind, t in times.items()}
    ratios = {
        kind: t / ms["jit"]
        for kind, t in ms.items()
        if "jit" in ms and kind not in ("jit", "sgemm")
    }
    found = {}
    if "sgemm" in ms:
        peak = limit.FLOPS / ms["sgemm"]
        found = {
            kind: problems.flops(cell, dimensions) / t / peak
            for kind, t in ms.items()
            if kind != "sgemm"
        }
    kept = {kind: summary(t) for kind, t in times.items()}
    return {
        "cell": cell,
        "size": size,
        "threads": workers.threads,
        "times": kept,
        "ratios": ratios,
        "shares": found,
        "notes": notes,
    }


def shares(workers, found):
    """Table 3, from the rows in which the large product ran too."""
    if not found:
        return
    kinds = [kind for kind in NAMES if any(kind in row["shares"] for row in found)]
    rows = [
        (said(workers.threads), "limit, GFLOP/s", "needed, GFLOP", *(NAMES[kind] for kind in kinds))
    ]
    for row in found:
        peak = limit.FLOPS / row["times"]["sgemm"]["ms"] / 1e6
        work = problems.flops(row["cell"], problems.SIZES[row["size"]]) / 1e9
        shown = [f"{row['shares'][kind]:.1%}" if kind in row["shares"] else "-" for kind in kinds]
        rows.append((f"{row['cell']}, {row['size']}", f"{peak:.0f}", f"{work:.2f}", *shown))
    table(
        f"matrix products of a training step, as a share of the limit: NumPy, {limit.SIDE} cubed, float32",
        rows,
    )
