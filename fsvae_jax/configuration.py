import importlib.util
import pathlib


def load(text):
  name = pathlib.Path(text).stem
  spec = importlib.util.spec_from_file_location(
    name, pathlib.Path(__file__).parent.parent / 'configs' / f'{name}.py'
  )
  m = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(m)
  return m.get_config()


def run_name(text):
  return pathlib.Path(text).stem
