"""What the site shows of the rest of the checkout: pictures and sound, where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PICTURES = ("baselines/*.png", "notebooks/pictures/*.png", "notebooks/pictures/*.wav")


def on_files(files: Files, config: Any) -> Files:
    """Add the pictures of records and reports under their own paths."""
    root = Path(config.config_file_path).parent
    for pattern in PICTURES:
        for path in sorted(root.glob(pattern)):
            name = str(path.relative_to(root))
            files.append(File.generated(config, f"from/{name}", abs_src_path=str(path)))
    return files
