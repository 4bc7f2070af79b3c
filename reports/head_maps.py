"""Maps of a model's attention heads: what they are worth, what they look at, and how many of them pay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from evaluation.measurement import Comparison, Measurement, Run
from reports.marks import mark_of
from reports.number import Reading, plain, read_comparison, read_measurement, read_p_value
from reports.outline import Block, Chart, Fold, Grid, Paragraph, Switch
from reports.table import Cell, Table, table_of

Rows = Sequence[dict[str, Any]]

ROLES = {
    "previous": "the token before",
    "next": "the token after",
    "first": "the first token",
    "separator": "a separator",
    "same": "the token itself",
    "rare": "the text's rarest token",
}
ENTROPY = "entropy_nats"
_NAMED = 5  # heads, in words
_STRONGEST = 3  # of each role


def importance_blocks(run: Run) -> Iterator[Block]:
    """The map of scores, and how far their order holds."""
    rows: Rows = run.tables.get("head_scores", [])
    if not rows:
        return
    about = run.tables["conditions"]["head_scores"]
    ordered = sorted(rows, key=lambda row: row["rank"])
    figures = _grid_of("Scores of the heads", rows, "score")
    yield replace(
        _map("importance", f"Score by {about['criterion']}", rows, "score", "score", span=None), table=figures
    )
    strongest, weakest = _listed(ordered[:_NAMED]), _listed(ordered[::-1][:_NAMED])
    told = f"Scores by the criterion {about['criterion']} on {about['examples']:,} examples, higher is worth "
    yield Paragraph(f"{told}more. Strongest heads, as layer-head: {strongest}; weakest: {weakest}.")
    yield Paragraph(_trust(about["rank_correlation_of_halves"]) + _shared_scores(rows), "note")


def role_blocks(run: Run) -> Iterator[Block]:
    """A map for each role, the heads that have most of it, and all shares in a table."""
    rows: Rows = run.tables.get("head_roles", [])
    if not rows:
        return
    about = run.tables["conditions"]["head_roles"]
    even = about["uniform_attention_would_have"]
    known = [name for name in ROLES if rows[0][name] is not None]
    maps = [
        _map(
            f"role-{name}",
            f"Attention on {ROLES[name]}",
            rows,
            name,
            "share",
            span=(0.0, 1.0),
            label=name,
            more=f" Attention spread evenly would give {even[name]:.2f}.",
        )
        for name in known
    ]
    spread = f" Attention spread evenly would give {even[ENTROPY]:.2f}; 0 is a head that looks at one token alone."
    maps.append(
        _map("role-entropy", "Entropy of attention", rows, ENTROPY, "nats", span=None, label="entropy", more=spread)
    )
    yield Switch("Attention on", tuple(maps))
    yield Grid(_strongest(rows, known, even))
    told = (
        f"Means over {about['tokens']:,} tokens of {about['texts']:,} texts, padding left out. Shares overlap: a token "
    )
    told += "may be the first, rare and the token before at once. How rare a token is was counted in "
    told += f"{about['rarity_counted_in_texts']:,} texts of the same data; equally rare ones share. Where a head looks "
    told += "says little of what it is worth: see head importance."
    missing = [ROLES[name] for name in ROLES if name not in known]
    if missing:
        told += f" No head could look at {' or '.join(missing)}: no text has it, or it is out of sight."
    if about["texts_left_out_as_too_long"]:
        longest, count = about["longest_tokens"], about["texts_left_out_as_too_long"]
        told += f" {count:,} texts of more than {longest} tokens were left out."
    yield Paragraph(told, "note")
    yield Fold("All shares", (Grid(_all_roles(rows, known)),))


def trade_off_blocks(run: Run) -> Iterator[Block]:
    """Quality over the number of heads where all models have the same parameters."""
    rows: Rows = run.tables.get("head_counts", [])
    if not rows:
        return
    about = run.tables["conditions"]["head_counts"]
    yield _trade_off_chart(run, rows)
    yield Grid(_trade_off_table(rows))
    yield Paragraph(
        f"Every row keeps about {100 * about['encoder_parameters_target']:g} % of the encoder's parameters: heads "
        f"leave by the criterion {about['criterion']}, then FFN channels by the same, until the size is met; what "
        "reads them is repaired by least squares, and nothing is trained. Scores and repair saw "
        f"{about['scored_and_repaired_on_examples']:,} examples, quality is that on {about['judged_on_examples']:,} "
        "others; no text is in both. Lost quality is against the uncut model, pair by pair. All rows are judged on the "
        "same examples, so the difference between two of them is surer than their intervals look. p-values are of one "
        "test each: of several rows, one below 0.05 comes up by chance more often than one time in twenty.",
        "note",
    )


# Maps


def _map(
    name: str,
    title: str,
    rows: Rows,
    key: str,
    legend: str,
    *,
    span: tuple[float, float] | None,
    label: str = "",
    more: str = "",
) -> Chart:
    ordered = sorted(rows, key=lambda row: -row[key])
    alt = f"{title}, {len(rows)} heads. Highest, as layer-head: {_listed(ordered[:_NAMED], key)}; "
    alt += f"lowest: {_listed(ordered[::-1][:_NAMED], key)}."

    def draw() -> dict[str, Any]:
        from reports.charts.heads import Cell as Square
        from reports.charts.heads import heads

        squares = [Square(row["layer"], row["head"], float(row[key]), f"{row[key]:.3g}") for row in rows]
        return heads(squares, title=legend, span=span)

    return Chart(name, f"{title}, head by head.{more}", alt, draw, label=label)


def _grid_of(caption: str, rows: Rows, key: str) -> Table:
    """Layers below one another, heads side by side."""
    values = {(row["layer"], row["head"]): row[key] for row in rows}
    layers, columns = (sorted({place[axis] for place in values}) for axis in (0, 1))
    body = [[f"layer {layer}", *(_figure(values.get((layer, head))) for head in columns)] for layer in layers]
    return table_of(caption, ["layer", *(f"head {head}" for head in columns)], body)


def _figure(value: float | None) -> Cell:
    return "" if value is None else Reading(f"{value:.3g}")


def _listed(rows: Rows, key: str | None = None) -> str:
    return ", ".join(_called(row) + ("" if key is None else f" ({row[key]:.3g})") for row in rows)


def _called(row: dict[str, Any]) -> str:
    return f"{row['layer']}-{row['head']}"


# Importance


def _trust(agreement: float | None) -> str:
    if agreement is None:
        return "Too few examples, or scores all alike, to say how far this order can be trusted."
    told = (
        f"Between two halves of the examples the order of the heads agrees with a rank correlation of {agreement:.2f}"
    )
    return f"{told} (1 is the same order, 0 none): below about 0.8, give more --examples before cutting by it."


def _shared_scores(rows: Rows) -> str:
    grouped = any("kv_group" in row for row in rows)
    return " Query heads of one KV group leave together and share its score." if grouped else ""


# Roles


def _strongest(rows: Rows, known: Sequence[str], even: dict[str, float]) -> Table:
    body: list[list[Cell]] = []
    for name in known:
        ordered = sorted(rows, key=itemgetter(name), reverse=True)[:_STRONGEST]
        cells = [Reading(f"{row[name]:.2f}", _called(row)) for row in ordered]
        body.append([ROLES[name], *cells, *[""] * (_STRONGEST - len(cells)), Reading(f"{even[name]:.2f}")])
    places = [f"{place}. head" for place in range(1, _STRONGEST + 1)]
    columns = ["share of attention on", *places, "spread evenly"]
    return table_of("The heads that look most at each kind of token: share, and layer-head", columns, body)


def _all_roles(rows: Rows, known: Sequence[str]) -> Table:
    body: list[list[Cell]] = [
        [_called(row), *(Reading(f"{row[name]:.3f}") for name in known), Reading(f"{row[ENTROPY]:.2f}")] for row in rows
    ]
    return table_of("Shares of attention of every head", ["layer-head", *known, "entropy, nats"], body)


# The trade-off


def _trade_off_chart(run: Run, rows: Rows) -> Chart:
    metric = rows[0]["metric"]
    whole = run.measured(run.targets[0].name, metric)
    quality = [_quality(row) for row in rows]
    alt = f"{metric} by the number of heads at equal parameters: "
    alt += "; ".join(f"{row['heads']} heads {read_measurement(each)}" for row, each in zip(rows, quality, strict=True))
    alt += f". Uncut: {read_measurement(whole)}." if whole else "."

    def draw() -> dict[str, Any]:
        from reports.charts.head_counts import Count, head_counts

        counts = [
            Count(row["heads"], plain(row["ffn_channels"]), mark_of(each))
            for row, each in zip(rows, quality, strict=True)
        ]
        return head_counts(counts, title=metric, whole=mark_of(whole) if whole else None)

    caption = (
        f"{metric} against the number of heads, all models with the same encoder parameters: fewer heads leave room "
    )
    caption += "for more FFN channels. Lines are 95 % intervals."
    return Chart("head-counts", caption, alt, draw)


def _trade_off_table(rows: Rows) -> Table:
    body: list[list[Cell]] = []
    for row in rows:
        lost = Comparison(
            target="",
            baseline="",
            name="quality_drop",
            value=row["quality_drop"],
            low=row["quality_drop_low"],
            high=row["quality_drop_high"],
            unit=row["quality_drop_unit"],
        )
        cells: list[Cell] = [plain(row["heads"]), Reading(plain(row["ffn_channels"]))]
        cells += [
            _parameters(row),
            read_measurement(_quality(row)),
            read_comparison(lost),
            read_p_value(row["p_value"]),
        ]
        body.append(cells)
    metric = rows[0]["metric"]
    columns = ["heads", "FFN channels", "encoder parameters", metric, f"{metric} lost", "p-value"]
    return table_of("Quality with different numbers of heads at equal parameters", columns, body)


def _parameters(row: dict[str, Any]) -> Reading:
    count = row["encoder_parameters"]
    record = Measurement(target="", name="parameters", value=count, unit="parameters", higher_is_better=False)
    return Reading(read_measurement(record).figure, f"{100 * row['encoder_parameters_fraction']:.1f} %")


def _quality(row: dict[str, Any]) -> Measurement:
    return Measurement(
        target="",
        name=row["metric"],
        value=row["value"],
        low=row["low"],
        high=row["high"],
        unit=row["unit"],
        count=row["count"],
        higher_is_better=row["higher_is_better"],
    )
