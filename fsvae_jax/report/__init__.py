"""The report of a run, report.html.

page.html says what stands where, page.py writes it, charts.py draws, names.py has the words.
"""

from fsvae_jax.report.page import write

__all__ = ['write']
