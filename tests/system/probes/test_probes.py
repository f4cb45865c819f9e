"""Each kind of probe against real sockets, and how answers are counted."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit.clock import SystemClock
from orlop.kit.errors import NotFound, TimedOut
from orlop.system.probes.ask import ask
from orlop.system.probes.grpc import ask_grpc
from orlop.system.probes.http import ask_http
from orlop.system.probes.model import (
    ExecAction,
    GrpcAction,
    HttpAction,
    Outcome,
    Probe,
    SleepAction,
    Tally,
    Target,
    TcpAction,
    next_time,
    tally,
)
from orlop.system.probes.tcp import ask_tcp
from tests.support.blocking import run
from tests.system.probes.servers import answering, http

HERE = "127.0.0.1"


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (204, True), (399, True), (400, False), (404, False), (500, False)]
)
def test_200_to_399_is_success(status: int, ok: bool) -> None:
    async def story() -> Outcome:
        async with answering(http(status, "words")) as (port, _):
            return await ask_http(HttpAction(port, "/healthz?deep=1"), HERE, 2)

    outcome = run(story())
    assert outcome.ok is ok
    assert str(status) in outcome.message and "words" in outcome.message


def test_path_and_headers_are_sent_as_declared() -> None:
    async def story() -> bytes:
        async with answering(http(200)) as (port, heads):
            action = HttpAction(port, "/a?b=c", headers=(("Host", "me.example"), ("X-Who", "probe")))
            assert (await ask_http(action, HERE, 2)).ok
            return heads[0]

    head = run(story())
    assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert b"Host: me.example\r\n" in head and b"X-Who: probe\r\n" in head
    assert head.lower().count(b"host:") == 1


def test_a_redirect_to_the_same_host_is_followed() -> None:
    async def story() -> tuple[Outcome, list[bytes]]:
        def answer(head: bytes) -> bytes:
            return http(302, "", "Location: /other") if b"GET /first" in head else http(503, "busy")

        async with answering(answer) as (port, heads):
            return await ask_http(HttpAction(port, "/first"), HERE, 2), heads

    outcome, heads = run(story())
    assert not outcome.ok
    assert len(heads) == 2


def test_a_redirect_to_another_host_is_success_and_not_followed() -> None:
    async def story() -> tuple[Outcome, list[bytes]]:
        async with answering(http(302, "", "Location: http://example.org/")) as (port, heads):
            return await ask_http(HttpAction(port), HERE, 2), heads

    outcome, heads = run(story())
    assert outcome.ok and "example.org" in outcome.message
    assert len(heads) == 1


def test_a_redirect_in_a_circle_ends() -> None:
    async def story() -> Outcome:
        async with answering(http(302, "", "Location: /")) as (port, _):
            return await ask_http(HttpAction(port), HERE, 5)

    assert "redirects" in run(story()).message


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000],
)
def test_what_is_not_http_is_a_failure(answer: bytes) -> None:
    async def story() -> Outcome:
        async with answering(answer) as (port, _):
            return await ask_http(HttpAction(port), HERE, 2)

    assert not run(story()).ok


def test_an_endless_body_is_not_read_to_its_end() -> None:
    async def story() -> Outcome:
        async with answering(http(200, "x" * 5_000_000)) as (port, _):
            return await ask_http(HttpAction(port), HERE, 2)

    outcome = run(story())
    assert outcome.ok and len(outcome.message) < 600


def test_a_slow_answer_is_a_failure_in_time() -> None:
    async def story() -> Outcome:
        async with answering(http(200), delay=5) as (port, _):
            return await ask_http(HttpAction(port), HERE, 0.2)

    assert "no answer within 0.2 s" in run(story()).message


def test_https_needs_no_trusted_certificate(tmp_path: Path) -> None:
    async def story() -> Outcome:
        async with answering(http(200), secure=self_signed(tmp_path)) as (port, _):
            return await ask_http(HttpAction(port, scheme="HTTPS"), HERE, 5)

    assert run(story()).ok


def self_signed(folder: Path) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    return context


def test_tcp_asks_whether_a_connection_opens() -> None:
    async def story() -> tuple[Outcome, Outcome]:
        async with answering(b"") as (port, _):
            good = await ask_tcp(TcpAction(port), HERE, 2)
        return good, await ask_tcp(TcpAction(port), HERE, 2)

    good, bad = run(story())
    assert good.ok
    assert not bad.ok and "127.0.0.1" in bad.message


@pytest.mark.parametrize(("status", "ok"), [(1, True), (2, False), (0, False), (300, False)])
def test_grpc_asks_for_serving(status: int, ok: bool) -> None:
    async def story() -> Outcome:
        async with health(status) as port:
            return await ask_grpc(GrpcAction(port, "deep"), HERE, 5)

    outcome = asyncio.run(story())
    assert outcome.ok is ok


def test_grpc_failures_have_a_reason() -> None:
    async def story() -> tuple[Outcome, Outcome]:
        async with health(1) as port:
            unknown = await ask_grpc(GrpcAction(port, "unknown"), HERE, 5)
        return unknown, await ask_grpc(GrpcAction(port), HERE, 1)

    unknown, gone = asyncio.run(story())
    assert not unknown.ok and "NOT_FOUND" in unknown.message
    assert not gone.ok and "UNAVAILABLE" in gone.message


def health(status: int) -> Any:
    """A gRPC server whose service `deep` (and "") has that status; yields its port."""
    import contextlib

    import grpc

    @contextlib.asynccontextmanager
    async def running() -> Any:
        async def check(request: bytes, context: Any) -> bytes:
            if request not in (b"", b"\x0a\x04deep"):
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            low, high = status & 0x7F, status >> 7
            return b"\x08" + (bytes((low | 0x80, high)) if high else bytes((low,)))

        handler = grpc.unary_unary_rpc_method_handler(check)
        service = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port(f"{HERE}:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)

    return running()


class Told:
    """Commands that answer as they were told."""

    def __init__(self, answer: tuple[int, str] | Exception) -> None:
        self._answer = answer

    async def execute(self, container_id: str, command: tuple[str, ...], limit: float) -> tuple[int, str]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        ((0, "fine"), True, "fine"),
        ((3, "broken"), False, "exit code 3: broken"),
        (TimedOut("check", "did not end", hint="x"), False, "did not end"),
        (NotFound("app", "no such container", hint="x"), False, "no such container"),
    ],
)
def test_a_command_succeeds_with_exit_code_0(
    answer: tuple[int, str] | Exception, ok: bool, words: str
) -> None:
    target = Target("id", HERE)
    outcome = run(ask(ExecAction(("check",)), target, 1, commands=Told(answer), clock=SystemClock()))
    assert outcome.ok is ok and words in outcome.message


def test_a_sleep_hook_ends_with_its_limit() -> None:
    commands, target = Told((0, "")), Target("id", HERE)
    assert run(ask(SleepAction(50), target, 0.01, commands=commands, clock=SystemClock())).ok


PROBES = st.builds(
    lambda good, bad: Probe(SleepAction(0), success_threshold=good, failure_threshold=bad),
    st.integers(1, 5),
    st.integers(1, 5),
)


@given(PROBES, st.lists(st.booleans(), max_size=40))
def test_a_verdict_comes_exactly_after_so_many_in_a_row(probe: Probe, answers: list[bool]) -> None:
    count = Tally()
    for position, ok in enumerate(answers):
        count, verdict = tally(count, Outcome(ok), probe, float(position))
        needed = probe.success_threshold if ok else probe.failure_threshold
        in_a_row = 0
        for earlier in reversed(answers[: position + 1]):
            if earlier is not ok:
                break
            in_a_row += 1
        assert verdict is (ok if in_a_row >= needed else None)


def test_the_first_question_waits_for_the_initial_delay_only() -> None:
    probe = Probe(SleepAction(0), initial_delay=5, period=10)
    assert next_time(probe, started=100, last=0) == 105
    assert next_time(probe, started=100, last=105) == 115


def test_a_loop_that_is_blocked_fails_a_test() -> None:
    async def story() -> None:
        time.sleep(0.2)

    with pytest.raises(AssertionError, match="the loop was blocked"):
        run(story(), limit=0.1)
