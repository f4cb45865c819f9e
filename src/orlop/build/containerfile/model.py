"""What a Containerfile says: one frozen value per instruction, with the lines it stands on.

Texts are as written (variables not yet replaced, quotes still there where the language keeps them for the
expansion); `expand.expanded` makes from one an instruction of the same class with final values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Place:
    """Where something stands: lines count from 1, `last` is included (heredocs belong to it)."""

    file: str
    line: int
    last: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Warned:
    """What is accepted and should be written differently."""

    place: Place
    cause: str
    hint: str

    def __str__(self) -> str:
        return f"{self.place}: {self.cause} ({self.hint})"


@dataclass(frozen=True)
class Heredoc:
    """`<<NAME`: `content` is final but for variables: leading tabs are gone after `<<-` (`chomp`).

    `expand`: variables are replaced in COPY and ADD (the delimiter had no quotes); in RUN the shell does it.
    `raw` is the content as it stands in the file.
    """

    name: str
    content: str
    expand: bool = True
    chomp: bool = False
    raw: str = ""


@dataclass(frozen=True)
class Command:
    """`["a", "b"]` (shell false: `words` are the argv) or `a b` (shell true: one word, for the shell)."""

    words: tuple[str, ...]
    shell: bool

    def argv(self, shell: tuple[str, ...]) -> tuple[str, ...]:
        """What an image's config holds: the words, behind the stage's SHELL where the form asks for it."""
        return (*shell, *self.words) if self.shell else self.words


@dataclass(frozen=True)
class Script:
    """What RUN starts. `argv`; where `file` is not None it is a text that must lie at argv[0], mode 0755,
    read-only, in a folder that is no part of the layer (BuildKit's /dev/pipes)."""

    argv: tuple[str, ...]
    file: str | None = None


@dataclass(frozen=True)
class Mount:
    """One `RUN --mount=`. `kind`: bind, cache, tmpfs, secret or ssh. Empty texts: not given.

    `size` is in bytes (tmpfs). `sharing`: shared, private, locked or "". `mode`, `uid`, `gid`: None: default.
    `env`: the secret's variable; None: not asked for, "" means that its ID is the name.
    """

    kind: str = "bind"
    source: str = ""
    target: str = ""
    from_: str = ""
    read_only: bool = True
    id: str = ""
    sharing: str = ""
    required: bool = False
    size: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None


@dataclass(frozen=True)
class Instruction:
    """`text` is the instruction on one line, continuations joined and heredocs left out: for progress,
    history and cache keys."""

    keyword: ClassVar[str] = ""
    place: Place
    text: str


@dataclass(frozen=True)
class From(Instruction):
    """`image` may hold variables of global ARGs. `name` is lower case, "" without AS."""

    keyword: ClassVar[str] = "FROM"
    image: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True)
class Run(Instruction):
    """`mounts` are final after `expanded` only; `mount_options` are the flags' texts.

    `network`: default, none or host. `security`: sandbox or insecure.
    """

    keyword: ClassVar[str] = "RUN"
    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mount_options: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    security: str = "sandbox"

    def script(self, shell: tuple[str, ...], folder: str = "/dev/pipes") -> Script:
        """What to start with the stage's SHELL; `folder` is where a heredoc with `#!` will lie."""
        if not self.heredocs or not self.command.shell:
            return Script(self.command.argv(shell))
        line, first = self.command.words[0], self.heredocs[0]
        if line.strip().startswith("<<") and len(self.heredocs) == 1 and self.is_bare:
            if first.content.startswith("#!"):
                return Script((f"{folder}/{first.name.replace('/', '_')}",), first.content)
            return Script((*shell, first.content))
        full = line + "".join("\n" + heredoc.raw + heredoc.name for heredoc in self.heredocs)
        return Script((*shell, full))

    @property
    def is_bare(self) -> bool:
        """The whole command is one `<<NAME`."""
        from orlop.build.containerfile.heredoc import delimiter

        return delimiter(self.command.words[0]) is not None


@dataclass(frozen=True)
class Copy(Instruction):
    """`heredocs` are sources too. `from_`: a stage's name or number, a named context or an image; "" is the
    context. `chown`, `chmod` and `exclude` as written."""

    keyword: ClassVar[str] = "COPY"
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Add(Instruction):
    """`unpack`, `keep_git_dir`: None where the flag was not given (archives of the context are unpacked,
    downloaded ones are not)."""

    keyword: ClassVar[str] = "ADD"
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@dataclass(frozen=True)
class Arg(Instruction):
    """(name, default) pairs; None: declared without a default."""

    keyword: ClassVar[str] = "ARG"
    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Env(Instruction):
    keyword: ClassVar[str] = "ENV"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Label(Instruction):
    keyword: ClassVar[str] = "LABEL"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class User(Instruction):
    keyword: ClassVar[str] = "USER"
    user: str


@dataclass(frozen=True)
class Workdir(Instruction):
    """`path` may be relative to the one before."""

    keyword: ClassVar[str] = "WORKDIR"
    path: str


@dataclass(frozen=True)
class Volume(Instruction):
    keyword: ClassVar[str] = "VOLUME"
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Expose(Instruction):
    """After `expanded`: each "PORT/PROTOCOL", ranges written out, sorted, as an image's config has them."""

    keyword: ClassVar[str] = "EXPOSE"
    ports: tuple[str, ...]


@dataclass(frozen=True)
class Entrypoint(Instruction):
    """`ENTRYPOINT []` (no words) takes an inherited one away."""

    keyword: ClassVar[str] = "ENTRYPOINT"
    command: Command


@dataclass(frozen=True)
class Cmd(Instruction):
    keyword: ClassVar[str] = "CMD"
    command: Command


@dataclass(frozen=True)
class Shell(Instruction):
    keyword: ClassVar[str] = "SHELL"
    words: tuple[str, ...]


@dataclass(frozen=True)
class Stopsignal(Instruction):
    keyword: ClassVar[str] = "STOPSIGNAL"
    signal: str


@dataclass(frozen=True)
class Healthcheck(Instruction):
    """`test` as in an image's config: ("NONE",), ("CMD", argv...) or ("CMD-SHELL", text).

    Times in nanoseconds, 0: not given.
    """

    keyword: ClassVar[str] = "HEALTHCHECK"
    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Onbuild(Instruction):
    """`expression` goes into the image's config as it is, heredocs included; `parse.trigger` reads it."""

    keyword: ClassVar[str] = "ONBUILD"
    expression: str


@dataclass(frozen=True)
class Maintainer(Instruction):
    keyword: ClassVar[str] = "MAINTAINER"
    name: str


@dataclass(frozen=True)
class Stage:
    """`name`: of AS, else the index as text."""

    index: int
    base: From
    instructions: tuple[Instruction, ...] = ()

    @property
    def name(self) -> str:
        return self.base.name or str(self.index)


@dataclass(frozen=True)
class Containerfile:
    """`arguments`: the ARGs before the first FROM. `escape`: "\\" or "`"."""

    name: str
    stages: tuple[Stage, ...]
    arguments: tuple[Arg, ...] = ()
    escape: str = "\\"
    syntax: str = ""
    check: str = ""
    warnings: tuple[Warned, ...] = field(default=(), compare=False)

    def stage(self, name: str, *, before: int | None = None) -> Stage | None:
        """The stage of this name or number (names in any case), among those `before` an index."""
        known = self.stages if before is None else self.stages[:before]
        for stage in reversed(known):
            if stage.base.name and stage.base.name == name.lower():
                return stage
        if name.isascii() and name.isdigit() and len(name) < 6 and int(name) < len(known):
            return known[int(name)]
        return None
