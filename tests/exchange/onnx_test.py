"""The recipe of docs/how-to/export.md for ONNX, where jax2onnx is: an environment of its own."""

import jax
import numpy as np
import pytest

from tests.exchange import trained as make_trained

jax2onnx = pytest.importorskip('jax2onnx')
onnxruntime = pytest.importorskip('onnxruntime')


def test_onnxruntime_draws_the_packages_images(tmp_path):
  trained = make_trained.make(tmp_path)
  model, variables = trained.model, jax.device_get(trained.variables)

  def generate(picks):
    return model.decode(variables, model.prior(variables, {'picks': picks}))

  picks = jax.device_get(model.draw(jax.random.key(0), 5, train=False)['picks'])
  path = str(tmp_path / 'generate.onnx')
  shape = jax.ShapeDtypeStruct(picks.shape, picks.dtype)
  jax2onnx.to_onnx(generate, [shape], return_mode='file', output_path=path, input_names=['picks'])
  (images,) = onnxruntime.InferenceSession(path).run(None, {'picks': picks})
  np.testing.assert_allclose(images, jax.jit(generate)(picks), atol=1e-5)
