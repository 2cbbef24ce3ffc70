from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.interfaces.errors import UserError
from harness.judges import JudgeRequest, JudgeSettings
from harness.judges.answers import CHAT, read_answer
from harness.judges.endpoint import Patience
from harness.judges.failures import Garbage
from harness.judges.openai_judge import OpenAIJudge
from tests.harness.judges.endpoint import Endpoint, one_in_five, serving

LIMITS = ("max_tokens", "max_completion_tokens")
SETTINGS = JudgeSettings(client="openai", model="gpt-4.1", max_tokens=1400, jpeg_quality=75)
QUICK = Patience(attempts=6, first_wait=0.01, longest_wait=0.05)


def judge(**changes: object) -> OpenAIJudge:
    return OpenAIJudge(SETTINGS.model_copy(update=changes), QUICK)


def requests(count: int) -> list[JudgeRequest]:
    return [JudgeRequest(f"question {index}") for index in range(count)]


def test_a_request_is_text_then_images_without_temperature(endpoint: Endpoint) -> None:
    (reply,) = judge().ask([JudgeRequest("look", [b"\xff\xd8one", b"\xff\xd8two"])])
    assert reply.text == "fine"
    (body,) = endpoint.bodies
    assert set(body) == {"model", "messages", "max_tokens"}
    assert body["model"] == "gpt-4.1"
    assert body["max_tokens"] == 1400
    (message,) = body["messages"]
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "image_url"]
    assert message["content"][1]["image_url"]["url"] == "data:image/jpeg;base64,/9hvbmU="


def test_a_temperature_is_sent_where_the_protocol_names_one(endpoint: Endpoint) -> None:
    judge(temperature=0.5).ask(requests(1))
    assert endpoint.bodies[-1]["temperature"] == 0.5


def test_replies_are_kept_and_never_asked_for_again(endpoint: Endpoint) -> None:
    first = judge().ask(requests(5))
    assert judge().ask(requests(5)) == first
    assert len(endpoint.bodies) == 5


