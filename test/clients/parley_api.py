"""Parley's own API, told with nothing but the standard library."""

import concurrent.futures
import itertools
import json
import threading

from harness import Api, check, quote, wait_for

BAD_BODIES = [
    (b'{"type":"message"', 400), (b"", 400), (b"null", 400), (b"[]", 400), (b'"text"', 400), (b"7", 400), (b"not json", 400),
    (b'{"type":"message","text":7}', 400), (b'{"type":"message","text":["x"]}', 400), (b'{"type":7,"text":"x"}', 400),
    (b'{"text":"x"}', 400), (b'{"type":"message"}', 400), (b'{"type":"message","text":""}', 400), (b'{"type":"message","text":" \\n"}', 400),
    (b'{"type":"message","text":"\xff\xfe"}', 400), (b'{"type":"typing"}', 400), (b'{"type":"message","text":"x"}{}', 400),
    (b'{"type":"message","text":"x"} trailing', 400), (b'{"type":"message","text":"x","timestamp":"yesterday"}', 400),
    (b'{"type":"message","text":"x","from":"me"}', 400), (b"[" * 100_000, 400),
    (b'{"type":"message","text":"' + b"x" * 200_000 + b'"}', 413), (b'{"type":"message","text":"' + b"x" * 10_000_000 + b'"}', 413),
]


def begin(api, **body):
    a = api.post("/api/v1/conversations", body)
    check(a.status, 201, "create")
    return "/api/v1/conversations/" + a.json["id"]


def say(api, path, text, key=None):
    a = api.post(path + "/activities", {"type": "message", "text": text}, headers={"Idempotency-Key": key} if key else None)
    check(a.status, 202, "say")
    return a.json


def follow(api, path, turn, after=None, header=True):
    """All events up to the end of the turn."""
    out = []
    headers = {"Last-Event-ID": after} if after and header else None
    query = f"/events?after={after}" if after and not header else "/events"
    for event in api.events(path + query, headers):
        out.append(event)
        data = json.loads(event[2])
        if event[1] == "turn" and data["turn"] == turn and data["state"] in ("done", "failed", "stopped"):
            return out
    raise AssertionError("the stream ended before the turn")


def text_of(events, turn):
    text = ""
    for _, name, data in events:
        data = json.loads(data)
        if name == "delta" and data["turn"] == turn:
            assert data["offset"] == len(text), f"offset {data['offset']} behind {len(text)} code points"
            text += data["text"]
    return text


def answer_of(api, path, turn):
    acts = api.get(path + "/activities").json["activities"]
    found = [a["text"] for a in acts if a["from"]["role"] == "bot" and a["channelData"]["parley"]["turn"] == turn]
    check(len(found), 1, "answers of the turn")
    return found[0]


def story_five_calls_make_a_chat(world):
    api = Api(world.demo)
    check(api.get("/api/v1/info").json["engine"]["demo"], True)
    path = begin(api)
    said = say(api, path, "Grüße, 世界! 👋🏽 Is this a demonstration?")
    events = follow(api, path, said["turn"])
    text = text_of(events, said["turn"])
    check(text, answer_of(api, path, said["turn"]), "deltas joined")
    assert "demonstration" in text
    states = [json.loads(d)["state"] for _, n, d in events if n == "turn"]
    check(states, ["queued", "running", "done"])
    ids = [int(i) for i, _, _ in events]
    check(ids, sorted(set(ids)), "ids grow")
    check(api.call("DELETE", path).status, 204)
    check(api.get(path + "/activities").status, 404)


def story_every_position_resumes_to_the_same_suffix(world):
    api = Api(world.demo)
    path = begin(api)
    turns = [say(api, path, t)["turn"] for t in ("First question?", "And a second one, 日本語!")]
    whole = follow(api, path, turns[-1])
    assert len(whole) > 30, f"only {len(whole)} events"
    for i, (ident, _, _) in enumerate(whole[:-1]):
        for header in (True, False):
            check(follow(api, path, turns[-1], ident, header), whole[i + 1:], f"behind {ident}")
    # A position between two ids is one, too: ids have gaps.
    between = [int(b[0]) - 1 for a, b in itertools.pairwise(whole) if int(b[0]) - int(a[0]) > 1]
    check(follow(api, path, turns[-1], str(between[0])), [e for e in whole if int(e[0]) > between[0]])
    api.call("DELETE", path)


