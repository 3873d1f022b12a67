"""Every field of a run, with the recipe of the published numbers (arXiv 2110.00375) as default."""

from ml_collections import ConfigDict


def get_config():
  """The configuration that every other file in this folder starts from."""
  config = ConfigDict()
  config.seed = 0  # parameters, data order, every random draw

  config.data = ConfigDict()
  config.data.name = 'mnist'  # digits, mnist, fashion_mnist, cifar10, celeb_a
  # Instead of TFDS: a folder of IDX files, of ArrayRecord files, of images, or a .npz/.npy file.
  config.data.path = ''
  config.data.tfds_dir = ''  # of TFDS; '': $TFDS_DATA_DIR, or ~/tensorflow_datasets
  config.data.cache_dir = '~/.cache/fsvae_jax'  # decoded images, one memory-mapped array a split
  config.data.decoded_gb = 32.0  # a larger split is not decoded into that cache, but streamed
  config.data.validation = 0  # n: of n training images, one is not trained on but chooses the best
  config.data.crop = 0  # centre crop to this many pixels before resizing; 0 is none
  config.data.flip = False  # mirror half of the training images, drawn anew at every step

  config.model = ConfigDict()
  config.model.name = 'fsvae'  # fsvae, ann_vae, autoencoder
  config.model.image_size = 32  # pixels a side; a multiple of 2 ** len(features)
  config.model.channels = 1  # 1 grey, 3 colour
  config.model.features = (32, 64, 128, 256)  # encoder widths; the decoder mirrors them
  config.model.timesteps = 16  # T
  config.model.latent_dim = 128  # D
  config.model.draws = 20  # K, spikes from which one is picked
  config.model.tau = 0.25  # share of the membrane that is left after a step
  config.model.v_th = 0.2  # threshold
  # reference_rectangle, paper_rectangle, triangle, arctan, sigmoid, fast_sigmoid
  config.model.surrogate = 'reference_rectangle'
  config.model.surrogate_width = 1.0  # times as wide as defined, about the threshold
  config.model.learned = ()  # constants of the neurons that each layer learns: tau, v_th
  config.model.latent = 'bernoulli'  # how z comes about: bernoulli, mixture, rate (ESVAE)
  config.model.components = 200  # patterns with which z begins, of the latent mixture
  # Where the gradient of a pick goes, to the picked spike or to all K alike: picked, mean.
  config.model.pick_gradient = 'picked'
  # Pixels of the decoder's last spikes: leaky, learned (a weight a step), attention (TAID).
  config.model.readout = 'leaky'
  config.model.scheduled_sampling = (0.1, 0.3)  # rate at the first and at the last step of training
  config.model.distance = 'mmd'  # between posterior and prior: mmd, kld (the latent rate: mmd)
  config.model.distance_weight = -1.0  # negative: as published (mmd 1, kld 1e-4; of rates 1e-3)
  # Of the decoder's Gaussian: fixed, as published; or error, a batch's own squared error: the loss
  # is then pixels / 2 * log(error) + weight * distance, of kld times 1 in nats.
  config.model.variance = 'fixed'
  # n: a model of labels 0 to n - 1, which also does without one; 0: labels are not looked at.
  config.model.classes = 0
  # Synapses compute in float32 or bfloat16; membranes, statistics, read-out, weights: float32.
  config.model.dtype = 'float32'
  config.model.remat = False  # recompute each network in its backward pass: slower, less memory

  config.train = ConfigDict()
  # Workdir of a run to begin with: its arrays of the same name and shape, of its newest step.
  config.train.start = ''
  config.train.only = ()  # networks that learn: ('prior',) leaves all others as they are; (): all
  config.train.batch_size = 250  # over all devices
  config.train.micro_batches = 1  # parts of a batch, computed one after the other: less memory
  config.train.epochs = 150  # passes over the training images
  config.train.steps = 0  # if not 0: this many steps, whatever `epochs` says
  config.train.optimizer = 'adamw'  # adamw, muon (kernels by Muon, the rest by AdamW)
  config.train.learning_rate = 1e-3  # the highest
  config.train.schedule = 'constant'  # constant, cosine (to zero at the end)
  config.train.warmup_steps = 0  # linear, from zero
  config.train.weight_decay = 1e-3  # decoupled
  config.train.clip_norm = 0.0  # largest global norm of the gradient; 0 is no limit
  # Moving average of parameters and statistics, used in tests; 0 is none. After n steps the old
  # average weighs (1 + n) / (10 + n) where that is less.
  config.train.ema_decay = 0.0
  # The loss grows by so much for each uJ that an image's reconstruction takes beyond
  # `energy_target`, counted as in `eval`; 0 counts nothing.
  config.train.energy_weight = 0.0
  config.train.energy_target = 0.0  # uJ a reconstruction
  config.train.log_every = 50  # steps
  config.train.test_every = 1000  # steps between tests; 0 tests only at the end
  config.train.checkpoint_every = 1000  # steps
  config.train.keep = 3  # newest checkpoints that stay; the best stays as well: data.validation

  config.test = ConfigDict()
  config.test.batch_size = 250  # over all devices; of tests, evaluation and generated images
  config.test.images = 0  # only the first so many test images; 0 is all
  config.test.samples = 64  # generated images in the picture

  config.eval = ConfigDict()  # after training and with --mode=eval
  # What is computed, in this order: files of fsvae_jax/metrics.
  config.eval.metrics = ('reconstruction', 'fad', 'labels', 'spikes', 'robustness', 'inception')
  config.eval.seeds = 3  # of all draws: figures are means, with their standard deviation
  config.eval.images = 5000  # generated for Frechet distances and Inception scores
  config.eval.probe = 1000  # test images, and samples, whose spikes are counted and perturbed
  config.eval.fad_epochs = 5  # of training for the autoencoder of FAD, once for each data set
  config.eval.fad_reference = ''  # folder with the authors' autoencoder and statistics
  config.eval.inception = ''  # folder with Inception weights; '' is data.cache_dir/inception
  config.eval.compare = ''  # workdirs, DIR,DIR, to show beside it; '' is <workdir>_ann, if any
  config.eval.ac_pj = 0.9  # energy of an accumulate, 32 bits, 45 nm (Horowitz, ISSCC 2014)
  config.eval.mac_pj = 4.6  # and of a multiply-accumulate
  return config.lock()


