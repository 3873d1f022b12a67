"""The reference: every public name has a docstring and a page; its examples and fields are true."""

import ast
import doctest
import importlib.util
import pathlib

import pytest

from docs import generated
from fsvae_jax import configuration, fields

pytestmark = pytest.mark.usefixtures('quick_compilation')

ROOT = pathlib.Path(__file__).parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
ROOMS = generated.rooms()
SOURCE = lambda module: pathlib.Path(importlib.util.find_spec(module).origin).read_text('utf-8')
WITH_EXAMPLES = [name for room in ROOMS.values() for name in room if '>>> ' in SOURCE(name)]


def public(module):
  """{name: docstring} of a module, its public functions and classes, and their public methods."""
  path = ROOT / module.replace('.', '/')
  path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
  tree = ast.parse(path.read_text())
  found = {module: ast.get_docstring(tree)}
  kinds = ast.FunctionDef, ast.ClassDef
  for name, node in _named(module, tree, kinds):
    found[name] = ast.get_docstring(node)
    if isinstance(node, ast.ClassDef):
      found |= {n: ast.get_docstring(m) for n, m in _named(name, node, ast.FunctionDef)}
  return found


def _named(prefix, tree, kinds):
  own = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith('_')]
  return [(f'{prefix}.{node.name}', node) for node in own]


def test_every_public_name_has_a_docstring_and_its_module_a_page(capsys):
  pages = generated.reference()
  total = 0
  for room, modules in ROOMS.items():
    for module in modules:
      names = public(module)
      assert not [name for name, text in names.items() if not text]
      assert f'::: {module}\n' in pages[f'reference/{room}.md']
      total += len(names) - 1
  with capsys.disabled():
    print(f' {total} public names, all documented ', end='')
  assert total > 300


def test_every_page_of_the_reference_is_in_the_navigation():
  site = (ROOT / 'mkdocs.yml').read_text()
  assert [page for page in generated.reference() if f'- {page}\n' not in site] == []


@pytest.mark.parametrize('module', WITH_EXAMPLES)
def test_examples_in_docstrings_hold(module):
  result = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
  assert result.failed == 0


def test_spiking_and_models_have_examples():
  of = lambda module: doctest.DocTestFinder().find(importlib.import_module(module))
  count = sum(bool(test.examples) for module in WITH_EXAMPLES for test in of(module))
  assert count >= 20


PAGES = [path for path in ROOT.glob('docs/**/*.md') if '>>> ' in path.read_text()]


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.name)
def test_examples_in_pages_hold(path):
  result = doctest.testfile(str(path), module_relative=False, optionflags=FLAGS)
  assert result.attempted and not result.failed


def test_every_field_stands_in_the_configurations_page_with_its_default_and_meaning():
  page, words = generated.configuration(), generated.comments()
  for name, value in fields.flatten(configuration.defaults().to_dict()).items():
    assert words.get(name), f'{name} has no comment in configs/default.py'
    row = f'| `{name}` | `{value!r}` | {words[name]} | {fields.FIELDS[name].range} |'
    assert row in page
