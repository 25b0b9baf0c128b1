"""Says which clients are installed: proves that the environment of the judges works."""

import importlib.metadata as metadata
import sys

for name in sys.argv[1:]:
    print(name, metadata.version(name))
