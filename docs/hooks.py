"""What MkDocs calls while it builds: pages that no file holds, and equations as MathML."""

import html
import pathlib
import re
import sys

import latex2mathml.converter
import nbconvert
from mkdocs.structure.files import File
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from docs import drawing, generated  # noqa: E402

NOTEBOOKS = ROOT / 'build' / 'tutorials'


def on_files(files, config):
  """Adds the reference, the drawing, and the tutorials that `make docs` has executed."""
  pages = {**generated.reference(), 'explanation/latent.svg': drawing.latent()}
  for source in sorted((ROOT / 'docs/tutorials').glob('*.py')):
    pages |= tutorial(NOTEBOOKS / f'{source.stem}.ipynb')
  for name, content in pages.items():
    files.append(File.generated(config, name, content=content))
  return files


def tutorial(notebook):
  """{file: content} of an executed notebook: a page, its pictures, and the notebook itself."""
  if not notebook.exists():
    raise FileNotFoundError(f'{notebook} is not there: `make docs` executes the tutorials')
  exporter = nbconvert.MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor])
  resources = {'unique_key': notebook.stem, 'output_files_dir': notebook.stem}
  text, resources = exporter.from_filename(str(notebook), resources)
  link = f'[This page as a notebook]({notebook.name}){{ download }}, as it was executed.\n'
  pictures = {f'tutorials/{name}': data for name, data in resources['outputs'].items()}
  page = {f'tutorials/{notebook.stem}.md': f'{text}\n---\n\n{link}'}
  return page | pictures | {f'tutorials/{notebook.name}': notebook.read_bytes()}


EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content, page, config, files):
  """Equations as MathML, which browsers draw by themselves: no script, no network."""
  return EQUATION.sub(mathml, content)


def mathml(found):
  kind = {'span': 'inline', 'div': 'block'}[found[1]]
  return latex2mathml.converter.convert(html.unescape(found[2]).strip(), display=kind)
