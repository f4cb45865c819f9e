"""One stage, from its FROM to its last instruction."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from orlop.build import mounts, work
from orlop.build.add import copy as add
from orlop.build.add import digest, remote
from orlop.build.configure import Configuring
from orlop.build.containerfile import expand, model, parse
from orlop.build.containerfile.scope import PROXY_ARGS, Scope
from orlop.build.document import Document
from orlop.build.errors import StepFailed, refused
from orlop.build.keys import Found, Keys, key
from orlop.build.model import LayerOf
from orlop.build.mountpoints import Mountpoints
from orlop.build.run import Job
from orlop.build.state import State, layers_of
from orlop.image.platform import Platform
from orlop.kit import limits
from orlop.kit.errors import Cancelled, OrlopError
from orlop.pod import inside
from orlop.runtime import users
from orlop.store.pack.folder import Times

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.build.build import Build
    from orlop.store.scratch_root import ScratchRoot


class StageBuild:
    """Carries out one stage of `build`. For one thread."""

    def __init__(self, build: Build, stage: model.Stage) -> None:
        self._build = build
        self._stage = stage
        self._options = build.options
        self._number = 0
        self._total = len(stage.instructions) + 1
        self._state: State

    def run(self) -> State:
        """The stage's state at its end."""
        with _said_where(self._stage.base.place):
            triggers = self._begin()
        self._total += len(triggers)
        for instruction in (*triggers, *self._stage.instructions):
            self._build.check()
            self._number += 1
            with _said_where(instruction.place):
                self._one(instruction)
        return self._state

    # -- FROM --------------------------------------------------------------------------------------------

    def _begin(self) -> list[model.Instruction]:
        """The state that the stage begins with; the base's ONBUILD triggers."""
        self._number = 1
        build = self._build
        base = expand.expanded(self._stage.base, build.global_args, build.parsed.escape)
        self._say(base)
        before = build.parsed.stage(base.image, before=self._stage.index)
        if before is not None:
            self._state = build.state_of(before).child()
            return self._triggers(f"stage {before.name}")
        if base.image == "scratch":
            platform = Platform.parse(base.platform or build.platform)
            document, layers, image_id = Document.empty(platform), list[LayerOf](), ""
        else:
            image_id = build.image_of(
                build.meant(base.image), base.platform or build.platform, self._stage.base.place
            )
            document = Document.of_base(build.store.config_bytes(image_id))
            layers = layers_of(build.store, image_id)
        configuring = Configuring(document)
        environment = dict(entry.partition("=")[::2] for entry in document.run.get("Env") or [])
        scope = Scope(
            environment,
            global_args=build.global_args,
            build_args=self._options.build_args,
            escape=build.parsed.escape,
        )
        self._state = State(configuring, scope, layers, image_id)
        return self._triggers(f"image {base.image}")

    def _triggers(self, name: str) -> list[model.Instruction]:
        run = self._state.document.run
        expressions = run.pop("OnBuild", None) or []
        return [parse.trigger(str(expression), name) for expression in expressions]

    # -- instructions ------------------------------------------------------------------------------------

    def _one(self, instruction: model.Instruction) -> None:
        state, escape = self._state, self._build.parsed.escape
        if isinstance(instruction, model.Arg):
            final = state.scope.arg(instruction)
            words = " ".join(name if value is None else f"{name}={value}" for name, value in final.pairs)
            self._configured(final, f"ARG {words}")
        elif isinstance(instruction, model.Env):
            changed = state.scope.env(instruction)
            state.configuring.set_environment(state.scope.environment)
            self._configured(changed, "ENV " + " ".join(f"{name}={value}" for name, value in changed.pairs))
        else:
            ready = expand.expanded(instruction, state.scope.variables, escape)
            if isinstance(ready, model.Run):
                self._run(ready)
            elif isinstance(ready, model.Copy | model.Add):
                self._copy(ready)
            elif isinstance(ready, model.Workdir):
                self._workdir(ready)
            else:
                state.configuring.apply(ready)
                self._configured(ready, ready.text)

    def _configured(self, instruction: model.Instruction, text: str) -> None:
        self._say(instruction)
        self._state.document.add_history(self._build.created, f"/bin/sh -c #(nop) {text}", empty=True)

    def _workdir(self, instruction: model.Workdir) -> None:
        state = self._state
        state.configuring.apply(instruction)
        path = state.configuring.workdir
        if path == "/":
            self._configured(instruction, f"WORKDIR {path}")
            return

        def make(root: ScratchRoot) -> None:
            user = users.resolve(root.path, state.configuring.user or "0")
            inside.make_folder(root.path, path, owner=(user.uid, user.gid))

        self._step(
            instruction,
            Keys((key("workdir", self._base_key, path, state.configuring.user),)),
            f"/bin/sh -c #(nop) WORKDIR {path}",
            lambda: self._on_root(make),
        )

    def _copy(self, instruction: model.Copy | model.Add) -> None:
        state = self._state
        with contextlib.ExitStack() as stack:
            # A stage that must be built first is waited for outside of the turn: others may need it.
            name = instruction.from_ if isinstance(instruction, model.Copy) else ""
            origin = work.origin(self._build, self._stage, name, instruction.place)
            fetched: tuple[remote.Fetched, ...] = ()
            if isinstance(instruction, model.Add) and any(map(remote.is_remote, instruction.sources)):
                scratch = stack.enter_context(self._build.scratch())
                fetched = remote.fetch(instruction, scratch, tick=self._build.check)
            keys = self._copy_keys(instruction, origin, fetched)

            def put(root: ScratchRoot) -> None:
                users = root.path
                if instruction.link and state.image_id:
                    users = stack.enter_context(self._build.store.image_root(state.image_id))
                target = add.Target(root.path, users, state.configuring.workdir, self._options.newest)
                source = stack.enter_context(origin.open())
                scratch = f"{root.work}/scratch"
                os.mkdir(scratch, 0o700)
                add.copy(
                    instruction, source, target, scratch=scratch, fetched=fetched, tick=self._build.check
                )

            said = f"/bin/sh -c #(nop) {instruction.text}"
            self._step(instruction, keys, said, lambda: self._on_root(put, bare=instruction.link))

    def _copy_keys(
        self, instruction: model.Copy | model.Add, origin: work.Origin, fetched: tuple[remote.Fetched, ...]
    ) -> Keys:
        """By where the files are from, where that says enough; then by what they hold."""
        words = self._words(instruction)
        exact = []
        if origin.key:
            exact.append(key("copied", self._base_key, origin.key, words))
            if self._build.is_cached(exact[0]):
                return Keys(tuple(exact))
        with origin.open() as tree:
            of = digest.of_sources(instruction, tree, fetched=fetched, tick=self._build.check)
        exact.append(key("copy", self._base_key, of, words))
        named = any(letter.isalpha() for letter in instruction.chown)
        if instruction.link and not named:
            return Keys(tuple(exact), key("link", self._times, of, words))
        return Keys(tuple(exact))

    @property
    def _times(self) -> list[object]:
        return [self._options.newest, self._options.timestamp is not None]

    @property
    def _base_key(self) -> list[object]:
        """What lies below the next step."""
        return [self._state.chain, *self._times]

    def _words(self, instruction: model.Copy | model.Add) -> list[object]:
        words: list[object] = [
            instruction.keyword,
            instruction.sources,
            instruction.destination,
            instruction.chown,
            instruction.chmod,
            instruction.link,
            instruction.exclude,
            [(heredoc.name, heredoc.content) for heredoc in instruction.heredocs],
            self._state.configuring.workdir,
        ]
        if isinstance(instruction, model.Copy):
            return [*words, instruction.parents]
        return [*words, instruction.checksum, instruction.keep_git_dir, instruction.unpack]

    # -- RUN ---------------------------------------------------------------------------------------------

    def _run(self, instruction: model.Run) -> None:
        state, build = self._state, self._build
        if not state.image_id:
            raise refused(instruction.place, "there is nothing in this stage to run", "COPY a program first")
        if instruction.security == "insecure" and "security.insecure" not in self._options.allow:
            raise refused(
                instruction.place,
                "RUN --security=insecure is not allowed",
                "allow it: orlop build --allow security.insecure",
            )
        network = instruction.network if instruction.network != "default" else self._options.network
        prepared = mounts.prepare(build, self._stage, instruction, state.configuring.workdir)
        script = instruction.script(state.configuring.shell)
        environment = state.scope.run_environment
        parts = [
            script.argv,
            script.file,
            sorted((name, value) for name, value in environment.items() if self._counts(name)),
            state.configuring.user,
            state.configuring.workdir,
            network,
            instruction.security,
            prepared.key,
            self._options.add_hosts,
        ]
        arguments = [f"{name}={value}" for name, value in sorted(state.scope.arguments.items())]
        command = " ".join(script.argv) if script.file is None else script.file
        said = f"|{len(arguments)} {' '.join(arguments)} {command}" if arguments else command
        self._step(
            instruction,
            Keys((key("run", self._base_key, *parts),)),
            said,
            lambda: self._carry_out(instruction, script, prepared, network),
        )

    def _counts(self, name: str) -> bool:
        return name not in PROXY_ARGS or name in self._state.scope.arguments

    def _carry_out(
        self, instruction: model.Run, script: model.Script, prepared: mounts.Prepared, network: str
    ) -> LayerOf | None:
        state, build = self._state, self._build
        build.require_runnable(state.document, instruction.place)
        made: list[LayerOf | None] = []
        words = _LastWords()
        step = self._name

        def heard(data: bytes) -> None:
            words.add(data)
            build.report.output(step, data)

        def commit(container_id: str, mountpoints: Mountpoints) -> None:
            with build.store.taken_rootfs(container_id) as root:
                mountpoints.clean(f"{root.work}/layer/diff")
                made.append(self._committed(root))

        with build.scratch() as scratch, prepared.open(scratch, script) as ready:
            job = Job(
                image_id=state.image_id,
                argv=script.argv,
                environment=tuple(state.scope.run_environment.items()),
                user=state.configuring.user,
                workdir=state.configuring.workdir,
                network=network,
                privileged=instruction.security == "insecure",
                mounts=ready.mounts,
                overlays=ready.overlays,
                secrets=ready.secrets,
                hosts=self._options.add_hosts,
                resources=self._options.resources,
                output=heard,
            )
            code = build.runner.run(job, commit)
        if code:
            raise StepFailed(
                f"{instruction.place}: {instruction.text[:200]}",
                f"exited with {code}",
                hint="see what it wrote above",
                code=code,
                output=words.text,
            )
        return made[0]

    # -- what all steps share ------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        number = f"{self._number}/{self._total}"
        return f"{self._stage.name} {number}" if len(self._build.parsed.stages) > 1 else number

    def _say(self, instruction: model.Instruction) -> None:
        self._build.report.step(self._name, instruction.text)

    def _on_root(self, fill: Callable[[ScratchRoot], None], *, bare: bool = False) -> LayerOf | None:
        with self._build.store.scratch_root(self._state.image_id, bare=bare) as root:
            fill(root)
            return self._committed(root)

    def _committed(self, root: ScratchRoot) -> LayerOf | None:
        times = Times(self._options.newest, self._options.timestamp is not None)
        done = root.commit(self._state.chain, times, self._build.check)
        if done is None:
            return None
        return LayerOf(done.chain_id, done.diff_id, done.diff_id, done.size)

    def _step(
        self,
        instruction: model.Instruction,
        keys: Keys,
        created_by: str,
        make: Callable[[], LayerOf | None],
    ) -> None:
        """A step that may make a layer: found by one of its keys, or made now."""
        build, state = self._build, self._state
        found = build.found(keys, state)
        if found is None:
            with build.turn():
                build.check()
                self._say(instruction)
                found = Found(make(), build.created)
        else:
            build.report.cached(self._name, instruction.text)
        build.count(cached=found.image_id is not None)
        state.document.add_history(found.created, created_by, empty=found.layer is None)
        if found.layer is not None:
            state.layers.append(found.layer)
            state.document.diff_ids.append(found.layer.diff_id)
            state.image_id = found.image_id or build.stored(state, found.created)
        elif not state.image_id:
            state.image_id = build.stored(state, found.created)
        build.remember(keys, state.image_id, found)


@contextlib.contextmanager
def _said_where(place: model.Place) -> Iterator[None]:
    """Errors of the block name the line of the Containerfile."""
    try:
        yield
    except Cancelled:
        raise
    except OrlopError as error:
        if not error.subject.startswith(place.file):
            error.subject = f"{place}: {error.subject}"
        raise


class _LastWords:
    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > 2 * limits.BUILD_OUTPUT_KEPT:
            del self._data[: -limits.BUILD_OUTPUT_KEPT]

    @property
    def text(self) -> str:
        return bytes(self._data[-limits.BUILD_OUTPUT_KEPT :]).decode(errors="replace")
