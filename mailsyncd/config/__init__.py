"""The configuration: TOML and environment in, frozen values out, every mistake told at once.

load.py is the way in; values.py is what the rest of mailsyncd sees. pydantic stays in here.
"""

import os

# pydantic would look through all that is installed for plugins, at every start, and let each of them see
# every value that it validates: passwords, too.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
