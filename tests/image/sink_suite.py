"""What every Sink must do; run against the fake here and against the real store by its owner.

class TestMyStore(SinkSuite):
    @pytest.fixture
    def sink(self, tmp_path): return Store(...)
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from orlop.image.digest import Digest
from orlop.image.sink import LayerRequest, Reader, Sink
from orlop.kit.errors import Cancelled, Corrupt, NotFound, OrlopError
from orlop.kit.progress import QuietMeter
from tests.support.images import Image, Layer, tar
from tests.support.records import record_of, requests_of


class Bytes:
    """A Reader over bytes, in small pieces; `fails` is raised at its end instead."""

    def __init__(self, data: bytes, fails: Exception | None = None) -> None:
        self._left = memoryview(data)
        self._fails = fails

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        piece = self._left[: min(len(buffer), 1000)]
        if not piece and self._fails:
            raise self._fails
        memoryview(buffer)[: len(piece)] = piece
        self._left = self._left[len(piece) :]
        return len(piece)


def image_of(*contents: bytes, compression: str = "gzip") -> Image:
    return Image(
        tuple(Layer(tar({"file": data, f"name-{data.hex()[:20]}": data}), compression) for data in contents)
    )


def opener(
    data: bytes, calls: list[int] | None = None, fails: Exception | None = None
) -> Callable[[], AbstractContextManager[Reader]]:
    @contextlib.contextmanager
    def open_blob() -> Iterator[Reader]:
        if calls is not None:
            calls.append(1)
        yield Bytes(data, fails)

    return open_blob


def never_tick() -> None:
    pass


def ensure(sink: Sink, request: LayerRequest, data: bytes, **options: object) -> bool:
    return sink.ensure_layer(request, opener(data, **options), meter=QuietMeter(), tick=never_tick)  # type: ignore[arg-type]


def put(sink: Sink, image: Image, *names: str) -> None:
    with sink.lease():
        for request, layer in zip(requests_of(image), image.layers, strict=True):
            ensure(sink, request, layer.blob)
        sink.put_image(record_of(image, *names))


class SinkSuite:
    """The contract of image.sink.Sink."""

    @pytest.mark.parametrize("compression", ["gzip", "zstd", ""])
    def test_an_image_is_there_once_it_was_put(self, sink: Sink, compression: str) -> None:
        image = image_of(b"one", b"two", compression=compression)
        assert not sink.has_image(Digest(image.id))
        put(sink, image, "example.com/ship:1")
        assert sink.has_image(Digest(image.id))
        assert sink.named("example.com/ship:1") == (image.id, image.digest)
        assert sink.named("example.com/ship:2") is None

    def test_the_config_is_kept_as_it_came(self, sink: Sink) -> None:
        image = image_of(b"one")
        with pytest.raises(NotFound):
            sink.config_bytes(Digest(image.id))
        put(sink, image, "example.com/ship:1")
        assert sink.config_bytes(Digest(image.id)) == image.config_bytes

    def test_an_image_is_pulled_by_one_at_a_time_and_who_waits_can_give_up(self, sink: Sink) -> None:
        image_id, other = Digest(image_of(b"one").id), Digest(image_of(b"two").id)

        def give_up() -> None:
            raise Cancelled("the pull", "was cancelled", hint="-")

        with sink.lease(), sink.pulling(image_id, never_tick):
            with pytest.raises(Cancelled), sink.pulling(image_id, give_up):
                pass
            with sink.pulling(other, never_tick):
                pass
        with sink.lease(), sink.pulling(image_id, give_up):
            pass

    def test_a_name_moves_to_the_image_that_was_put_last(self, sink: Sink) -> None:
        first, second = image_of(b"one"), image_of(b"two")
        put(sink, first, "example.com/ship:1")
        put(sink, second, "example.com/ship:1")
        assert sink.named("example.com/ship:1") == (second.id, second.digest)
        assert sink.has_image(Digest(first.id))

    def test_putting_twice_is_harmless(self, sink: Sink) -> None:
        image = image_of(b"one")
        put(sink, image, "example.com/ship:1")
        put(sink, image, "example.com/ship:1", "example.com/ship:2")
        assert sink.named("example.com/ship:1") == sink.named("example.com/ship:2")

    def test_an_image_without_one_of_its_layers_is_refused(self, sink: Sink) -> None:
        image = image_of(b"one", b"two")
        with sink.lease():
            ensure(sink, requests_of(image)[0], image.layers[0].blob)
            with pytest.raises(NotFound):
                sink.put_image(record_of(image, "example.com/ship:1"))
        assert sink.named("example.com/ship:1") is None

    def test_a_layer_that_is_there_is_not_opened_again(self, sink: Sink) -> None:
        image = image_of(b"one")
        calls: list[int] = []
        with sink.lease():
            assert ensure(sink, requests_of(image)[0], image.layers[0].blob, calls=calls)
            assert not ensure(sink, requests_of(image)[0], image.layers[0].blob, calls=calls)
        assert len(calls) == 1

    def test_layers_may_come_in_any_order(self, sink: Sink) -> None:
        image = image_of(b"one", b"two", b"three")
        with sink.lease():
            for request, layer in reversed(list(zip(requests_of(image), image.layers, strict=True))):
                assert ensure(sink, request, layer.blob)
            sink.put_image(record_of(image, "example.com/ship:1"))
        assert sink.has_image(Digest(image.id))

    def test_many_threads_open_a_layer_once(self, sink: Sink) -> None:
        image = image_of(b"x" * 100_000)
        calls: list[int] = []
        with sink.lease(), concurrent.futures.ThreadPoolExecutor(8) as pool:
            waiting = [
                pool.submit(ensure, sink, requests_of(image)[0], image.layers[0].blob, calls=calls)
                for _ in range(8)
            ]
            assert sum(done.result(30) for done in waiting) == 1
        assert len(calls) == 1

    def test_a_reader_that_fails_leaves_nothing_and_its_error_passes(self, sink: Sink) -> None:
        image = image_of(b"one")
        request, blob = requests_of(image)[0], image.layers[0].blob
        error = Corrupt("blob", "is wrong", hint="-")
        with sink.lease():
            with pytest.raises(Corrupt) as caught:
                ensure(sink, request, blob, fails=error)
            assert caught.value is error
            assert ensure(sink, request, blob)

    def test_a_layer_cut_short_is_refused(self, sink: Sink) -> None:
        image = image_of(b"one")
        request, blob = requests_of(image)[0], image.layers[0].blob
        with sink.lease():
            with pytest.raises(OrlopError):
                ensure(sink, request, blob[: len(blob) // 2])
            assert ensure(sink, request, blob)

    def test_a_layer_with_another_diff_id_is_refused(self, sink: Sink) -> None:
        image, other = image_of(b"one"), image_of(b"two")
        with sink.lease():
            with pytest.raises(Corrupt):
                ensure(sink, requests_of(image)[0], other.layers[0].blob)
            assert ensure(sink, requests_of(image)[0], image.layers[0].blob)

    def test_who_waits_for_another_can_give_up(self, sink: Sink) -> None:
        image = image_of(b"one")
        request, blob = requests_of(image)[0], image.layers[0].blob
        opened, go_on = threading.Event(), threading.Event()

        @contextlib.contextmanager
        def slow() -> Iterator[Reader]:
            opened.set()
            assert go_on.wait(30)
            yield Bytes(blob)

        def give_up() -> None:
            raise Cancelled("the pull", "was cancelled", hint="-")

        with sink.lease(), concurrent.futures.ThreadPoolExecutor(1) as pool:
            first = pool.submit(sink.ensure_layer, request, slow, meter=QuietMeter(), tick=never_tick)
            assert opened.wait(30)
            try:
                with pytest.raises(Cancelled):
                    sink.ensure_layer(request, opener(blob), meter=QuietMeter(), tick=give_up)
            finally:
                go_on.set()
            assert first.result(30)

    def test_a_waiter_takes_over_where_the_first_failed(self, sink: Sink) -> None:
        image = image_of(b"one")
        request, blob = requests_of(image)[0], image.layers[0].blob
        opened, go_on = threading.Event(), threading.Event()

        @contextlib.contextmanager
        def failing() -> Iterator[Reader]:
            opened.set()
            assert go_on.wait(30)
            yield Bytes(b"", Corrupt("blob", "is wrong", hint="-"))

        with sink.lease(), concurrent.futures.ThreadPoolExecutor(2) as pool:
            first = pool.submit(sink.ensure_layer, request, failing, meter=QuietMeter(), tick=never_tick)
            assert opened.wait(30)
            second = pool.submit(ensure, sink, request, blob)
            go_on.set()
            with pytest.raises(Corrupt):
                first.result(30)
            assert second.result(30)

    def test_a_lease_may_be_left_in_another_thread(self, sink: Sink) -> None:
        lease = sink.lease()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(lease.__enter__).result(30)
        lease.__exit__(None, None, None)

    def test_leases_are_shared(self, sink: Sink) -> None:
        with sink.lease(), sink.lease():
            pass
