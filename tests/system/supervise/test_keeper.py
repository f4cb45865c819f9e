"""A pod's whole life on a hand-turned clock."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orlop.kit.errors import NotFound, ProcessFailed, Unavailable
from orlop.system.kube import model as kube
from tests.support import blocking
from tests.system.supervise.bench import Bench, bench, container, desired

Story = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def main() -> None:
            async with bench(tmp_path) as made:
                await story(made)

        blocking.run(main())

    return run


def probe(command: str = "check", **more: int) -> kube.Probe:
    return kube.Probe(exec=kube.ExecAction(command=(command,)), **more)  # type: ignore[arg-type]


def hooks(post_start: str = "", pre_stop: str = "") -> kube.Lifecycle:
    def handler(command: str) -> kube.Handler | None:
        return kube.Handler(exec=kube.ExecAction(command=(command,))) if command else None

    return kube.Lifecycle(post_start=handler(post_start), pre_stop=handler(pre_stop))


def test_a_pod_is_brought_up_and_taken_down(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app")))
        assert b.pods.running() == ["app 0"]
        assert b.record().state.phase == "Running"
        assert b.record().state.of("app").ready
        await b.down()
        assert b.records.pods() == []
        assert b.pods.calls == ["make_sandbox 0", "start app 0", "stop app", "remove_sandbox", "forget"]

    tell(story)


def test_a_crash_loop_waits_0_10_20_40_seconds(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app", "exit 1 3")))
        await b.advance(80, step=2)
        waits = [later - earlier - 1 for earlier, later in itertools.pairwise(b.pods.started)]
        assert waits == pytest.approx([0, 10, 20, 40], abs=2.1)
        state = b.record().state.of("app")
        assert state.restarts == 4
        assert state.last is not None and state.last.code == 3

    tell(story)


def test_a_successor_goes_on_with_the_same_counts_and_times(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app", "exit 1 1"), container("calm")))
        await b.advance(13)
        await b.advance(2)
        before = b.record().state
        calls = len(b.pods.calls)
        assert before.of("app").until > b.clock.now()
        await b.kill()
        await b.begin()
        assert b.record().state == before
        assert b.pods.calls[calls:] == []
        assert "calm 0" in b.pods.running()
        await b.advance(before.of("app").until - b.clock.now() + 0.5)
        assert b.pods.calls[calls:] == [
            f"start app {before.of('app').attempt + 1}",
            f"remove app {before.of('app').attempt - 1}",
        ]

    tell(story)


def test_ten_good_minutes_forget_the_back_off(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app")))
        for _ in range(3):
            b.pods.die("app", 1)
            await b.advance(25)
        assert b.record().state.of("app").wait == 40
        await b.clock.advance(601)
        b.pods.die("app", 1)
        await b.settle()
        assert b.pods.running() == ["app 4"]
        assert b.record().state.of("app").wait == 10

    tell(story)


@pytest.mark.parametrize(
    ("policy", "code", "phase", "starts"),
    [
        ("Never", 0, "Succeeded", 1),
        ("Never", 7, "Failed", 1),
        ("OnFailure", 0, "Succeeded", 1),
        ("OnFailure", 7, "Running", 2),
        ("Always", 0, "Running", 2),
    ],
)
def test_restart_policies(
    tell: Callable[[Story], None], policy: str, code: int, phase: str, starts: int
) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app", f"exit 1 {code}"), restart_policy=policy))
        await b.advance(3)
        state = b.record().state
        assert state.phase == phase
        assert sum(call.startswith("start") for call in b.pods.calls) == starts
        if phase in ("Succeeded", "Failed"):
            assert b.pods.calls[-1] == "stop_sandbox" and state.ended

    tell(story)


def test_a_container_that_ended_before_it_was_seen_has_run(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app", "exit 0 3")))
        await b.advance(1)
        assert b.record().state.phase == "Running"

    tell(story)


def test_init_containers_run_in_turn_and_sidecars_stay(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        init = (
            container("first", "exit 2 0"),
            container("mesh", restart_policy="Always", startup_probe=probe("up", period_seconds=1)),
            container("second", "exit 2 0"),
        )
        b.pods.executed["mesh", ("up",)] = 1
        await b.play(desired(container("app"), init_containers=init))
        assert b.pods.running() == ["first 0"]
        await b.advance(2.5)
        assert b.pods.running() == ["mesh 0"]
        await b.advance(1)
        assert b.pods.running() == ["mesh 0"]
        b.pods.executed["mesh", ("up",)] = 0
        await b.advance(1.1)
        assert b.pods.running() == ["mesh 0", "second 0"]
        assert b.record().state.phase == "Pending"
        await b.advance(2)
        assert b.pods.running() == ["mesh 0", "app 0"]
        b.pods.die("mesh", 1)
        await b.settle()
        assert b.pods.running() == ["app 0", "mesh 1"]
        await b.down()
        assert [c for c in b.pods.calls if c.startswith("stop ")] == ["stop app", "stop mesh"]

    tell(story)


def test_a_failed_init_container_fails_a_pod_that_never_restarts(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        init = (container("prepare", "exit 1 4"),)
        await b.play(desired(container("app"), init_containers=init, restart_policy="Never"))
        await b.advance(2)
        assert b.record().state.phase == "Failed"
        assert "prepare ended with exit code 4" in b.record().state.message
        assert "start app 0" not in b.pods.calls

    tell(story)


def test_a_completed_pod_ends_its_sidecars(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        init = (container("mesh", restart_policy="Always"), container("log", restart_policy="Always"))
        await b.play(desired(container("job", "exit 2 0"), init_containers=init, restart_policy="OnFailure"))
        await b.advance(3)
        assert b.record().state.phase == "Succeeded"
        assert b.pods.calls[-3:] == ["stop log", "stop mesh", "stop_sandbox"]

    tell(story)


def test_a_failed_liveness_probe_restarts_with_grace(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        live = probe(period_seconds=2, failure_threshold=2)
        b.pods.executed["app", ("check",)] = 1
        app = container("app", args=("deaf",), liveness_probe=live, lifecycle=hooks(pre_stop="bye"))
        await b.play(desired(app, termination_grace_period_seconds=5))
        await b.advance(2.5)
        state = b.record().state.of("app")
        assert state.kill_reason == "LivenessProbeFailed"
        assert b.pods.running() == ["app 0"]
        b.pods.executed["app", ("check",)] = 0
        await b.advance(6)
        state = b.record().state.of("app")
        assert state.restarts == 1
        assert state.last is not None and state.last.killed_for == "LivenessProbeFailed"
        assert b.pods.running() == ["app 1"]

    tell(story)


def test_startup_gates_the_other_probes(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        b.pods.executed["app", ("up",)] = 1
        b.pods.executed["app", ("check",)] = 1
        app = container(
            "app",
            startup_probe=probe("up", period_seconds=1, failure_threshold=30),
            liveness_probe=probe(period_seconds=1, failure_threshold=1),
        )
        await b.play(desired(app))
        await b.advance(10)
        assert b.record().state.of("app").restarts == 0
        assert not b.record().state.of("app").ready
        b.pods.executed["app", ("check",)] = 0
        b.pods.executed["app", ("up",)] = 0
        await b.advance(1)
        assert b.record().state.of("app").ready

    tell(story)


def test_readiness_goes_both_ways_and_restarts_nothing(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        ready = probe(period_seconds=1, failure_threshold=2, success_threshold=2)
        await b.play(desired(container("app", readiness_probe=ready)))
        assert not b.record().state.of("app").ready
        await b.advance(2)
        assert b.record().state.of("app").ready
        b.pods.executed["app", ("check",)] = 1
        await b.advance(1)
        assert b.record().state.of("app").ready
        await b.advance(1)
        assert not b.record().state.of("app").ready
        assert b.record().state.of("app").problem == "ReadinessProbeFailed"
        assert b.pods.running() == ["app 0"]

    tell(story)


def test_a_failed_post_start_hook_kills_the_container(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        b.pods.executed["app", ("hello",)] = 1
        await b.play(desired(container("app", lifecycle=hooks("hello"))))
        state = b.record().state.of("app")
        assert state.restarts >= 1
        assert state.last is not None and state.last.killed_for == "PostStartHookFailed"
        b.pods.executed["app", ("hello",)] = 0
        await b.advance(11)
        assert b.record().state.of("app").ready

    tell(story)


def test_a_killed_supervisor_s_successor_ends_what_was_condemned(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        b.pods.executed["app", ("check",)] = 1
        live = probe(period_seconds=1, failure_threshold=1)
        await b.play(desired(container("app", args=("deaf",), liveness_probe=live)))
        await b.advance(2)
        assert b.record().state.of("app").kill_reason
        await b.kill()
        b.pods.executed["app", ("check",)] = 0
        await b.begin()
        await b.advance(31)
        assert b.pods.running() == ["app 1"]

    tell(story)


def test_an_image_that_cannot_be_pulled_is_tried_again(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        b.pods.errors["image app"] = [NotFound("image", "no such image", hint="push it")] * 2
        await b.play(desired(container("app")))
        state = b.record().state.of("app")
        assert (state.problem, state.restarts) == ("ImagePullBackOff", 0)
        assert "no such image" in state.problem_message
        await b.advance(31)
        assert b.pods.running() == ["app 0"]
        assert b.record().state.of("app").problem == ""

    tell(story)


def test_what_the_runtime_refuses_is_an_exit_with_128(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        refusal = ProcessFailed("crun", "no such file", hint="see", argv=("crun",), status=1, stderr="")
        b.pods.errors["start app"] = [refusal]
        await b.play(desired(container("app"), restart_policy="Never"))
        state = b.record().state
        assert state.phase == "Failed"
        end = state.of("app").exit
        assert end is not None and (end.code, end.reason) == (128, "StartError")
        assert "no such file" in end.message

    tell(story)


def test_a_sandbox_that_cannot_be_made_is_tried_again_and_explained(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        b.pods.errors["make_sandbox"] = [Unavailable("cni", "bridge is busy", hint="wait")] * 2
        await b.play(desired(container("app")))
        assert b.record().state.reason == "FailedCreatePodSandBox"
        assert "bridge is busy" in b.record().state.message
        await b.advance(8)
        assert b.pods.running() == ["app 0"]
        assert b.record().state.reason == ""

    tell(story)


def test_a_reboot_starts_everything_again_in_a_new_sandbox(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        init = (container("prepare", "exit 1 0"),)
        await b.play(desired(container("app"), init_containers=init))
        await b.advance(2)
        await b.kill()
        b.pods.reboot()
        await b.begin()
        await b.advance(2)
        assert b.pods.running() == ["app 1"]
        assert "start prepare 1" in b.pods.calls
        state = b.record().state
        assert (state.attempt, state.of("app").restarts) == (1, 1)
        assert state.of("app").last is not None and state.of("app").last.reason == "Lost"  # type: ignore[union-attr]

    tell(story)


def test_a_completed_pod_stays_completed_over_a_reboot(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("job", "exit 1 0"), restart_policy="Never"))
        await b.advance(2)
        await b.kill()
        b.pods.reboot()
        calls = len(b.pods.calls)
        await b.begin()
        assert b.pods.calls[calls:] == []
        assert b.record().state.phase == "Succeeded"

    tell(story)


def test_a_pod_ends_at_its_deadline(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app"), active_deadline_seconds=20))
        await b.advance(19)
        assert b.record().state.phase == "Running"
        await b.advance(2)
        assert (b.record().state.phase, b.record().state.reason) == ("Failed", "DeadlineExceeded")
        assert b.pods.running() == []

    tell(story)


def test_a_deaf_container_is_killed_after_the_grace_period(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        deaf = container("app", args=("deaf",))
        await b.play(desired(deaf, termination_grace_period_seconds=7))
        await b.down()
        await b.advance(3)
        assert b.pods.running() == ["app 0"]
        await b.kill()
        await b.begin()
        await b.advance(5)
        assert b.records.pods() == []

    tell(story)


def test_an_out_of_memory_kill_is_reported_as_such(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app", "oom 1"), restart_policy="Never"))
        await b.advance(2)
        assert "OOMKilled" in b.record().state.message

    tell(story)


def test_a_pod_taken_away_by_hand_comes_back(tell: Callable[[Story], None]) -> None:
    async def story(b: Bench) -> None:
        await b.play(desired(container("app")))
        await b.pods.remove_sandbox((await b.pods.observe(b.record().uid)).sandbox.id)  # type: ignore[union-attr]
        b.keeper.poke()
        await b.settle()
        assert b.pods.running() == ["app 1"]

    tell(story)