def story_a_reader_that_is_cut_again_and_again_loses_nothing(world):
    api = Api(world.demo)
    path = begin(api)
    turn = say(api, path, "A long answer, please.")["turn"]
    seen, last, cuts, over = [], None, 0, False
    while not over:
        for n, event in enumerate(api.events(path + "/events", {"Last-Event-ID": last} if last else None)):
            seen.append(event)
            last = event[0]
            data = json.loads(event[2])
            over = event[1] == "turn" and data["turn"] == turn and data["state"] == "done"
            if over or n == 2:
                break
        cuts += 1
    assert cuts > 5, f"only {cuts} connections: the answer was over too soon to show anything"
    check(seen, follow(api, path, turn), "what the cut reader saw")
    check(text_of(seen, turn), answer_of(api, path, turn))


def story_two_readers_see_the_same(world):
    api = Api(world.demo)
    path = begin(api)
    got = [[], []]
    turn = []
    ready = threading.Barrier(3)

    def read(mine):
        stream = api.events(path + "/events")
        ready.wait()
        for event in stream:
            mine.append(event)
            data = json.loads(event[2])
            if event[1] == "turn" and data["state"] == "done":
                return

    readers = [threading.Thread(target=read, args=(g,), daemon=True) for g in got]
    for r in readers:
        r.start()
    ready.wait()
    turn.append(say(api, path, "Two of us are reading.")["turn"])
    for r in readers:
        r.join(30)
        assert not r.is_alive(), "a reader did not see the end"
    check(got[0], got[1], "two readers")
    check(text_of(got[0], turn[0]), answer_of(api, path, turn[0]))


def story_a_slow_reader_holds_nobody_up(world):
    api = Api(world.demo)
    path = begin(api)
    conn, response = api.connect("GET", path + "/events")  # and never reads
    turn = say(api, path, "Somebody is asleep.")["turn"]
    check(text_of(follow(api, path, turn), turn), answer_of(api, path, turn))
    conn.close()


def story_a_repeated_request_is_done_once(world):
    api = Api(world.demo)
    path = begin(api)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        many = list(pool.map(lambda _: say(api, path, "Once only.", 'key/1 ~ "x"'), range(8)))
        made = list(pool.map(lambda _: begin_with_key(api, "conversation-key"), range(8)))
    check(len({json.dumps(m) for m in many}), 1, "answers to the same key")
    check(len(set(made)), 1, "conversations of the same key")
    follow(api, path, many[0]["turn"])
    acts = api.get(path + "/activities").json["activities"]
    check([a["from"]["role"] for a in acts], ["user", "bot"])
    clash = api.post(path + "/activities", {"type": "message", "text": "Another."}, headers={"Idempotency-Key": 'key/1 ~ "x"'})
    check((clash.status, clash.json["error"]["code"]), (409, "conflict"))
    other = begin(api)
    assert say(api, other, "Once only.", 'key/1 ~ "x"')["id"] != many[0]["id"], "a key belongs to its conversation"
    long = api.post(path + "/activities", {"type": "message", "text": "x"}, headers={"Idempotency-Key": "k" * 256})
    check(long.status, 400)


def begin_with_key(api, key):
    a = api.post("/api/v1/conversations", headers={"Idempotency-Key": key})
    check(a.status, 201)
    return a.json["id"]


def browser(node):
    """A browser that has been on the page: it has a session of its own."""
    visit = Api(node).get("/", headers={"Sec-Fetch-Dest": "document"})
    check(visit.status, 200, "the page")
    return Api(node, Cookie=visit.headers["Set-Cookie"].split(";")[0])


def story_somebody_elses_conversation_is_not_there(world):
    mine, theirs = browser(world.demo), browser(world.demo)
    path = begin(mine)
    turn = say(mine, path, "A secret word: xylophone")["turn"]
    follow(mine, path, turn)
    nowhere = path[:-6] + "000000"
    for method, tail, body in [
        ("GET", "", None), ("PATCH", "", {"title": "mine now"}), ("DELETE", "", None), ("GET", "/activities", None),
        ("POST", "/activities", {"type": "message", "text": "hi"}), ("GET", "/events", None), ("GET", "/export", None),
        ("POST", f"/turns/{turn}/stop", None), ("POST", f"/turns/{turn}/regenerate", None),
    ]:
        for who in (theirs, Api(world.demo)):
            a, b = who.call(method, path + tail, body), who.call(method, nowhere + tail, body)
            check((a.status, a.json["error"]["code"]), (404, "not_found"), f"{method} {tail}")
            same = lambda x, p: x.body.decode().replace(p.rsplit("/", 1)[1], "ID")
            check(same(a, path), same(b, nowhere), "somebody else's and nobody's look alike")
    check(theirs.get("/api/v1/search?q=xylophone").json["hits"], [])
    assert mine.get("/api/v1/search?q=xylophone").json["hits"], "my own search finds nothing"
    check([c["id"] for c in theirs.get("/api/v1/conversations").json["conversations"]], [])
    check(mine.get(path).status, 200)


