"""How the loop is shown: a table in the terminal, and a picture where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from pipelines.demo.loop import Story

NO_PICTURE = "no picture: matplotlib is not installed; pip install -e '.[notebooks]' adds it"


def render_story(story: Story) -> Table:
    """A row a week: what decided and what it was worth, what the run promised and what is true."""
    columns = ("week", "live, true", "earned", "run", "estimate", "95 % interval", "truth", "holds")
    table = Table(*columns, box=None, pad_edge=False)
    for cycle in story.cycles:
        table.add_row(
            str(cycle.week),
            f"{cycle.live:.4f}",
            f"{cycle.earned:.4f}",
            cycle.outcome,
            f"{cycle.estimate:.4f}",
            rf"\[{cycle.low:.4f}, {cycle.high:.4f}]",
            f"{cycle.truth:.4f}",
            "yes" if cycle.holds else "no",
        )
    return table


def sum_up(story: Story) -> list[str]:
    """The figures in words."""
    cycles = f"{len(story.cycles)} cycle{'' if len(story.cycles) == 1 else 's'}"
    return [
        f"true value per decision, in sales: uniform {story.uniform:.4f}, always "
        f"{story.best_action} {story.best_constant:.4f}, oracle {story.oracle:.4f}",
        f"after {cycles} {story.final:.4f} is live: {story.gap_closed:.0%} of the way from "
        "uniform to the oracle",
        f"the estimate's 95 % interval held the truth in {story.held} of {cycles}",
    ]


def draw_story(story: Story, path: Path) -> Path | None:
    """Write the picture as PNG; None, and nothing written, where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    plot_story(story, figure.add_subplot())
    figure.savefig(path, dpi=150)
    return path


def plot_story(story: Story, axes: Any) -> None:
    """The story on axes of matplotlib: what was live each week, and each estimate where its policy
    could first have decided."""
    cycles = story.cycles
    weeks = [*(cycle.week for cycle in cycles), len(cycles) + 1]
    levels = (
        ("oracle", story.oracle),
        (f"always {story.best_action}", story.best_constant),
        ("uniform", story.uniform),
    )
    for number, (name, value) in enumerate(levels):
        axes.axhline(value, color=f"C{number + 2}", linestyle="--", linewidth=1, label=name)
    live = [*(cycle.live for cycle in cycles), story.final]
    axes.step(weeks, live, where="mid", color="C0", label="live policy, true value")
    axes.plot(weeks[:-1], [cycle.earned for cycle in cycles], "x", color="C0", label="earned")
    estimates = [cycle.estimate for cycle in cycles]
    below = [cycle.estimate - cycle.low for cycle in cycles]
    above = [cycle.high - cycle.estimate for cycle in cycles]
    style = {"fmt": "o", "capsize": 3, "color": "C1", "label": "estimate before the release, 95 %"}
    axes.errorbar(weeks[1:], estimates, yerr=[below, above], **style)
    truths = [cycle.truth for cycle in cycles]
    axes.plot(weeks[1:], truths, "D", color="black", markersize=4, label="its true value")
    axes.set_xlabel("week")
    axes.set_ylabel("value per decision, sales")
    axes.set_xticks(weeks)
    axes.legend(fontsize="small", loc="lower right")
