"""What figures are called for people, and what the paper published for them."""

# arXiv 2110.00375, table 1: after 150 epochs. Its Inception score is not the standard one.
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
  'mnist': {'FSVAE': (0.031, 97.06, 35.54), 'ANN VAE': (0.048, 112.5, 17.09)},
  'fashion_mnist': {'FSVAE': (0.031, 90.12, 15.75), 'ANN VAE': (0.050, 123.7, 18.08)},
  'cifar10': {'FSVAE': (0.066, 175.5, 133.9), 'ANN VAE': (0.105, 229.6, 196.9)},
  'celeb_a': {'FSVAE': (0.051, 101.6, 112.9), 'ANN VAE': (0.059, 92.53, 156.9)},
}
# How many test images the sets have (of celeb_a, the validation split is tested on), and of which
# shape: of the same, a run's figures stand beside the published ones.
TEST_IMAGES = {'mnist': 10_000, 'fashion_mnist': 10_000, 'cifar10': 10_000, 'celeb_a': 19_867}
IMAGE_SHAPES = {
  'mnist': [32, 32, 1],
  'fashion_mnist': [32, 32, 1],
  'cifar10': [32, 32, 3],
  'celeb_a': [64, 64, 3],
}
PUBLISHED_NAMES = ('reconstruction_mse', 'fid', 'fad_authors')

# What stands first: (metric, title, what it says, {figure: {figure beside it: its label}}). Of the
# figures, the first that is there is shown.
NUMBERS: tuple[tuple[str, str, str, dict[str, dict[str, str]]], ...] = (
  (
    'reconstruction',
    'Error of a reconstruction',
    'A test image is encoded and drawn again. Mean squared difference of the pixels, which lie in '
    '[-1, 1]: less is better, 0 is the image itself.',
    {'reconstruction_mse': {}},
  ),
  (
    'fad',
    'Distance of new images from real ones (FAD)',
    'New images as a crowd against the test images as a crowd: less is better. The floor is what '
    'other real images get.',
    {
      'fad_authors': {'fad_floor_authors': 'floor: real images'},
      'fad': {'fad_floor': 'floor: real images'},
    },
  ),
  (
    'spikes',
    'Firing rate',
    'How often a neuron fires in a time step, from 0 (never) to 1 (always). Silence costs nothing.',
    {'firing_rate': {'firing_rate_generate': 'drawing a new image'}},
  ),
  (
    'spikes',
    'Energy of a reconstruction, µJ',
    'An estimate for a 45 nm chip. A spike costs an addition at every neuron that it reaches; in '
    'an ordinary network (ANN) each connection costs a multiplication and an addition.',
    {'energy_uj_reconstruct': {'energy_uj_reconstruct_ann': 'ANN of the same shape'}},
  ),
)

LABELS = {
  'reconstruction_mse': 'error of a reconstruction',
  'psnr': 'PSNR of a reconstruction, dB (more is better)',
  'ssim': 'SSIM: likeness of a reconstruction, at most 1',
  'fad': 'FAD, own code: distance of new images from real ones',
  'fad_reconstruction': 'FAD, own code: distance of reconstructions from real images',
  'fad_floor': 'its floor: real images',
  'precision': 'precision: share of new images that lie among real ones',
  'precision_floor': 'the same of real images',
  'recall': 'recall: share of real images that lie among new ones',
  'recall_floor': 'the same of real images',
  'kid_code': 'kernel distance of new images from real ones, own code',
  'kid_code_floor': 'its floor: real images',
  'fad_authors': "FAD, authors' code: the same, compares with the paper",
  'fad_reconstruction_authors': "FAD of reconstructions, authors' code",
  'fad_floor_authors': 'its floor: real images',
  'fid': 'FID',
  'kid': 'KID',
  'inception_score': 'Inception score',
  'label_accuracy': 'samples of the asked class',
  'label_entropy': 'entropy of the classes of samples',
  'classifier_accuracy': 'the same classifier on test images',
  'firing_rate': 'firing rate',
  'firing_rate_generate': 'firing rate, drawing new images',
  'sop_rate_reconstruct': 'share of all possible synaptic operations, reconstruction',
  'sop_rate_generate': 'share of all possible synaptic operations, new image',
  'energy_uj_reconstruct': 'energy of a reconstruction, µJ',
  'energy_uj_reconstruct_ann': 'energy of a reconstruction by the ANN, µJ',
  'energy_uj_generate': 'energy of a new image, µJ',
  'energy_uj_generate_ann': 'energy of a new image by the ANN, µJ',
  'break_even_rate_reconstruct': 'the share at which spikes cost what the ANN does, reconstruction',
  'break_even_rate_generate': 'the share at which spikes cost what the ANN does, new image',
  'latent_never_fires': 'latent channels that never fire',
  'latent_always_fires': 'latent channels that always fire',
  'mse_unperturbed': 'error, latent unchanged',
  'mse_dropout_10': 'error, 10 % of spikes lost',
  'mse_flip_5': 'error, 5 % of entries flipped',
  'mse_shuffled': 'error, steps in random order',
  'mse_half_time': 'error after half of the steps',
}

# In the order in which they are shown; pictures of other names come after them.
CAPTIONS = {
  'samples': 'New images, drawn from random numbers',
  'nearest': 'The first new images, and below each the training image with the nearest pixels: '
  'none should be a copy',
  'classes': 'New images of a class that was asked for, a row for each',
  'reconstructions': 'Test images, and below each row their reconstructions',
  'interpolation': 'From one test image to another, through the latent; one pair a row',
  'growth': 'Test images, and below them what the decoder has drawn after 1, 2, ... time steps: '
  'its read-out sums up the spikes as they come',
}
