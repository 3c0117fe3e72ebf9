"""A model whose files are not there yet: downloaded first, without a run and without memory."""

from __future__ import annotations

from core_story import CRASH, Story, machine, model, sleeper

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core.errors import Code, Reason
from hotseat.core.policy import EQUAL_FAILURES
from hotseat.core.states import Cause, State

GATED = Reason(summary="acme/tiny is gated", hint="set HF_TOKEN", permanent=True)


def hub_model(name: str = "chat", **terms: object):  # type: ignore[no-untyped-def]
    return model(name, **{"download_timeout_s": 3600.0, **terms})  # type: ignore[arg-type]


def number(s: Story, name: str = "chat") -> int:
    """Of the download that goes on."""
    return int(s.orders[-1].partition("#")[2]) if s.orders[-1].startswith(f"download {name}#") else -1


def test_a_request_waits_for_the_download_and_then_for_the_start() -> None:
    s = Story(hub_model())
    ana = s.ask("chat")
    assert (s.state("chat"), s.since_last()) == (State.DOWNLOADING, ["download chat#1"])
    assert s.core.view("chat").run is None
    s.pass_time(3000)  # longer than any start, and than the wait of a request in line
    assert s.waits(ana)
    s.tell(ev.Downloaded("chat", 1))
    assert s.since_last() == ["start chat#1"]
    s.pass_time(200)
    s.ready("chat")
    assert s.holds(ana)
    assert s.causes("chat") == [Cause.DEMAND, Cause.DOWNLOADED, Cause.DEMAND, Cause.PROBE_PASSED]
    assert s.core.view("chat").last_start_s == 200  # the download is no part of it


def test_what_is_there_is_not_downloaded() -> None:
    s = Story(hub_model())
    s.tell(ev.FilesSeen("chat", here=True))
    s.ask("chat")
    assert s.since_last() == ["start chat#1"]
    plain = Story(model("plain"))
    plain.tell(ev.FilesSeen("plain", here=False))  # nobody is to download for it
    plain.ask("plain")
    assert plain.since_last() == ["start plain#1"]


def test_nobody_loses_the_seat_while_files_come() -> None:
    s = Story(model("coder", residency_s=0), hub_model())
    s.up("coder")
    ana = s.ask("chat")
    s.pass_time(1000)
    assert s.state("coder") is State.READY
    s.serve("coder")
    s.tell(ev.Downloaded("chat", 1))
    assert s.state("coder") is State.STOPPING  # now it is chat's turn
    s.gone("coder")
    s.ready("chat", after=2)
    assert s.holds(ana)


def test_one_that_nobody_waits_for_any_more_is_finished_and_not_started() -> None:
    s = Story(hub_model())
    s.withdraw(s.ask("chat"))
    assert s.state("chat") is State.DOWNLOADING
    s.tell(ev.Downloaded("chat", 1))
    assert (s.state("chat"), s.since_last()) == (State.STOPPED, ["download chat#1"])
    s.ask("chat")
    assert s.since_last()[-1] == "start chat#1"


def test_a_failure_is_told_and_tried_again_later_and_later() -> None:
    s = Story(hub_model())
    pauses = []
    for tries in range(1, 4):
        ana = s.ask("chat")
        assert number(s) == tries
        s.tell(ev.DownloadFailed("chat", tries, Reason(summary="the hub was not reached")))
        code = Code.MODEL_BACKOFF if tries < EQUAL_FAILURES else Code.MODEL_FAILED
        assert (s.state("chat"), s.code(ana)) == (State.BACKOFF, code)
        assert "the hub was not reached" in s.refused[ana].message
        late = s.ask("chat")
        assert s.code(late) is code
        until = s.core.view("chat").backoff_until
        assert until is not None
        pauses.append(until - s.now)
        s.until(until)
    assert pauses[0] < pauses[1] < pauses[2]
    assert s.causes("chat").count(Cause.DOWNLOAD_FAILED) == 3


def test_what_waiting_cannot_mend_is_said_so() -> None:
    s = Story(hub_model())
    ana = s.ask("chat")
    s.tell(ev.DownloadFailed("chat", 1, GATED))
    assert s.code(ana) is Code.MODEL_FAILED
    assert not s.refused[ana].should_retry
    assert "set HF_TOKEN" in s.refused[ana].message
    s.tell(ev.StartRequested("chat"))  # the operator has set it
    assert s.since_last() == ["download chat#1", "download chat#2"]


