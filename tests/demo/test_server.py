import socket

import httpx
import pytest

from proxy import demo
from proxy.demo import make_app, serve


async def test_it_listens_until_it_is_closed() -> None:
    api = await demo.start()
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        assert (await client.get(api.url)).status_code == 200
        assert api.url == f"http://127.0.0.1:{api.port}"

        await api.aclose()

        with pytest.raises(httpx.TransportError):
            await client.get(api.url)


async def test_on_every_address_its_url_is_still_one_to_call() -> None:
    async with await serve(make_app(), "0.0.0.0", 0) as api:
        assert api.url == f"http://127.0.0.1:{api.port}"


async def test_an_ipv6_address_stands_in_brackets() -> None:
    async with await demo.start("::1") as api:
        assert api.url == f"http://[::1]:{api.port}"


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await demo.start(port=taken.getsockname()[1])
