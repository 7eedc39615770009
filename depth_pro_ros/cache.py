"""Where the package keeps what it downloads, and what it derives from installed packages."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Give `$XDG_CACHE_HOME/depth_pro_ros`, which need not be there yet."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'depth_pro_ros'
