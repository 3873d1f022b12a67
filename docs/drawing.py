"""The drawing of how z comes about, as SVG: three steps of the posterior's sampler."""

INK, SPIKE, PICK, PAPER = '#333a45', '#2563a8', '#d97a1c', '#ffffff'
STEP, BOX, K = 230, 150, 5  # pixels from step to step; width of a network; spikes drawn of the K
FIRED = ('10110', '01000', '11101')  # of one channel, at t = 0, 1, 2
PICKED = (2, 3, 4)


def latent() -> str:
  """Text of the SVG."""
  parts = [part for t in range(len(FIRED)) for part in step(t)]
  parts.append(text(350, 28, 'one latent channel d, three of T steps', 15))
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 410" font-family="sans-serif">'
    f'<defs><marker id="head" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
    f'<path d="M0,0 L6,3 L0,6 z" fill="{INK}"/></marker></defs>'
    f'<rect width="700" height="410" rx="10" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
  )


def step(t: int) -> list[str]:
  """One step: the inputs below, the network, its K spikes, the picked one as z[t] above."""
  left, spike = 50 + STEP * t, FIRED[t][PICKED[t]]
  middle = left + BOX / 2
  before = '0' if t == 0 else f'z[{t - 1}]'
  parts = [
    text(left + 25, 376, f'x[{t}]', 15),
    text(left + 110, 376, before, 15),
    arrow(left + 25, 358, left + 25, 322),
    arrow(left + 110, 358, left + 110, 322),
    f'<rect x="{left}" y="260" width="{BOX}" height="58" rx="6" fill="#eef2f8" stroke="{INK}"/>',
    text(middle, 285, 'posterior Q', 15),
    text(middle, 305, 'synapses, tdBN, LIF', 11),
    arrow(middle, 258, middle, 208),
    text(left - 8, 187, 'K', 14),
  ]
  for k in range(K):
    parts += dot(left + 15 + 30 * k, 183, FIRED[t][k] == '1', k == PICKED[t])
  picked = left + 15 + 30 * PICKED[t]
  parts += [arrow(picked, 166, middle, 108), text(middle - 36, 140, 'one picked', 11)]
  parts += dot(middle, 90, spike == '1', True)
  parts.append(text(middle, 66, f'z[{t}] = {spike}', 16))
  if t + 1 < len(FIRED):  # to the next step's input, and the membranes
    bend, end = left + 208, left + STEP + 110
    parts.append(line(f'M{middle + 16},90 H{bend} V396 H{end} V384', dashed=True))
    parts.append(arrow(left + BOX + 2, 289, left + STEP - 4, 289))
    parts.append(text(left + BOX + 25, 304, 'residue', 11))
  return parts


def dot(x, y, fired, picked):
  """A neuron's output: filled if it fired, ringed if it is the one that is picked."""
  fill = SPIKE if fired else PAPER
  ring = [f'<circle cx="{x}" cy="{y}" r="14" fill="none" stroke="{PICK}" stroke-width="3"/>']
  own = f'<circle cx="{x}" cy="{y}" r="9" fill="{fill}" stroke="{SPIKE}" stroke-width="2"/>'
  return [own] + ring * picked


def arrow(x, y, to_x, to_y):
  return line(f'M{x},{y} L{to_x},{to_y}')


def line(path, dashed=False):
  dash = ' stroke-dasharray="5 4"' if dashed else ''
  stroke = f'stroke="{INK}" stroke-width="1.5"{dash}'
  return f'<path d="{path}" fill="none" {stroke} marker-end="url(#head)"/>'


def text(x, y, words, size):
  return (
    f'<text x="{x}" y="{y}" font-size="{size}" fill="{INK}" text-anchor="middle">{words}</text>'
  )
