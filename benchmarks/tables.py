"""Markdown tables, printed line by line."""


def header(*cells):
  print()
  row(*cells)
  row(*['---'] * len(cells))


def row(*cells):
  """A line; numbers that are not whole have four digits."""
  shown = (f'{c:.4g}' if isinstance(c, float) else str(c) for c in cells)
  print('| ' + ' | '.join(shown) + ' |', flush=True)
