"""Pages made of the code: a page of reference for each room, and the configuration's fields."""

import ast
import pathlib
import tokenize

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'fsvae_jax'
DEFAULTS = ROOT / 'configs' / 'default.py'

# Where the modules that are in no room stand.
TOP = 'main'


def rooms() -> dict[str, list[str]]:
  """{room: names of its modules}: sub-packages with all below them, and what lies above, TOP."""
  found: dict[str, list[str]] = {}
  for path in sorted(PACKAGE.rglob('*.py')):
    parts = path.relative_to(ROOT).with_suffix('').parts
    if parts[1] == 'configs':
      continue  # data: their fields are the configuration's page
    module = '.'.join(parts).removesuffix('.__init__')
    found.setdefault(parts[1] if len(parts) > 2 else TOP, []).append(module)
  return found


def reference() -> dict[str, str]:
  """{file: text} of the reference's pages."""
  pages = {f'reference/{room}.md': page(room, modules) for room, modules in rooms().items()}
  return pages | {'reference/configuration.md': configuration()}


def page(room: str, modules: list[str]) -> str:
  """A room's page: every module in full, through mkdocstrings."""
  title = 'main, train, evaluate, ...' if room == TOP else room
  blocks = [f'::: {module}\n    options:\n      show_submodules: false\n' for module in modules]
  return f'# {title}\n\n' + '\n'.join(blocks)


def configuration() -> str:
  """The page of all fields: default, range, what it is, whether a run may go on with another."""
  from fsvae_jax import fields
  from fsvae_jax.configs import default

  values, words = fields.flatten(default.get_config().to_dict()), comments()
  lines = ['# Configuration', '', INTRODUCTION, '']
  for section in dict.fromkeys(name.rpartition('.')[0] for name in fields.FIELDS):
    lines += [f'## {section or "above the sections"}', '', *HEAD]
    for name, field in fields.FIELDS.items():
      if name.rpartition('.')[0] == section:
        value = f'`{values[name]!r}`' if name in values else "the model's own"
        cells = f'`{name}`', value, words.get(name, ''), field.range, 'yes' * field.may_change
        lines.append(f'| {" | ".join(cell.replace("|", "&#124;") for cell in cells)} |')
    lines.append('')
  return '\n'.join(lines)


HEAD = ['| field | default | meaning | it must be | may change |', '|---|---|---|---|---|']
INTRODUCTION = """\
Every field can be set on the command line, `--config.train.steps=1000`; a value that is not allowed
is refused at the start, by name. Defaults are the recipe of the published numbers; the files of
`configs/` change some of them. Names that stand for functions (`model.surrogate`, ...) are checked
against the tables of those functions. A run may go on with another value of the fields that may
change. This page is made of `configs/default.py` and
`fsvae_jax.fields.FIELDS`."""


def comments() -> dict[str, str]:
  """{field: its comment in configs/default.py, beside where it is first set or above}."""
  with tokenize.open(DEFAULTS) as file:
    tokens = list(tokenize.generate_tokens(file.readline))
  beside = {t.start[0]: t for t in tokens if t.type == tokenize.COMMENT}
  found = {}
  for node in ast.walk(ast.parse(DEFAULTS.read_text())):
    if not isinstance(node, ast.Assign) or not ast.unparse(node.targets[0]).startswith('config.'):
      continue
    first, last = node.lineno, node.end_lineno or node.lineno
    while first - 1 in beside and not beside[first - 1].line.split('#')[0].strip():
      first -= 1
    text = ' '.join(beside[i].string[1:].strip() for i in range(first, last + 1) if i in beside)
    found.setdefault(ast.unparse(node.targets[0]).removeprefix('config.'), text)
  return found
