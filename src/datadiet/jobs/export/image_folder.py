"""An image folder: `train/<class>/<file>` with the bytes that every file had, under names fit for any file system."""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from datadiet.data.columns.roles import IMAGE_SUFFIXES
from datadiet.foundation.errors import BadInputError
from datadiet.jobs.export.formats import Job, WriteResult, export_format
from datadiet.jobs.export.plan import CLASS_TASKS, PartPlan
from datadiet.jobs.export.rows import images_of, kept_chunks

ONE_CLASS_AN_IMAGE = (
    "The format {format} has one class an image, and '{name}' is of the task '{task}'; export it to parquet, "
    "datasets, jsonl or webdataset."
)

_FORBIDDEN = frozenset('<>:"/\\|?*')
_DEVICES = re.compile(
    r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)
_ORDINARY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LONGEST_NAME = 120  # bytes of UTF-8, of the 255 that file systems allow: room for what copying tools add
_LONGEST_SUFFIX = 12
_LONGEST_PATH = 180  # characters below the class folder
_HEADER_BYTES = 32


def safe_component(text: str, fallback: str = "unnamed") -> str:
    r"""One component of a path for any text; ordinary names, of any script, stay as they are.

    >>> safe_component("../../etc/passwd"), safe_component("NUL.png"), safe_component("grüne Äpfel")
    ('_._.._etc_passwd', '_NUL.png', 'grüne Äpfel')
    >>> safe_component(" . ")
    'unnamed'
    """
    if len(text) <= _LONGEST_NAME and _ORDINARY.fullmatch(text) and not _DEVICES.fullmatch(text):
        return text if text.strip("_") else fallback
    text = unicodedata.normalize("NFC", text)
    # Categories Cc, Cf, Cs, Co, Cn: control, invisible and turning characters, half surrogates, unassigned.
    kept = ("_" if c in _FORBIDDEN or unicodedata.category(c)[0] == "C" else c for c in text)
    name = "".join(" " if unicodedata.category(c).startswith("Z") else c for c in kept)
    name = _shortened(name.strip(" ").rstrip(". "))
    if not name.strip("._ "):
        return fallback
    if name.startswith("."):
        name = "_" + name[1:]
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def _shortened(name: str) -> str:
    """At most `_LONGEST_NAME` bytes; what is cut is told by a digest, and a suffix stays."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    tail = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    if dot and stem and len(suffix.encode()) <= _LONGEST_SUFFIX:
        tail += dot + suffix
    else:
        stem = name
    room = _LONGEST_NAME - len(tail.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + tail


class FolderNames:
    """Names that were given out in one folder: two never mean the same file, also where case is ignored.

    >>> names = FolderNames()
    >>> names.take("Cat.png"), names.take("cat.png"), names.take("a/b"), names.take("a_b")
    ('Cat.png', 'cat-2.png', 'a_b', 'a_b-2')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, text: str, fallback: str = "unnamed") -> str:
        """A name that is safe and not taken yet."""
        name = safe_component(text, fallback)
        wanted = _same_file(name)
        if wanted in self._taken:
            stem, dot, suffix = name.rpartition(".")
            if not (dot and stem) or len(suffix) > _LONGEST_SUFFIX:
                stem, dot, suffix = name, "", ""
            number = self._next.get(wanted, 2)
            while _same_file(f"{stem}-{number}{dot}{suffix}") in self._taken:
                number += 1
            self._next[wanted] = number + 1
            name = f"{stem}-{number}{dot}{suffix}"
        self._taken.add(_same_file(name))
        return name


class SafeTree:
    """Relative paths that were given out below one folder.

    >>> tree = SafeTree()
    >>> tree.place(["a", "x.png"]), tree.place(["A", "x.png"]), tree.place(["a", "x.png"])
    ('a/x.png', 'A-2/x.png', 'a/x-2.png')
    """

    def __init__(self) -> None:
        self._names: defaultdict[str, FolderNames] = defaultdict(FolderNames)
        self._folders: dict[tuple[str, str], str] = {}

    def place(self, parts: Sequence[str]) -> str:
        """A path for one file: folders of the same text are shared, the file's own name is new."""
        parent = ""
        for text in parts[:-1]:
            if (parent, text) not in self._folders:
                self._folders[parent, text] = f"{parent}{self._names[parent].take(text)}/"
            parent = self._folders[parent, text]
        return parent + self._names[parent].take(parts[-1])


