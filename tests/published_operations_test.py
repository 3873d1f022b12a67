"""The counting rules of others give what others published."""

import pytest

from benchmarks import published_operations as published


def test_whole_kernels_at_30_percent():
  fsvae_uj, ann_uj, even = published.nominal(0.3)
  assert ann_uj == pytest.approx(46.9, abs=0.05) and fsvae_uj == pytest.approx(50.0, abs=0.2)
  assert even == pytest.approx(0.28, abs=0.005)
  assert published.nominal(even)[0] == pytest.approx(ann_uj)


@pytest.mark.parametrize('column', published.PUBLISHED)
def test_each_column_of_the_published_table_implies_about_30_percent(column):
  assert published.implied(column) == pytest.approx(0.3, abs=0.01)
  at_30 = published.reference(0.3)[column]
  assert at_30 == pytest.approx(published.PUBLISHED[column], rel=0.03)
