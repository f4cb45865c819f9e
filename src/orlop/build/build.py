"""`build`: a Containerfile and a context become an image in the store.

Each stage that the target needs is carried out in a thread of its own; where it needs another stage it waits
for that one. Steps that do work take turns (`Options.jobs` at the same time).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping

from orlop.build import graph
from orlop.build.containerfile import model, parse, scope
from orlop.build.context import ignore
from orlop.build.context.open import open_context, open_named
from orlop.build.context.tree import Tree
from orlop.build.document import Document, manifest, moment
from orlop.build.errors import refused
from orlop.build.keys import Found, Keys, key
from orlop.build.model import Built, CachedStep, Images, LayerOf, Options, RemoteCache, Report, Silent
from orlop.build.run import Runner
from orlop.build.stage import StageBuild
from orlop.build.state import State, layers_of
from orlop.image.digest import Digest
from orlop.image.platform import Platform
from orlop.image.reference import Reference
from orlop.image.sink import ImageRecord, LayerRequest, Reader
from orlop.kit import limits
from orlop.kit.config import Config
from orlop.kit.errors import Cancelled, NotFound
from orlop.kit.files import read_bounded
from orlop.kit.node import Node
from orlop.kit.progress import QuietMeter
from orlop.pod import admission
from orlop.pod.context import Pods
from orlop.pod.model import ContainerConfig
from orlop.store.workspace import work_folder

_IMAGE_CONTEXTS = ("docker-image", "container-image", "docker")


def build(
    node: Node,
    config: Config,
    options: Options,
    *,
    images: Images,
    report: Report | None = None,
    remote: RemoteCache | None = None,
) -> Built:
    """Build the image, and point `options.names` at it. Blocks; a KeyboardInterrupt ends all of it.

    Raises InvalidInput (the Containerfile, a path), NotFound, StepFailed (a RUN), LimitExceeded, Cancelled,
    and what `images` and the store raise. Whatever was done by then is in the cache.
    """
    whole = Build(node, config, options, images, report or Silent(), remote)
    with whole.store.lease(), work_folder(whole.store.layout.tmp) as folder:
        context = open_context(options.context, file=options.file, scratch=folder)
        with context, contextlib.ExitStack() as stack:
            stack.callback(whole.close)
            tree = context.tree
            if options.ignore_file:
                tree = stack.enter_context(_ignoring(tree, options.ignore_file))
            return whole.run(tree, parse.parse(context.containerfile, context.name), folder)


class Build:
    """One build under way: what its stages share. Thread-safe."""

    def __init__(
        self,
        node: Node,
        config: Config,
        options: Options,
        images: Images,
        report: Report,
        remote: RemoteCache | None,
    ) -> None:
        self.node = node
        self.options = options
        self._names = tuple(canonical(name) for name in options.names)
        self.report = report
        self.platform = str(Platform.parse(options.platform)) if options.platform else str(Platform.host())
        self.pods = Pods(node, config, finish=False)
        self.store = self.pods.store
        self.runner = Runner(self.pods)
        began = time.time() if options.newest is None else options.newest
        self.created = moment(began)
        self.parsed: model.Containerfile
        self.global_args: dict[str, str] = {}
        self._tree: Tree
        self._folder = ""
        self._images = images
        self._remote = remote
        self._lock = threading.RLock()
        self._turns = threading.Semaphore(options.jobs or limits.BUILD_PARALLEL)
        self._stages: dict[int, _Running] = {}
        self._found_images: dict[tuple[str, str], str] = {}
        self._named: dict[str, Tree] = {}
        self._failure: BaseException | None = None
        self._steps = 0
        self._cached = 0
        self._done: list[CachedStep] = []

    def run(self, tree: Tree, parsed: model.Containerfile, folder: str) -> Built:
        self.parsed, self._tree, self._folder = parsed, tree, folder
        for warned in parsed.warnings:
            self.report.note(f"{warned}")
        target = graph.target_of(parsed, self.options.target)
        predefined = scope.platform_args(str(Platform.host()), self.platform, self.options.target)
        self.global_args = scope.globals_of(parsed, self.options.build_args, predefined)
        for name in scope.unused_build_args(parsed, self.options.build_args):
            self.report.note(f"no ARG {name} is declared: its build argument is not used")
        try:
            for stage in graph.needed(parsed, target):
                self._begin(stage)
            state = self.state_of(target)
        except BaseException as error:
            self._fail(error)
            self._join()
            assert self._failure is not None
            raise self._failure from None
        self._join()
        return self._finished(state)

    def close(self) -> None:
        for tree in self._named.values():
            tree.close()
        self.pods.close()

    # -- stages ------------------------------------------------------------------------------------------

    @property
    def context(self) -> _Context:
        return _Context(self._tree)

    def _begin(self, stage: model.Stage) -> _Running:
        with self._lock:
            running = self._stages.get(stage.index)
            if running is None:
                running = self._stages[stage.index] = _Running(self, stage)
                running.thread.start()
            return running

    def state_of(self, stage: model.Stage) -> State:
        """What the stage came to; waits for it. Raises what it failed with."""
        running = self._begin(stage)
        while not running.done.wait(0.5):
            self.check()
        if running.failure is not None:
            raise running.failure
        assert running.state is not None
        return running.state

    def failed(self, error: BaseException) -> None:
        """A stage has failed: the others have nothing to go on for."""
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            first = self._failure is None
            if first:
                self._failure = error
        if first:
            self.runner.cancel()

    def _join(self) -> None:
        while True:
            with self._lock:
                alive = [running.thread for running in self._stages.values() if running.thread.is_alive()]
            if not alive:
                return
            for thread in alive:
                try:
                    thread.join()
                except KeyboardInterrupt as error:
                    self._fail(error)

    def check(self) -> None:
        """Raises Cancelled where the build has failed elsewhere, or was interrupted."""
        if self._failure is not None:
            raise Cancelled("the build", "was interrupted", hint="build again: it goes on from the cache")

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """The right to work: `Options.jobs` steps have it at the same time."""
        while not self._turns.acquire(timeout=0.5):
            self.check()
        try:
            yield
        finally:
            self._turns.release()

    def let_go(self) -> None:
        """A stage's thread ends: its connections to the databases with it."""
        self.pods.close()

    # -- what stages need ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """A folder on the store's file system for the block."""
        with work_folder(self.store.layout.tmp) as folder:
            yield folder

    def image_of(self, name: str, platform: str, place: model.Place) -> str:
        """The ID of the image `name`, in the store now. Raises what fetching raises."""
        asked = "" if platform == str(Platform.host()) else platform
        with self._lock:
            known = self._found_images.get((name, asked))
        if known is None:
            known = self._images.base(name, asked)
            self.store.use(known)
            image = self.store.image(known)
            admission.admit(self.pods, image, ContainerConfig(name="build", image=name))
            with self._lock:
                self.pods.judged.add(known)
                self._found_images[name, asked] = known
        return known

    def meant(self, name: str) -> str:
        """The image that a name in the Containerfile means: `--build-context NAME=docker-image://IMAGE`."""
        path = self.options.contexts.get(name, "")
        transport, separator, image = path.partition("://")
        return image if separator and transport in _IMAGE_CONTEXTS else name

    def named_context(self, name: str) -> Tree | None:
        """The named context, open; None where there is none of that name, or it is an image."""
        path = self.options.contexts.get(name)
        if path is None or self.meant(name) != name:
            return None
        with self._lock:
            if name not in self._named:
                scratch = f"{self._folder}/context-{len(self._named)}"
                os.mkdir(scratch)
                self._named[name] = open_named(name, path, scratch=scratch, tick=self.check)
            return self._named[name]

    def require_runnable(self, document: Document, place: model.Place) -> None:
        """Raises Unsupported where this machine cannot run the stage's programs."""
        host = Platform.host()
        wanted = str(document.whole.get("architecture") or host.architecture)
        if wanted == host.architecture or (host.architecture, wanted) in (("amd64", "386"), ("arm64", "arm")):
            return
        if any(name.startswith("qemu-") for name in _binfmt()):
            return
        raise refused(
            place,
            f"this machine ({host.architecture}) runs no programs for {wanted}",
            "install qemu-user-static, which registers them with binfmt_misc",
        )

    # -- cache -------------------------------------------------------------------------------------------

    def count(self, *, cached: bool) -> None:
        with self._lock:
            self._steps += 1
            self._cached += cached

    def is_cached(self, exact: str) -> bool:
        return not self.options.no_cache and self.store.cached_step(exact) is not None

    def found(self, keys: Keys, state: State) -> Found | None:
        """What the cache has of a step on top of `state`."""
        if self.options.no_cache:
            return None
        for exact in keys.exact:
            image_id = self.store.cached_step(exact)
            if image_id is not None:
                layers = layers_of(self.store, image_id)
                if len(layers) - len(state.layers) in (0, 1):
                    layer = layers[-1] if len(layers) > len(state.layers) else None
                    return Found(layer, self.store.image_config(image_id).created, image_id)
        if keys.link and (image_id := self.store.cached_step(keys.link)) is not None:
            layer = self._relinked(layers_of(self.store, image_id)[-1], state)
            return Found(layer, self.store.image_config(image_id).created, "")
        for exact in keys.all if self._remote is not None else ():
            assert self._remote is not None
            step = self._remote.step(exact)
            if step is not None:
                self.report.note("a layer comes from the imported cache")
                return Found(step.bring(state.chain), step.created, "")
        return None

    def _relinked(self, layer: LayerOf, state: State) -> LayerOf:
        """The same layer on top of `state`."""
        chain = state.chain
        here = layer.diff_id if chain is None else Digest.of(f"{chain} {layer.diff_id}".encode())
        request = LayerRequest(
            Digest(here),
            chain,
            Digest(layer.diff_id),
            layer.compression,
            Digest(layer.digest),
            layer.size,
        )
        self.store.ensure_layer(request, _absent, meter=QuietMeter(), tick=self.check)
        return LayerOf(here, layer.diff_id, layer.digest, layer.size, layer.compression)

    def remember(self, keys: Keys, image_id: str, found: Found) -> None:
        """The step's keys lead to the image from now on."""
        with self._lock:
            self.pods.judged.add(image_id)  # as good as its base
            self._done.append(CachedStep(tuple(keys.all), found.layer, found.created))
        wanted = list(keys.exact)
        if keys.link and found.layer is not None:
            wanted.append(keys.link)
        if found.image_id:
            wanted = [exact for exact in wanted[:1] if self.store.cached_step(exact) is None]
        if wanted:
            self.store.remember_step(wanted, image_id)

    def stored(self, state: State, created: str) -> str:
        """The ID of a nameless image with the state's layers."""
        return self._put(state.document.config(created), state.layers, {}, ()).id

    # -- the end -----------------------------------------------------------------------------------------

    def _finished(self, state: State) -> Built:
        options = self.options
        document = state.document.copy()
        if options.labels:
            document.run["Labels"] = {**(document.run.get("Labels") or {}), **options.labels}
        if options.environment:
            before = dict(entry.partition("=")[::2] for entry in document.run.get("Env") or [])
            merged = {**before, **options.environment}
            document.run["Env"] = [f"{name}={value}" for name, value in merged.items()]
        names = self._names
        parts = [document.without_times().decode(), options.format, dict(options.annotations), options.newest]
        whole = key("image", parts, [layer.digest for layer in state.layers])
        known = None if options.no_cache else self.store.cached_step(whole)
        if known is not None:
            for name in names:
                self.store.tag(known, name)
            stored = self.store.image(known)
            return Built(known, stored.digest, names, self._steps, self._cached, tuple(self._done))
        config = document.config(document.history[-1]["created"] if document.history else self.created)
        record = self._put(config, state.layers, options.annotations, names)
        self.store.remember_step([whole], record.id)
        return Built(record.id, record.digest, names, self._steps, self._cached, tuple(self._done))

    def _put(
        self,
        config: bytes,
        layers: list[LayerOf],
        annotations: Mapping[str, str],
        names: tuple[str, ...],
    ) -> ImageRecord:
        raw = manifest(config, layers, self.options.format, annotations)
        record = ImageRecord(
            id=Digest.of(config),
            digest=Digest.of(raw),
            manifest=raw,
            config=config,
            layers=tuple(Digest(layer.chain_id) for layer in layers),
            names=names,
        )
        self.store.put_image(record)
        return record


