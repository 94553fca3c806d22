import asyncio
async def test_x(): print(asyncio.get_running_loop())