def _same_file(name: str) -> str:
    """What a file system that ignores case and composition compares."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


_MAGIC = {
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF87a": ".gif",
    b"GIF89a": ".gif",
    b"II*\x00": ".tif",
    b"MM\x00*": ".tif",
    b"\x00\x00\x00\x0cjP  ": ".jp2",
    b"\xff\x4f\xff\x51": ".jp2",
    b"BM": ".bmp",
    **dict.fromkeys((b"P1", b"P4"), ".pbm"),
    **dict.fromkeys((b"P2", b"P5"), ".pgm"),
    **dict.fromkeys((b"P3", b"P6"), ".ppm"),
}


def suffix_of(header: bytes, path: str | None = None) -> str:
    """The suffix for an image that starts with these bytes; that of its path if they tell nothing.

    Raises:
        BadInputError: nothing tells.

    >>> suffix_of(b"RIFF\\x10\\x00\\x00\\x00WEBPVP8L"), suffix_of(b"?", "a/b.JPEG")
    ('.webp', '.jpeg')
    """
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return ".webp"
    if header[4:12] in (b"ftypavif", b"ftypavis"):
        return ".avif"
    for magic, suffix in _MAGIC.items():
        if header.startswith(magic):
            return suffix
    named = PurePosixPath((path or "").replace("\\", "/")).suffix.lower()
    if named in IMAGE_SUFFIXES:
        return named
    raise BadInputError(
        "An image is of a format that its first bytes do not tell, so that no file can be named after it; "
        "export to parquet."
    )


def image_name(plan: PartPlan, id_: int, content: bytes | None, path: str | None) -> str:
    """The file name of an image in memory or in a file: its id, and the suffix that its first bytes tell."""
    if content is None:
        with Path(path or "").open("rb") as file:
            content = file.read(_HEADER_BYTES)
    return plan.key(id_) + suffix_of(content[:_HEADER_BYTES], path)


def write_image(target: Path, content: bytes | None, path: str | None) -> None:
    """A new file with exactly the bytes of an image in memory or in a file."""
    if content is not None:
        with target.open("xb", buffering=0) as file:
            file.write(content)
        return
    with Path(path or "").open("rb") as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


@export_format(
    "imagefolder",
    "`train/<class>/<file>`, `test/<class>/<file>`.",
    tasks=CLASS_TASKS,
    kinds=("image",),
    refusal=ONE_CLASS_AN_IMAGE,
)
def write_image_folder(job: Job) -> WriteResult:
    """Files of an image folder keep their names, other images are named by their id.

    Raises:
        BadInputError: the examples are no images.
    """
    examples = job.plan.examples
    if examples.kind != "image":
        raise BadInputError(
            f"'{examples.name}' holds {examples.kind}s, no images; export it to parquet, jsonl, csv or datasets."
        )
    names = FolderNames()
    folders = [names.take(name) for name in examples.class_names]
    column = examples.input_columns[0]
    others = [c for c in examples.train.dataset.column_names if c not in (column, examples.label_column)]
    renamed = {f: name for name, f in zip(examples.class_names, folders, strict=True) if f != name}
    result = WriteResult(class_names=renamed, columns_left_out=tuple(others), label_column="label")
    for plan in job.plan.parts:
        trees = [SafeTree() for _ in folders]
        made: set[str] = set()
        files: list[str] = []
        for chunk in kept_chunks(plan, job.label):
            for id_, label, content, path in images_of(chunk, column):
                parts = _own_name(job, plan, id_, path) or [image_name(plan, id_, content, path)]
                files.append(f"{plan.name}/{folders[label]}/{trees[label].place(parts)}")
                parent = files[-1].rpartition("/")[0]
                if parent not in made:
                    (job.folder / parent).mkdir(parents=True, exist_ok=True)
                    made.add(parent)
                write_image(job.folder / files[-1], content, path)
            job.advance(len(chunk))
        result.files[plan.name] = files
    return result


def _own_name(job: Job, plan: PartPlan, id_: int, path: str | None) -> list[str]:
    """The path below its class folder that an image of an image folder has; empty of any other image."""
    if job.origin.form != "imagefolder" or path is None:
        return []
    files = job.origin.files_of(plan.name)
    if not files:
        return [path.rsplit("/", 1)[-1]]
    root = job.origin.roots.get(plan.name, job.origin.roots["train"])
    if id_ >= len(files) or str(files[id_].resolve()) != path:
        raise BadInputError(f"The folder '{root}' was changed while it was exported; export again.")
    parts = list(files[id_].relative_to(root).parts[1:])
    return parts if len("/".join(parts)) <= _LONGEST_PATH else parts[-1:]