class _Running:
    """A stage's thread, and what came of it."""

    def __init__(self, build: Build, stage: model.Stage) -> None:
        self.state: State | None = None
        self.failure: BaseException | None = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(build, stage), name=f"stage-{stage.name}")

    def _run(self, build: Build, stage: model.Stage) -> None:
        try:
            self.state = StageBuild(build, stage).run()
        except BaseException as error:
            self.failure = error
            build.failed(error)
        finally:
            self.done.set()
            build.let_go()


class _Context:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree


def canonical(name: str) -> str:
    """A name of the result as the store has it: one without a registry is this machine's own (localhost/).

    Raises InvalidInput.
    """
    from orlop.image.reference import is_short
    from orlop.kit.errors import InvalidInput

    if "@" in name:
        raise InvalidInput(name, "holds a digest, which no tag can give", hint="write repository:tag")
    reference = Reference.parse(f"localhost/{name}" if is_short(name) else name)
    return reference.canonical


def _ignoring(tree: Tree, path: str) -> Tree:
    """The context with the patterns of another file. Raises NotFound."""
    try:
        data = read_bounded(path, limits.IGNORE_FILE_SIZE)
    except OSError as error:
        raise NotFound(path, f"cannot be read: {error.strerror}", hint="name a file of patterns") from error
    return Tree(tree.path, tree.label, ignore=ignore.Ignore(ignore.parse(data), path))


def _binfmt() -> list[str]:
    try:
        return os.listdir("/proc/sys/fs/binfmt_misc")
    except OSError:
        return []


def _absent() -> contextlib.AbstractContextManager[Reader]:
    raise NotFound("a layer of the cache", "is gone", hint="build again")
