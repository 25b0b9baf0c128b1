"""Slack's own SDK as judge.

`blocks`: reads {"messages": [{"text", "blocks"}, …]} and holds each to Block Kit's models and limits.
`client URL TOKEN CHANNEL`: Slack's client against our stand-in.
"""

import json
import sys

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.models.blocks import Block


def width(text):
    """Length in UTF-16 units, the widest way of counting."""
    return len(text.encode("utf-16-le")) // 2


def judge_message(message):
    text, blocks = message.get("text"), message.get("blocks")
    assert text and width(text) <= 4000, "text for notifications is missing or long"
    assert blocks and len(blocks) <= 50, f"{len(blocks or [])} blocks"
    for raw in blocks:
        parsed = Block.parse(raw)
        assert parsed is not None, f"unknown block: {raw}"
        # to_dict checks the limits of the models.
        again = parsed.to_dict()
        assert again["type"] == raw["type"], raw
        for element in raw.get("elements", []):
            assert width(element["text"]) <= 2000, "context element"
    total = width(json.dumps(blocks, ensure_ascii=False, separators=(",", ":")))
    assert total <= 12000, f"{total} characters"


def judge_blocks():
    messages = json.load(sys.stdin)["messages"]
    for message in messages:
        judge_message(message)
    # A judge that lets everything pass proves nothing.
    for bad in (
        {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}},
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}},
        {"type": "section"},
        {"type": "sectoin", "text": {"type": "mrkdwn", "text": "x"}},
    ):
        try:
            judge_message({"text": "x", "blocks": [bad]})
        except Exception:
            continue
        raise AssertionError(f"the judge accepts {bad['type']}")
    print(len(messages))


def expect(code, call):
    try:
        call()
    except SlackApiError as error:
        assert error.response["error"] == code, error.response
        return
    raise AssertionError(f"expected {code}")


def judge_client(url, token, channel):
    client = WebClient(token=token, base_url=url + "/", retry_handlers=[])
    section = [{"type": "section", "text": {"type": "mrkdwn", "text": "hello"}}]
    posted = client.chat_postMessage(channel=channel, text="hello", blocks=section)
    ts = posted["ts"]
    assert client.chat_update(channel=posted["channel"], ts=ts, text="changed")["ts"] == ts
    reply = client.chat_postMessage(
        channel=channel, text="reply", thread_ts=ts, reply_broadcast=True)
    assert reply["ts"] != ts
    uploaded = client.files_upload_v2(
        content=b"png", filename="x.png", title="x", channel=channel, thread_ts=ts)
    assert uploaded["files"][0]["id"]
    expect("channel_not_found", lambda: client.chat_postMessage(channel="C9", text="x"))
    expect("message_not_found", lambda: client.chat_update(channel=channel, ts="1.1", text="x"))
    expect("no_text", lambda: client.chat_postMessage(channel=channel))
    expect("msg_too_long", lambda: client.chat_postMessage(channel=channel, text="x" * 40001))
    expect("invalid_blocks", lambda: client.chat_postMessage(
        channel=channel, text="x", blocks=section * 51))
    expect("msg_blocks_too_long", lambda: client.chat_postMessage(
        channel=channel, text="x",
        blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 2900}}] * 5))
    other = WebClient(token="xoxb-wrong", base_url=url + "/", retry_handlers=[])
    expect("invalid_auth", lambda: other.chat_postMessage(channel=channel, text="x"))
    print("ok")


if sys.argv[1] == "blocks":
    judge_blocks()
else:
    judge_client(*sys.argv[2:5])