def test_it_has_a_time_of_its_own() -> None:
    s = Story(hub_model(download_timeout_s=600.0, start_timeout_s=30.0))
    ana = s.ask("chat")
    s.pass_time(599)
    assert s.waits(ana)
    s.pass_time(1)
    assert s.since_last() == ["download chat#1", "end download chat#1"]
    assert (s.state("chat"), s.code(ana)) == (State.BACKOFF, Code.MODEL_BACKOFF)
    assert "not downloaded within 600 s" in s.refused[ana].message


def test_a_wait_limit_of_the_operators_counts_all_of_it() -> None:
    s = Story(hub_model(wait_limit_s=60.0))
    ana = s.ask("chat")
    s.pass_time(60)
    assert s.code(ana) is Code.WAIT_LIMIT
    assert s.state("chat") is State.DOWNLOADING  # it goes on for the next one


def test_the_operators_stop_ends_it() -> None:
    s = Story(hub_model())
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    assert s.since_last() == ["download chat#1", "end download chat#1"]
    assert (s.state("chat"), s.code(ana)) == (State.STOPPED, Code.STOPPED_BY_OPERATOR)
    s.tell(ev.Downloaded("chat", 1))  # too late
    s.ask("chat")
    assert number(s) == 2


def test_the_end_of_hotseat_ends_it() -> None:
    for leave_running in (False, True):
        s = Story(hub_model())
        ana = s.ask("chat")
        s.tell(ev.ShutdownRequested(leave_running))
        assert s.since_last() == ["download chat#1", "end download chat#1"]
        assert s.code(ana) is Code.SHUTTING_DOWN
        assert s.core.at_rest


def test_another_configuration() -> None:
    s = Story(hub_model(fingerprint="a"))
    ana = s.ask("chat")
    s.tell(ev.SchedulerConfigured(machine(hub_model(fingerprint="a", idle_s=5.0))))
    assert s.since_last() == ["download chat#1"]  # the same files
    s.tell(ev.SchedulerConfigured(machine(hub_model(fingerprint="b"))))
    assert s.since_last() == ["end download chat#1", "download chat#2"]
    s.tell(ev.SchedulerConfigured(machine(model("chat", fingerprint="b"))))
    assert s.since_last() == ["end download chat#2", "start chat#1"]
    s.ready("chat", after=1)
    assert s.holds(ana)
    s.tell(ev.SchedulerConfigured(machine(model("other"))))
    t = Story(hub_model())
    ben = t.ask("chat")
    t.tell(ev.SchedulerConfigured(machine(model("other"))))
    assert t.code(ben) is Code.MODEL_NOT_FOUND
    assert t.since_last() == ["download chat#1", "end download chat#1"]


def test_one_that_somebody_else_starts_meanwhile_is_used() -> None:
    s = Story(hub_model())
    ana = s.ask("chat")
    s.tell(ev.RunFound("chat", 7, ready=True))
    assert s.holds(ana)
    assert s.since_last() == ["download chat#1", "end download chat#1"]


def test_a_sleeper_needs_no_files_to_wake() -> None:
    s = Story(hub_model(sleep=sleeper(), idle_s=10))
    s.tell(ev.FilesSeen("chat", here=True))
    s.up("chat")
    s.pass_time(10)
    s.slept("chat")
    s.tell(ev.FilesSeen("chat", here=False))
    s.ask("chat")
    assert s.since_last()[-1] == "wake chat#1"


def test_files_that_are_gone_are_downloaded_again() -> None:
    s = Story(hub_model())
    s.tell(ev.FilesSeen("chat", here=True))
    s.up("chat")
    s.tell(ev.FilesSeen("chat", here=False))
    assert s.state("chat") is State.READY  # it has them in memory
    s.dies("chat", CRASH)
    s.ask("chat")
    assert number(s) == 1


def test_a_model_that_is_to_be_warm_is_downloaded_without_demand() -> None:
    s = Story(hub_model(warm=True))
    assert s.since_last() == ["download chat#1"]
    assert [type(one) for one in s.tell(ev.Downloaded("chat", 1))] == [
        do.ReportMove,
        do.ReportMove,
        do.StartRun,
    ]


def test_an_unusable_runtime_refuses_and_downloads_nothing() -> None:
    s = Story(hub_model())
    s.tell(ev.RuntimeChanged(("chat",), "the engine is down"))
    assert s.code(s.ask("chat")) is Code.RUNTIME_UNAVAILABLE
    assert s.since_last() == []
