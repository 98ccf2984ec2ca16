"""What visitors hold in memory is bounded, each and all together, before it is there."""

import asyncio
import time

import httpx
import numpy as np
import pytest

from pipeline.errors import SettingsError
from service.auth import address
from service.body_limit import BodyLimitMiddleware
from service.budget import Budget
from service.errors import Busy, ServiceError, TooMany
from service.settings import ServiceSettings
from tests.service.conftest import encoded, streamed
from tests.service.test_body_limit import png_of


def test_a_visitor_gets_half_and_all_together_the_whole():
    budget = Budget(100)
    with budget.hold("a", 50) as mine, budget.hold("b", 40):
        with pytest.raises(TooMany):
            budget.hold("a", 1)
        with pytest.raises(Busy):
            budget.hold("c", 11)
        mine.grow(-20)
        with budget.hold("c", 30):
            assert budget.used == 100
    assert budget.used == 0
    mine.release()
    with budget.hold("a", 50):
        assert budget.used == 50


def test_what_was_given_back_takes_nothing_any_more():
    """A thread may still be at work for who has gone: nobody would give that back."""
    budget = Budget(100)
    for held in (budget.hold("a", 10), budget.hold("a")):
        held.release()
        with pytest.raises(ServiceError, match="called off"):
            held.grow(5)
        held.release()
        assert budget.used == held.size == 0
    assert budget.largest() == ""


def test_settings_leave_room_for_one_upload():
    with pytest.raises(SettingsError, match="held_bytes must be at least 180000000"):
        ServiceSettings(held_bytes=1)
    assert ServiceSettings().held == 210_000_000


async def nothing(*_):
    return {}


class Requests:
    """Requests to an application that takes its time, with bodies that never end."""

    def __init__(self, settings, **headers):
        self.memory = Budget(settings.held)
        self.reached, self.refused = 0, []
        self.app = BodyLimitMiddleware(self.inner, settings, self.memory)
        self.headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]

    async def inner(self, scope, receive, send):
        if "refused" in scope["state"]:
            self.refused.append(scope["state"]["refused"])
            return
        self.reached += 1
        while (await receive()).get("more_body"):
            pass

    async def start(self, number, host="1.2.3.4", body=b""):
        tasks = [asyncio.create_task(self._request(host, body)) for _ in range(number)]
        await asyncio.sleep(0.05)
        return tasks

    async def _request(self, host, body):
        parts = [{"type": "http.request", "body": body, "more_body": True}] if body else []

        async def receive():
            if parts:
                return parts.pop()
            await asyncio.sleep(60)

        scope = {"type": "http", "path": "/api/remove", "headers": self.headers}
        await self.app({**scope, "client": (host, 1)}, receive, nothing)


def test_uploads_are_refused_before_a_byte_of_them_is_read():
    """Forty uploads of 29 MB held before the last byte were 1.1 GB."""

    async def story():
        kind = "multipart/form-data; boundary=b"
        ours = Requests(ServiceSettings(), content_length="29000000", content_type=kind)
        tasks = await ours.start(40)
        assert ours.reached == 3
        assert all(isinstance(error, TooMany) for error in ours.refused)
        tasks += await ours.start(1, "5.6.7.8")
        assert ours.reached == 4  # another visitor has room
        for number in range(10):
            tasks += await ours.start(3, f"9.9.9.{number}")
        assert ours.memory.used <= ServiceSettings().held
        assert isinstance(ours.refused[-1], Busy)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert ours.memory.used == 0

    asyncio.run(story())


def test_a_body_without_a_length_is_counted_as_it_comes():
    async def story():
        ours = Requests(ServiceSettings(max_bytes=1_000_000), content_type="application/json")
        tasks = await ours.start(40, body=bytes(1_000_000))
        assert ours.memory.used == 4_000_000  # what a visitor may: as it is, and decoded, twice
        failed = [task for task in tasks if task.done()]
        assert len(failed) == 38
        assert all(isinstance(task.exception(), TooMany) for task in failed)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert ours.memory.used == 0

    asyncio.run(story())


