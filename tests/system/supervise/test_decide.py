"""The decisions, in a world where orders are carried out late, not at all, or forgotten by a crash."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.pod.model import Container, ContainerConfig, Sandbox, SandboxConfig
from orlop.system.probes.model import ExecAction, Probe
from orlop.system.supervise.decide import decide, probes_wanted
from orlop.system.supervise.model import ContainerRule, Order, PodRule, PodState, Seen

RULE = PodRule(
    uid="u",
    name="web",
    namespace="default",
    containers=(
        ContainerRule("init", kind="init", restart="OnFailure"),
        ContainerRule("side", kind="sidecar"),
        ContainerRule("app"),
        ContainerRule("job", restart="OnFailure"),
    ),
    grace=5.0,
)


class World:
    """What really runs, and what the record says; a crash of the supervisor loses nothing but orders."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.state = PodState()
        self.sandbox: Sandbox | None = None
        self.containers: list[Container] = []
        self.started: list[tuple[str, int]] = []
        self.forgotten = False

    def orders(self, *, wanted: bool = True) -> tuple[Order, ...]:
        for _ in range(10):  # to the fixed point, as the keeper does
            seen = Seen(self.sandbox, tuple(self.containers))
            decision = decide(RULE, seen, self.state, wanted=wanted, now=self.now)
            before, self.state = self.state, decision.state
            if decision.orders or decision.state == before:
                return decision.orders
        raise AssertionError("no fixed point")

    def carry_out(self, order: Order) -> None:
        self.now += 0.1
        match order.verb:
            case "make_sandbox":
                config = SandboxConfig("web", "u", attempt=order.attempt)
                self.sandbox = Sandbox(f"s{order.attempt}", config, "ready", self.now)
            case "drop_sandbox":
                self.sandbox, self.containers = None, []
            case "stop_sandbox":
                assert self.sandbox is not None
                self.sandbox = replace(self.sandbox, state="notready")
            case "start":
                assert not any(c.config.name == order.name and c.state == "running" for c in self.containers)
                self.started.append((order.name, order.attempt))
                config_ = ContainerConfig(order.name, "image", attempt=order.attempt)
                identity = f"{order.name}{order.attempt}"
                self.containers.append(
                    Container(identity, order.target, config_, "i", "running", self.now, started=self.now)
                )
            case "stop":
                self.end(order.name, 143)
            case "remove":
                self.containers = [c for c in self.containers if c.id != order.target]
            case "forget":
                self.forgotten = True

    def end(self, name: str, code: int, reason: str = "") -> None:
        self.containers = [
            replace(c, state="exited", exit_code=code, reason=reason, finished=self.now)
            if c.config.name == name and c.state == "running"
            else c
            for c in self.containers
        ]

    def reboot(self) -> None:
        if self.sandbox is not None:
            self.sandbox = replace(self.sandbox, state="notready")
        for rule in RULE.containers:
            self.end(rule.name, 255, "Lost")


NAMES = st.sampled_from([rule.name for rule in RULE.containers])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("carry out"), st.integers(0, 3)),
        st.tuples(st.just("end"), NAMES, st.sampled_from([0, 0, 1])),
        st.tuples(st.just("wait"), st.floats(0, 400)),
        st.tuples(st.just("reboot")),
    ),
    max_size=60,
)


def lived(events: list[tuple[object, ...]]) -> World:
    """A world after these events."""
    world = World()
    for event in events:
        orders = world.orders()
        if event[0] == "carry out":
            for order in orders[: int(str(event[1]))]:  # the others are lost, as in a crash
                world.carry_out(order)
        elif event[0] == "end":
            world.end(str(event[1]), int(str(event[2])))
        elif event[0] == "wait":
            world.now += float(str(event[1]))
        else:
            world.reboot()
    return world


@settings(deadline=None, max_examples=200)
@given(EVENTS)
def test_whatever_happens_attempts_are_made_once_in_turn_and_counted(
    events: list[tuple[object, ...]],
) -> None:
    world = lived(events)
    world.orders()
    assert len(world.started) == len(set(world.started)), "an attempt was made twice"
    for rule in RULE.containers:
        attempts = [attempt for name, attempt in world.started if name == rule.name]
        assert attempts == sorted(attempts)
        state = world.state.of(rule.name)
        assert state.restarts == state.attempt
        assert not attempts or attempts[-1] <= state.attempt
    order_of = [name for name, _ in world.started]
    if "app" in order_of:
        assert order_of.index("init") < order_of.index("side") < order_of.index("app")


@settings(deadline=None, max_examples=100)
@given(EVENTS)
def test_whatever_happened_a_pod_that_is_not_wanted_goes(events: list[tuple[object, ...]]) -> None:
    world = lived(events)
    for _ in range(10):
        for order in world.orders(wanted=False):
            assert order.verb in ("stop", "drop_sandbox", "forget")
            world.carry_out(order)
        if world.forgotten:
            break
    assert world.forgotten and world.sandbox is None


def test_a_pod_at_rest_gets_no_orders() -> None:
    world = World()
    for _ in range(6):
        for order in world.orders():
            world.carry_out(order)
        world.end("init", 0)
    assert {c.config.name for c in world.containers if c.state == "running"} == {"side", "app", "job"}
    assert world.orders() == ()
    before = world.state
    world.orders()
    assert world.state == before


def test_a_clock_that_is_turned_back_delays_nothing_for_long() -> None:
    world = World()
    for _ in range(6):
        for order in world.orders():
            world.carry_out(order)
        world.end("init", 0)
    for _ in range(3):
        world.end("app", 1)
        world.orders()
        world.now += 100
        for order in world.orders():
            world.carry_out(order)
    world.end("app", 1)
    world.orders()
    world.now -= 100_000
    assert [order.verb for order in world.orders()] == ["start", "remove"]


def test_probes_begin_with_startup_and_end_with_the_container() -> None:
    probe = Probe(ExecAction(("true",)))
    rule = replace(RULE, containers=(ContainerRule("app", startup=probe, liveness=probe, readiness=probe),))
    state = PodState(phase="Running").set("app", phase="running", container_id="c", hooked=True)
    assert set(probes_wanted(rule, state, wanted=True)) == {("app", "startup")}
    state = state.set("app", passed=True)
    assert set(probes_wanted(rule, state, wanted=True)) == {("app", "liveness"), ("app", "readiness")}
    assert probes_wanted(rule, state.set("app", kill_reason="x"), wanted=True) == {}
    assert probes_wanted(rule, state.set("app", hooked=False), wanted=True) == {}
    assert probes_wanted(rule, state, wanted=False) == {}
    assert probes_wanted(rule, replace(state, phase="Succeeded"), wanted=True) == {}
