"""Who may come in: tokens on every route and socket, other pages turned away, no path out of the data folder."""

import asyncio
import os
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from LeFusionLib import LeFusionError
from LeFusionLib.app.options import AppOptions
from LeFusionLib.app.shelf import Shelf

TOKEN = "let-me-in-7"
ROUTES = (
    "/",
    "/index.html",
    "/alive",
    "/download/x/y",
    "/lefusion/page.js",
    "/vue.global.js",
    "/assets/x",
    "/ws",
    "/no",
)
WRONG = (("", ""), ("?token=", ""), ("?token=wrong", ""), ("", "lefusion_1=wrong"), ("?token=let-me-in", ""))
WAYS_OUT = (
    "../secret.nrrd",
    "inside/../../secret.nrrd",
    "./../secret.nrrd",
    "link.nrrd",
    "linked/secret.nrrd",
    "",
    ".",
    "..",
    "a\0b",
    "%2e%2e/secret.nrrd",
    "..\\secret.nrrd",
)


@pytest.fixture
def folders(tmp_path):
    """A data folder, and beside it what nobody may see."""
    data = tmp_path / "data"
    (data / "inside").mkdir(parents=True)
    for path in (data / "ct.nii.gz", data / "inside" / "mr.nrrd", data / "notes.txt", tmp_path / "secret.nrrd"):
        path.write_bytes(b"x")
    (data / "series").mkdir()
    (data / "series" / "1.DCM").write_bytes(b"x")
    (data / ".hidden.nrrd").write_bytes(b"x")
    os.symlink(tmp_path / "secret.nrrd", data / "link.nrrd")
    os.symlink(tmp_path, data / "linked")
    return data


def test_the_shelf_offers_scans_and_series_and_nothing_behind_links(folders):
    assert Shelf(folders).names() == ["ct.nii.gz", "inside/mr.nrrd", "series"]
    assert Shelf(None).names() == []


@pytest.mark.parametrize("name", WAYS_OUT)
def test_no_name_leads_out_of_the_data_folder(folders, name):
    with pytest.raises(LeFusionError, match="no such scan"):
        Shelf(folders).path(name)


def test_absolute_paths_are_refused_also_into_the_folder(folders):
    for path in (folders.parent / "secret.nrrd", folders / "ct.nii.gz"):
        with pytest.raises(LeFusionError, match="no such scan"):
            Shelf(folders).path(str(path))
    with pytest.raises(LeFusionError, match="no such scan"):
        Shelf(None).path("ct.nii.gz")
    assert Shelf(folders).path("inside/mr.nrrd") == folders / "inside" / "mr.nrrd"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host": "0.0.0.0"}, "needs a token"),
        ({"port": 70000}, "port"),
        ({"volume": "nowhere.nii.gz"}, "nowhere.nii.gz"),
        ({"data": "nowhere"}, "--data"),
        ({"output": "nowhere"}, "--output"),
    ],
)
def test_what_it_cannot_be_started_with_is_refused(options, says):
    from pathlib import Path

    paths = {name: Path(value) if name in ("volume", "data", "output") else value for name, value in options.items()}
    with pytest.raises(LeFusionError, match=says):
        AppOptions(**paths)


@pytest.fixture(scope="module")
def guarded(serve):
    """A server that asks for a token."""
    with serve("--token", TOKEN, "--sampler", "ddim", "--steps", "2") as server:
        yield server


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(url, **headers):
    """(status, headers, text) of a GET; redirects are not followed."""
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.build_opener(NoRedirect).open(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.headers, answer.read().decode(errors="replace")


@pytest.mark.browser
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_asks_for_the_token(guarded, route):
    for query, cookie in WRONG:
        status, _, text = ask(guarded.base + route + query, Cookie=cookie)
        assert (status, "token" in text) == (403, True), (route, query)
    assert ask(f"{guarded.base}{route}?token={TOKEN}")[0] != 403


def shake_hands(url, **headers):
    """On a thread, since Playwright has a loop running on ours."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(handshake(url, **headers))).result()


async def handshake(url, **headers):
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
        return not socket.closed


@pytest.mark.browser
def test_the_socket_asks_for_the_token_and_turns_other_pages_away(guarded):
    import aiohttp

    socket = guarded.base.replace("http", "ws") + "/ws"
    with_token = f"{socket}?token={TOKEN}"
    for url, origin in ((socket, guarded.base), (f"{socket}?token=no", guarded.base), (with_token, "http://evil")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            shake_hands(url, Origin=origin)
        assert refused.value.status == 403
    assert shake_hands(with_token, Origin=guarded.base)


@pytest.mark.browser
def test_a_name_that_was_turned_to_this_computer_is_refused(server):
    status, _, text = ask(server.base + "/", Host="evil.example:80")
    assert status == 403 and "127.0.0.1" in text
    assert ask(server.base + "/alive", Origin="http://evil.example")[0] == 403


@pytest.mark.browser
@pytest.mark.parametrize(
    "path",
    [
        "/lefusion/../doors.py",
        "/lefusion/..%2f..%2fcli.py",
        "/lefusion/%2e%2e/browser_app.py",
        "/../../etc/passwd",
        "/download/../../etc/passwd",
        "/download/x/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
    ],
)
def test_no_address_leads_out_of_what_is_served(server, path):
    import http.client

    connection = http.client.HTTPConnection(server.base.removeprefix("http://"), timeout=20)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    assert answer.status in (303, 400, 403, 404) and "root:" not in text and "import" not in text


@pytest.mark.browser
def test_the_page_forbids_what_comes_from_elsewhere(server):
    _, headers, _ = ask(server.base + "/alive")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy


@pytest.mark.browser
def test_with_its_token_the_page_works_and_the_address_does_not_keep_it(desk, guarded):
    person = desk(guarded)
    person.place()
    assert TOKEN not in person.page.url
    person.make()
    person.wait_message("Done")
    person.page.click("#download-files")
    person.wait(lambda: person.page.locator(".downloads a").count() == 3, "downloads")
    address = person.page.get_attribute(".downloads a", "href")
    assert ask(f"{guarded.base}/{address}")[0] == 403
    assert ask(f"{guarded.base}/{address}?token={TOKEN}")[0] == 200
    cookies = [cookie for cookie in person.page.context.cookies() if cookie["value"] == TOKEN]
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]


@pytest.mark.browser
@pytest.mark.parametrize("name", ["../secret.nrrd", "/etc/passwd", "nowhere.nrrd", 7, None, ["x"]])
def test_the_page_cannot_be_made_to_open_what_is_not_offered(desk, server, name):
    person = desk(server, scan=None)
    person.page.evaluate("name => window.trame.trigger('open', [name])", name)
    person.wait_message("no such scan")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("trigger", "args"),
    [
        ("diameter", ["wide"]),
        ("diameter", [None]),
        ("seed", [1.5]),
        ("seed", [-1]),
        ("seed", ["NaN"]),
        ("pick", ["vtkMRMLMarkupsFiducialNode999"]),
        ("bar", ["x", 1]),
        ("save", ["everything"]),
        ("blend", ["much"]),
        ("take_back", []),
        ("hint", ["x"]),
    ],
)
def test_nonsense_from_the_page_gets_a_message_and_the_app_goes_on(desk, server, trigger, args):
    person = desk(server)
    person.page.evaluate("([name, args]) => window.trame.trigger(name, args)", [trigger, args])
    person.wait(lambda: person.message(), "a message")
    assert "Traceback" not in person.message()
    person.page.evaluate("window.trame.trigger('dismiss', [])")
    person.wait(lambda: not person.message(), "the message goes")
