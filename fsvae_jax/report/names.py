"""What figures are called for people, and what the paper published for them."""

# arXiv 2110.00375, table 1: after 150 epochs. Its Inception score is not the standard one.
PUBLISHED = {
  'mnist': {'FSVAE': (0.031, 97.06, 35.54), 'ANN VAE': (0.048, 112.5, 17.09)},
  'fashion_mnist': {'FSVAE': (0.031, 90.12, 15.75), 'ANN VAE': (0.050, 123.7, 18.08)},
  'cifar10': {'FSVAE': (0.066, 175.5, 133.9), 'ANN VAE': (0.105, 229.6, 196.9)},
  'celeb_a': {'FSVAE': (0.051, 101.6, 112.9), 'ANN VAE': (0.059, 92.53, 156.9)},
}
PUBLISHED_NAMES = ('reconstruction_mse', 'fid', 'fad_authors')

LABELS = {
  'reconstruction_mse': 'reconstruction error',
  'psnr': 'PSNR, dB',
  'ssim': 'SSIM',
  'fad': 'FAD, own code',
  'fad_floor': 'its floor: real images',
  'fad_authors': "FAD, authors' code",
  'fad_floor_authors': 'its floor: real images',
  'fid': 'FID',
  'kid': 'KID',
  'inception_score': 'Inception score',
  'firing_rate': 'firing rate',
  'firing_rate_generate': 'firing rate, generation',
  'sop_rate_reconstruct': 'SOP rate, reconstruction',
  'sop_rate_generate': 'SOP rate, generation',
  'energy_uj_reconstruct': 'energy of a reconstruction, µJ',
  'energy_uj_reconstruct_ann': 'the same, ANN',
  'energy_uj_generate': 'energy of a sample, µJ',
  'energy_uj_generate_ann': 'the same, ANN',
  'break_even_rate_reconstruct': 'break-even rate, reconstruction',
  'break_even_rate_generate': 'break-even rate, generation',
  'latent_never_fires': 'latent channels that never fire',
  'latent_always_fires': 'latent channels that always fire',
  'mse_unperturbed': 'error, latent unchanged',
  'mse_dropout_10': 'error, 10 % of spikes lost',
  'mse_flip_5': 'error, 5 % of entries flipped',
  'mse_shuffled': 'error, steps in random order',
  'mse_half_time': 'error after half of the steps',
}

CAPTIONS = {
  'reconstructions': 'Test images, and below them their reconstructions',
  'samples': 'Samples of the prior',
  'interpolation': 'From one test image to another, through the latent; one pair a row',
}