def test_other_settings_draws_and_endpoints_are_other_requests(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge().ask([JudgeRequest("q")])
    judge().ask([JudgeRequest("q", draw=1)])
    judge().ask([JudgeRequest("q", [b"\xff\xd8"])])
    judge(model="other").ask([JudgeRequest("q")])
    judge(temperature=0.0).ask([JudgeRequest("q")])
    assert len(endpoint.bodies) == 6  # One asks whether the temperature is taken.
    with serving(Endpoint()) as elsewhere:
        monkeypatch.setenv("UWT_EVAL_JUDGE_URL", elsewhere.url)
        judge().ask([JudgeRequest("q")])
        assert len(elsewhere.bodies) == 1


def test_the_same_request_twice_in_one_batch_is_paid_once(endpoint: Endpoint) -> None:
    replies = judge().ask([JudgeRequest("same")] * 20)
    assert [reply.text for reply in replies] == ["fine"] * 20
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("fault", ["429", "500", "garbage", "cut"])
def test_passing_faults_are_waited_out(endpoint: Endpoint, fault: str) -> None:
    endpoint.fault = lambda number: fault if number < 3 else ""
    (reply,) = judge().ask(requests(1))
    assert reply.text == "fine"
    assert len(endpoint.bodies) == 4


def test_a_late_answer_is_asked_for_again(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_TIMEOUT", "1")
    endpoint.silence = 60
    endpoint.fault = lambda number: "timeout" if number == 0 else ""
    (reply,) = judge().ask(requests(1))
    assert reply.text == "fine"


def test_a_fault_that_stays_is_a_failure_and_is_tried_by_the_next_run(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "500"
    (reply,) = judge().ask(requests(1))
    assert reply.failure == "HTTP 500: oops"
    assert len(endpoint.bodies) == 6
    endpoint.fault = lambda number: ""
    assert judge().ask(requests(1))[0].text == "fine"


def test_the_wait_that_an_endpoint_asks_for_is_kept(endpoint: Endpoint) -> None:
    from harness.judges import failures

    fault = Exception()
    waits = {"7.5": 7.5, "Wed, 21 Oct 2015 07:28:00 GMT": 0.0, "soon": None, "nan": None, "": None}
    for header, seconds in waits.items():
        fault.response = SimpleNamespace(headers={"retry-after": header})  # type: ignore[attr-defined]
        assert failures.asked_pause(fault) == seconds


@pytest.mark.parametrize(
    ("fault", "reason"), [("refusal", "I cannot help with that."), ("400-filter", "filtered")]
)
def test_refusals_are_final(endpoint: Endpoint, fault: str, reason: str) -> None:
    endpoint.fault = lambda number: fault
    (reply,) = judge().ask(requests(1))
    assert reason in reply.refusal
    assert reply.text == ""
    assert judge().ask(requests(1)) == [reply]
    assert len(endpoint.bodies) == 1


def test_a_reply_without_words_is_empty(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "null"
    (reply,) = judge().ask(requests(1))
    assert (reply.text, reply.refusal, reply.failure) == ("", "", "")


def test_a_request_that_the_endpoint_cannot_take_fails_alone(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "400"
    (reply,) = judge().ask(requests(1))
    assert reply.failure == "HTTP 400: image too large"
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [("401", "the key is refused"), ("404", "does not exist"), ("quota", "quota is spent")],
)
def test_what_no_waiting_mends_ends_the_run(endpoint: Endpoint, fault: str, words: str) -> None:
    endpoint.fault = lambda number: fault
    with pytest.raises(UserError, match=words):
        judge().ask(requests(3))
    assert len(endpoint.bodies) <= 3


def test_an_endpoint_that_stops_answering_ends_the_run(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "500" if number >= 4 else ""
    with pytest.raises(UserError, match=r"gave no reply to \d+ requests in a row \(HTTP 500"):
        judge().ask(requests(40))
    before = len(endpoint.paid)
    endpoint.fault = lambda number: ""
    judge().ask(requests(40))
    assert sum(endpoint.paid.values()) == 40
    assert before == 4


def test_no_more_requests_at_a_time_than_allowed(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_CONCURRENCY", "3")
    three = threading.Barrier(3, timeout=60)
    endpoint.before = lambda number: three.wait()  # type: ignore[assignment,return-value]
    judge().ask(requests(12))
    assert endpoint.most_at_once == 3


def test_tokens_and_costs(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    (reply,) = judge().ask(requests(1))
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cost) == (100, 10, None)
    assert reply.model == "gpt-4.1-2025-04-14"
    monkeypatch.setenv("UWT_EVAL_JUDGE_PRICES", "[2, 8]")
    (reply,) = judge().ask(requests(1))
    assert reply.cost == pytest.approx((100 * 2 + 10 * 8) / 1e6)


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1, True, "1", 10**400])
def test_costs_that_are_none_are_computed(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, cost: object
) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_PRICES", "[2, 8]")
    endpoint.usage["cost"] = cost
    for _ in range(2):  # Also as it was kept.
        (reply,) = judge().ask(requests(1))
        assert reply.cost == pytest.approx((100 * 2 + 10 * 8) / 1e6)


def test_halves_of_surrogate_pairs_are_replaced_before_they_are_kept(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.answer = lambda text, images: "a\ud800b\U0001f600\udfff"
    for _ in range(2):
        (reply,) = judge().ask(requests(1))
        assert reply.text == "a\ufffdb\U0001f600\ufffd"
    (kept,) = (path for path in tmp_path.rglob("*.json"))
    old = json.loads(kept.read_text().replace("\\ufffd", "\\ud800"))
    del old["sha256"]
    kept.write_text(json.dumps(old))  # As an earlier version kept it.
    assert judge().ask(requests(1)) == [reply]
    assert len(endpoint.bodies) == 1


def test_an_endless_answer_is_left_and_not_asked_for_again(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "endless"
    (reply,) = judge().ask(requests(1))
    assert reply.failure == "the endpoint's answer is larger than 4 MiB"
    assert len(endpoint.bodies) == 1


def test_a_reply_is_handed_on_up_to_a_length(endpoint: Endpoint) -> None:
    endpoint.answer = lambda text, images: "x" * 200_000
    assert len(judge().ask(requests(1))[0].text) == 100_000


def test_an_answer_that_is_nested_too_deeply_is_garbage(endpoint: Endpoint) -> None:
    endpoint.usage = {"deep": json.loads("[" * 800 + "]" * 800)}
    assert judge().ask(requests(1))[0].text == "fine"
    with pytest.raises(Garbage):
        read_answer([b'{"choices":', b"[" * 200_000, b"]" * 200_000, b"}"], CHAT)


@pytest.mark.parametrize(("known", "other"), [LIMITS, LIMITS[::-1]])
def test_the_limits_name_is_chosen_or_learnt_once(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, known: str, other: str
) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_CONCURRENCY", "1")
    endpoint.unknown = (other,)
    monkeypatch.setenv("UWT_EVAL_JUDGE_TOKEN_LIMIT", known)
    judge().ask(requests(1))
    assert [body.get(known) for body in endpoint.bodies] == [1400]
    monkeypatch.setenv("UWT_EVAL_JUDGE_TOKEN_LIMIT", other)
    asking = judge()
    # What is kept belongs to both names.
    assert [reply.text for reply in asking.ask(requests(4))] == ["fine"] * 4
    assert [known in body for body in endpoint.bodies] == [True, False, True, True, True]
    assert endpoint.bodies[-1][known] == 1400


def test_an_endpoint_that_knows_neither_limit_fails_as_it_says(endpoint: Endpoint) -> None:
    endpoint.unknown = LIMITS
    (reply,) = judge().ask(requests(1))
    assert "'max_completion_tokens' is not supported" in reply.failure
    assert len(endpoint.bodies) == 2


def test_a_limit_that_is_too_large_is_not_sent_under_another_name(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "400-large"
    assert judge().ask(requests(1))[0].failure == "HTTP 400: max_tokens is too large: 1400"
    assert len(endpoint.bodies) == 1


def test_a_temperature_that_is_not_taken_is_left_out_and_said(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.unknown = ("temperature", "max_tokens")
    asking = judge(temperature=0.5)
    assert asking.identity["temperature"] == "0.5 is not taken here: none is sent"
    assert [reply.text for reply in asking.ask(requests(2))] == ["fine"] * 2
    assert not any("temperature" in body for body in endpoint.bodies[-2:])
    assert "takes no temperature of 0.5" in capsys.readouterr().err
    # Learnt once: the next run asks nothing before its first question, and is the same judge.
    before = len(endpoint.bodies)
    again = judge(temperature=0.5)
    assert again.identity == asking.identity
    assert again.ask(requests(2)) == asking.ask(requests(2))
    assert len(endpoint.bodies) == before


def test_a_temperature_that_is_taken_is_sent_and_asked_about_once(endpoint: Endpoint) -> None:
    for number in range(2):
        asking = judge(temperature=0.5)
        assert "temperature" not in asking.identity
        asking.ask([JudgeRequest(f"question {number}")])
    assert [body["temperature"] for body in endpoint.bodies] == [0.5] * 3


def test_a_judge_without_temperature_asks_nothing_about_it(endpoint: Endpoint) -> None:
    assert "temperature" not in judge().identity
    assert not endpoint.bodies


def test_an_endpoint_that_turns_a_temperature_down_later_ends_the_run(endpoint: Endpoint) -> None:
    asking = judge(temperature=0.5)
    asking.ask(requests(1))
    endpoint.unknown = ("temperature",)
    with pytest.raises(UserError, match="leave it out of the protocol's judge"):
        asking.ask([JudgeRequest("another")])


def test_nothing_is_sent_on_to_another_place(endpoint: Endpoint) -> None:
    with serving(Endpoint()) as elsewhere:
        endpoint.location = f"{elsewhere.url}/chat/completions"
        endpoint.fault = lambda number: "307"
        with pytest.raises(UserError, match=r"sends on to 'http.*, which is not followed"):
            judge().ask(requests(1))
        assert not elsewhere.bodies


def test_the_key_is_nowhere_but_in_the_request(
    endpoint: Endpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asking = judge()
    asking.ask(requests(2))
    endpoint.fault = lambda number: "401"
    with pytest.raises(UserError) as error:
        asking.ask([JudgeRequest("another")])
    with pytest.raises(UserError) as at_check:
        asking.check()
    assert endpoint.keys == {"Bearer sk-secret-9876xyz"}
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 2
    told = [str(error.value), str(at_check.value), *capfd.readouterr(), str(asking.identity)]
    for text in (*written, *told):
        assert "secret" not in text


def test_without_a_key_nothing_is_asked(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UWT_EVAL_JUDGE_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match=r"no key for the judge endpoint .* set UWT_EVAL_JUDGE_KEY"):
        judge().check()
    assert not endpoint.bodies


def test_an_endpoint_that_is_down_is_found_out_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_KEY", "any")
    monkeypatch.setenv("UWT_EVAL_JUDGE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/v1 cannot be reached"):
        judge().check()


def test_an_endpoint_that_is_up_passes(endpoint: Endpoint) -> None:
    judge().check()
    assert not endpoint.bodies


@pytest.mark.parametrize(
    "url", ["localhost:8000", "http://", "ftp://host/v1", "http://[::1", "http://u:secret@host/v1"]
)
def test_addresses_that_are_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_URL", url)
    with pytest.raises(UserError, match="UWT_EVAL_JUDGE_URL") as error:
        judge()
    assert "secret" not in str(error.value)


ASKER = textwrap.dedent(
    """
    import sys
    from harness.judges import JudgeRequest, JudgeSettings
    from harness.judges.endpoint import Patience
    from harness.judges.openai_judge import OpenAIJudge

    settings = JudgeSettings(client="openai", model="gpt-4.1", max_tokens=9, jpeg_quality=75)
    judge = OpenAIJudge(settings, Patience(first_wait=0.01, longest_wait=0.05))
    judge.ask([JudgeRequest(f"question {index}") for index in range(int(sys.argv[1]))])
    """
)


@pytest.mark.parametrize(("at_once", "killed_at"), [(1, 7), (1, 12), (4, 9)])
def test_a_kill_loses_no_paid_reply(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, at_once: int, killed_at: int
) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_CONCURRENCY", str(at_once))
    command = [sys.executable, "-c", ASKER, "16"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())})

    def kill(number: int) -> None:
        if number == killed_at:
            process.send_signal(signal.SIGKILL)
            process.wait()

    endpoint.before = kill
    assert process.wait(300) == -signal.SIGKILL
    endpoint.before = lambda number: None
    subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, check=True, timeout=300
    )
    asked = [json.dumps(body, sort_keys=True) for body in endpoint.bodies]
    # Only what was under way when the process died may be asked for again.
    assert len(asked) - len(set(asked)) <= at_once
    assert len(set(asked)) == 16


def _accounted(endpoint: Endpoint, count: int) -> None:
    # The other end leaves first: the judge's own patience would depend on this machine's load.
    endpoint.silence = 0.05
    endpoint.fault = one_in_five()
    replies = judge().ask(requests(count))
    answered = [reply for reply in replies if reply.text == "fine"]
    refused = [reply for reply in replies if reply.refusal]
    failed = [reply for reply in replies if reply.failure]
    assert len(answered) + len(refused) + len(failed) == count
    assert len(refused) == endpoint.faults["refusal"]
    assert all(endpoint.faults[fault] for fault in ("429", "500", "timeout", "garbage", "refusal"))
    before = len(endpoint.bodies)
    endpoint.fault = lambda number: ""
    again = judge().ask(requests(count))
    assert len(endpoint.bodies) == before + len(failed)
    for now, earlier in zip(again, replies, strict=True):
        assert earlier.failure or now == earlier
    assert max(endpoint.paid.values()) == 1


def test_every_fault_is_accounted_for_and_nothing_is_asked_twice(endpoint: Endpoint) -> None:
    _accounted(endpoint, 150)


@pytest.mark.slow
def test_two_thousand_requests_to_an_endpoint_that_fails_one_in_five(
    endpoint: Endpoint,
) -> None:
    _accounted(endpoint, 2000)


SOFT = JudgeRequest("is it?", top_logprobs=20)


def test_probabilities_of_first_tokens_come_where_they_are_asked_for(endpoint: Endpoint) -> None:
    endpoint.probabilities = lambda text, images: {"Yes": 0.75, "No": 0.125, " yes": 0.0625}
    (reply,) = judge().ask([SOFT])
    assert reply.first_tokens == pytest.approx({"Yes": 0.75, "No": 0.125, " yes": 0.0625})
    (body,) = endpoint.bodies
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert judge().ask([SOFT]) == [reply]
    assert judge().ask([JudgeRequest("is it?")])[0].first_tokens == {}
    assert "logprobs" not in endpoint.bodies[1]
    assert len(endpoint.bodies) == 2


def test_requests_without_probabilities_are_found_by_what_they_were_kept_under() -> None:
    assert JudgeRequest("q").content() == {"text": "q", "images": [], "draw": 0}


def test_a_server_without_probabilities_is_refused_until_it_gives_them(endpoint: Endpoint) -> None:
    with pytest.raises(UserError, match="gives no token probabilities: soft scores need") as told:
        judge().ask([SOFT])
    assert endpoint.url in str(told.value)
    assert "\n" not in str(told.value)
    endpoint.probabilities = lambda text, images: {"Yes": 1.0}
    assert judge().ask([SOFT])[0].first_tokens == {"Yes": 1.0}


def test_a_server_that_takes_no_logprobs_is_refused(endpoint: Endpoint) -> None:
    endpoint.unknown = ("logprobs",)
    with pytest.raises(UserError, match=r"gives no token probabilities .*not supported"):
        judge().ask([SOFT])
    assert len(endpoint.bodies) == 1, "it is not tried again"


def test_a_refusal_needs_no_probabilities(endpoint: Endpoint) -> None:
    endpoint.fault = lambda number: "refusal"
    (reply,) = judge().ask([SOFT])
    assert reply.refusal
    assert not reply.first_tokens