def story_bad_bodies_get_a_clear_answer(world):
    api = Api(world.keyed, Authorization="Bearer " + world.key)  # with a limit of 128 KiB
    path = begin(api)
    for body, status in BAD_BODIES:
        try:
            a = api.post(path + "/activities", body)
        except (BrokenPipeError, ConnectionResetError):  # cut while still sending megabytes: as good
            check(status, 413, "cut")
            continue
        check(a.status, status, repr(body[:60]))
        error = a.json["error"]
        assert error["code"] in ("invalid", "too_large") and error["message"], error
    check(api.get(path + "/activities").json["activities"], [], "what bad bodies left behind")
    a = api.post(path + "/activities", "type=message&text=x", headers={"Content-Type": "application/x-www-form-urlencoded"})
    check(a.status, 400)
    for header in ("-1", "x", "1.5", "99999999999999999999999"):
        check(api.get(path + "/events", headers={"Last-Event-ID": header}).status, 400, header)


def story_a_stop_keeps_what_was_written(world):
    api = Api(world.demo)
    path = begin(api)
    turn = say(api, path, "Tell me everything.")["turn"]
    seen = 0
    for _, name, data in api.events(path + "/events"):
        seen += name == "delta"
        if seen == 3:
            break
    check(api.post(f"{path}/turns/{turn}/stop").status, 202)
    events = follow(api, path, turn)
    check(json.loads(events[-1][2])["state"], "stopped")
    check(text_of(events, turn), answer_of(api, path, turn))
    other = api.post(f"{path}/turns/{turn}/regenerate").json["turn"]
    whole = text_of(follow(api, path, other), other)
    assert whole.startswith(text_of(events, turn)) and len(whole) > len(text_of(events, turn))


def story_searching_listing_and_exporting(world):
    me = browser(world.demo)
    paths = [begin(me, title=f"Number {i}") for i in range(5)]
    turn = say(me, paths[2], "The quick brown marsupial")["turn"]
    follow(me, paths[2], turn)
    hits = me.get("/api/v1/search?q=" + quote("marsupial quick")).json["hits"]
    check([h["title"] for h in hits], ["Number 2"])
    listed, cursor = [], ""
    while True:
        page = me.get(f"/api/v1/conversations?limit=2&cursor={quote(cursor)}").json
        listed += [c["title"] for c in page["conversations"]]
        cursor = page["next"]
        if not cursor:
            break
    check(sorted(listed), [f"Number {i}" for i in range(5)])
    check(listed[0], "Number 2", "the newest first")
    exported = me.get(paths[2] + "/export").json
    check(exported["activities"], me.get(paths[2] + "/activities").json["activities"])
    assert "marsupial" in me.get(paths[2] + "/export?format=md").body.decode()
    check(me.call("DELETE", paths[2]).status, 204)
    wait_for("the search to forget", lambda: not me.get("/api/v1/search?q=marsupial").json["hits"])


def story_a_killed_node_goes_on_where_it_was(world):
    node = world.start("demo")
    api = Api(node)
    path = begin(api)
    turn = say(api, path, "You will not survive this.")["turn"]
    seen = []
    for event in api.events(path + "/events"):
        seen.append(event)
        if sum(e[1] == "delta" for e in seen) == 5:
            break
    node.kill()
    again = world.restart(node)
    api = Api(again)
    rest = follow(api, path, turn, seen[-1][0])
    text = text_of(seen + rest, turn)
    check(text, answer_of(api, path, turn), "seen before and after")
    check(text_of(follow(api, path, turn), turn), text, "from the beginning")
    assert any(n == "resumed" for _, n, _ in rest), "nothing tells that the answer was resumed"
    check([a["from"]["role"] for a in api.get(path + "/activities").json["activities"]], ["user", "bot"])
    again.stop()
