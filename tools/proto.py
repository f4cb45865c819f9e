"""Write anew what protoc makes of the interfaces' .proto files; `--check` only compares."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from orlop.kit import process

_SOURCE = Path("src")
_FILES = (
    "orlop/cri/proto/cri.proto",
    "orlop/cri/nri/proto/nri.proto",
    "orlop/cri/nri/proto/ttrpc.proto",
)
_SECONDS = 60


def main() -> int:
    stale = [target for target, text in generated().items() if not _is(target, text)]
    if "--check" in sys.argv[1:]:
        for target in stale:
            print(f"{target}: is not what protoc makes of its .proto; run: make proto", file=sys.stderr)
        return int(bool(stale))
    for target, text in generated().items():
        target.write_text(text, encoding="utf-8")
    print(f"{len(stale)} files changed")
    return 0


def generated() -> dict[Path, str]:
    """What each generated file is to hold."""
    with TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "grpc_tools.protoc", f"-I{_SOURCE}"]
        process.run([*argv, f"--python_out={folder}", f"--pyi_out={folder}", *_FILES], timeout=_SECONDS)
        made = sorted(path for path in Path(folder).rglob("*_pb2.py*") if path.is_file())
        return {_SOURCE / path.relative_to(folder): path.read_text(encoding="utf-8") for path in made}


def _is(target: Path, text: str) -> bool:
    return target.exists() and target.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
