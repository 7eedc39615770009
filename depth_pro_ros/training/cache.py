"""Where training keeps what it derives from installed packages: meshes, backbone weights."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return (and create) `$XDG_CACHE_HOME/depth_pro_ros/<name>`."""
    base = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    folder = base / 'depth_pro_ros' / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