# What may stand behind the name of a data set, as in `--config=mnist:ann`.
KINDS = ('', 'ann', 'esvae', 'taid')


def of_kind(config, kind, batches):
  """`config` itself, or another model of the family on the same data.

  'ann' is the ANN VAE of its shape, which the paper compares with. 'esvae' has the rate latent of
  arXiv 2310.14839 with that paper's latent size. A recipe that counts epochs also gets its 300
  epochs and its learning rate for grey images; one with a number of steps of its own keeps both.
  (There, the prior's layer learns ten times as fast.) 'taid' has the
  read-out of Qiu et al. (ICLR 2023 tiny papers).

  Args:
    config: of the FSVAE.
    kind: one of `KINDS`.
    batches: of an epoch: the weight of the KL divergence is one over it, as published.

  Raises:
    ValueError: for another kind.
  """
  if kind not in KINDS:
    raise ValueError(
      f'there is no kind {kind!r} of this configuration; known: {", ".join(KINDS[1:])}'
    )
  if kind == 'ann':
    names = ('image_size', 'channels', 'features', 'latent_dim')
    sizes = {name: config.model[name] for name in names}
    with config.unlocked():
      config.model = ConfigDict({'name': 'ann_vae', **sizes, 'kl_weight': 1 / batches})
    config.train.weight_decay = 1e-2
  if kind == 'esvae':
    config.model.latent = 'rate'
    config.model.latent_dim = 32
    if not config.train.steps:  # else a recipe of its own, which stays
      config.train.epochs = 300
      config.train.learning_rate = 3e-3 * config.train.batch_size / 250
  if kind == 'taid':
    config.model.readout = 'attention'
  return config