def test_an_answer_is_handed_on_in_parts():
    whole = bytes(range(256)) * 1000

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": whole, "more_body": False})

    async def story():
        sent = []

        async def send(message):
            sent.append(dict(message))

        scope = {"type": "http", "path": "/", "headers": []}
        await BodyLimitMiddleware(app, ServiceSettings(), Budget(1000))(scope, nothing, send)
        assert b"".join(part.get("body", b"") for part in sent) == whole
        assert max(len(part.get("body", b"")) for part in sent) == 65536
        assert [part.get("more_body") for part in sent[1:]] == [True] * 3 + [False]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "field", "behind", "refused"),
    [
        ("/api/remove-background", "file", "background_file", 413),
        ("/v1.0/removebg", "image_file", "bg_image_file", 400),  # as remove.bg itself answers
    ],
)
def test_a_background_has_no_more_pixels_than_a_photo(serve, photo, path, field, behind, refused):
    client = serve(max_pixels=300_000)
    small = encoded(np.zeros((8, 8, 3), np.uint8))
    for data, status in (
        (png_of(9000, 9000), refused),
        (png_of(600, 600), refused),
        (small, 200),
    ):
        answer = client.post(path, files={field: photo, behind: data})
        assert answer.status_code == status, answer.text
    assert client.get("/metrics").text.count("wisp_held_bytes 0.0") == 1


def test_a_background_that_is_fetched_has_no_more_pixels_either(serve, photo):
    async def resolve(host, port):
        return ["93.184.216.34"]

    site = httpx.MockTransport(lambda request: streamed(png_of(9000, 9000)))
    client = serve({"resolve": resolve, "transport": site}, max_pixels=300_000)
    answer = client.post(
        "/v1.0/removebg",
        files={"image_file": photo},
        data={"bg_image_url": "https://example.com/a.png"},
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "resolution_too_high"


def test_answers_count_for_whoever_waits_for_them(serve, photo):
    """An answer that its client does not read stays in memory."""
    client = serve(max_bytes=400_000)  # 1.4 MB a visitor at the least
    client.app.state.wisp.memory.each = 200_000
    answer = client.post("/api/matting", files={"image": photo})
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_much_at_once"
    assert client.app.state.wisp.memory.used == 0


def test_a_result_is_read_only_where_there_is_room(serve, photo):
    client = serve()
    body = client.post("/api/remove-background", files={"file": photo}).json()
    assert client.get(body["result_url"]).status_code == 200
    client.app.state.wisp.memory.each = body["bytes"] - 1
    assert client.get(body["result_url"]).status_code == 429
    assert client.get(body["result_url"].replace(".png", ".webp")).status_code == 404


# -- keys and addresses ----------------------------------------------------------------------------


def test_wrong_keys_are_slowed(serve):
    client = serve(api_keys=("right",))

    def show(key):
        return client.get("/api/models", headers={"X-Api-Key": key})

    codes = [show(f"wrong {number}").status_code for number in range(60)]
    assert codes == [403] * 10 + [429] * 50
    late = show("right")  # not even told from a wrong one, or the search would go on
    assert late.status_code == 429
    assert 1 <= int(late.headers["retry-after"]) <= 62
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/models").status_code == 401  # no key is no wrong key


def test_the_wait_grows_with_the_wrong_keys(serve, monkeypatch):
    client = serve(api_keys=("right",))
    now = time.time()
    waits = []
    for step in range(5):
        monkeypatch.setattr(time, "time", lambda step=step: now + 61 * step)
        for number in range(12):
            answer = client.get("/api/models", headers={"X-Api-Key": f"{step} {number}"})
        waits.append(int(answer.headers["retry-after"]))
    assert waits[0] <= 62 < 3000 < waits[-1]


def test_an_address_is_a_subscriber():
    def named(host):
        return address({"client": (host, 1)})

    assert named("10.0.0.1") == named("::ffff:10.0.0.1") == "10.0.0.1"
    assert named("2001:db8::1") == named("2001:db8:0:0:ffff::2") == "2001:db8::/64"
    assert named("2001:db8:0:1::1") != named("2001:db8::1")
    assert address({"client": None}) == "" and named("testclient") == "testclient"
