"""Charts, as SVG files in bytes."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = '#2563a8', '#d97a1c', '#9aa0a6'
MOST = 96  # neurons of a layer in a raster
STYLE: Any = {  # on the page's own background, whichever it is
  'font.size': 9,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'savefig.facecolor': 'none',
  'axes.facecolor': 'none',
}


def chart(draw: Callable, height: float = 2.6, panels: int = 1) -> bytes:
  """What `draw(*axes)` draws on so many axes, one below the other."""
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(4.8, height), layout='constrained')
    draw(*figure.subplots(panels, squeeze=False)[:, 0])
    out = io.BytesIO()
    figure.savefig(out, format='svg', metadata={'Date': None})
  return out.getvalue()


def training(metrics: list[dict], name: str, label: str) -> bytes | None:
  """A scalar of training and tests over the steps; None if metrics.jsonl has none of that name."""
  of = lambda key: [(row['step'], row[key]) for row in metrics if key in row]
  trained, tested = of(f'train/{name}'), of(f'test/{name}')
  if not trained:
    return None

  def draw(axis):
    axis.plot(*zip(*trained, strict=True), color=BLUE, label='training')
    if tested:
      axis.plot(*zip(*tested, strict=True), 'o-', color=ORANGE, ms=3, label='test')
    axis.set(xlabel='step', ylabel=label, ylim=(0, None))
    axis.legend(frameon=False)

  return chart(draw)


def rasters(spikes: dict[str, np.ndarray]) -> bytes:
  """Spikes {layer: [T, neurons]}, one strip a layer: time runs down, neurons to the right."""

  def draw(*axes):
    for axis, (name, spikes_TN) in zip(axes, spikes.items(), strict=True):
      chosen = np.linspace(0, spikes_TN.shape[1] - 1, min(MOST, spikes_TN.shape[1])).astype(int)
      axis.imshow(spikes_TN[:, chosen], cmap='Greys', aspect='auto', interpolation='nearest')
      axis.set_ylabel(name, rotation=0, ha='right', va='center')
      axis.set(xticks=[], yticks=[])

  return chart(draw, height=0.45 * len(spikes) + 0.2, panels=len(spikes))


def raster(spikes_TN: np.ndarray, xlabel: str) -> bytes:
  """Spikes [T, neurons] with their axes."""

  def draw(axis):
    axis.imshow(spikes_TN, cmap='Greys', aspect='auto', interpolation='nearest')
    axis.set(xlabel=xlabel, ylabel='step')

  return chart(draw)


def bars(rows: list[dict], columns: dict[str, tuple[str, str]], unit: str) -> bytes:
  """Bars of a table's layers; columns: {label: (column's name, color)}, first layer on top."""

  def draw(axis):
    y, width = np.arange(len(rows)), 0.8 / len(columns)
    for i, (label, (name, color)) in enumerate(columns.items()):
      axis.barh(y + i * width, [row[name] for row in rows], width, color=color, label=label)
    axis.set_yticks(y + 0.4 - width / 2, [row['layer'] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel(unit)
    if len(columns) > 1:
      axis.legend(frameon=False)

  return chart(draw, height=0.26 * len(rows) + 0.9)


def sorted_rates(rates: Sequence[float]) -> bytes:
  """Firing rates in rising order."""

  def draw(axis):
    axis.plot(np.sort(rates), color=BLUE)
    axis.set(xlabel='latent channels, by their rate', ylabel='spikes a step', ylim=(0, 1))

  return chart(draw)


def robustness(points: list, label: str, levels: dict[str, float]) -> bytes:
  """Errors [(x, error)], with horizontal lines of other errors {label: error}."""

  def draw(axis):
    axis.plot(*zip(*points, strict=True), 'o-', color=BLUE, ms=3)
    for (name, level), style in zip(levels.items(), ('--', ':'), strict=True):
      axis.axhline(level, color=GREY if style == '--' else ORANGE, lw=1, ls=style, label=name)
    axis.set(xlabel=label, ylabel='squared error', ylim=(0, None))
    axis.legend(frameon=False)

  return chart(draw)
