"""The recipe of docs/how-to/export.md for ONNX, where jax2onnx is: an environment of its own."""

import jax
import numpy as np
import pytest

from tests.exchange import trained as make_trained

jax2onnx = pytest.importorskip('jax2onnx')
onnxruntime = pytest.importorskip('onnxruntime')


def test_onnxruntime_draws_the_packages_images(tmp_path):
  trained = make_trained.make(tmp_path, latent='mixture')
  model, variables = trained.model, jax.device_get(trained.variables)

  def generate(picks, uniform):
    return model.decode(variables, model.prior(variables, {'picks': picks, 'uniform': uniform}))

  draws = jax.device_get(model.draw(jax.random.key(0), 5, train=False))
  path, names = str(tmp_path / 'generate.onnx'), ['picks', 'uniform']
  shapes = [jax.ShapeDtypeStruct(draws[name].shape, draws[name].dtype) for name in names]
  jax2onnx.to_onnx(generate, shapes, return_mode='file', output_path=path, input_names=names)
  (images,) = onnxruntime.InferenceSession(path).run(None, draws)
  np.testing.assert_allclose(images, jax.jit(generate)(**draws), atol=1e-5)
