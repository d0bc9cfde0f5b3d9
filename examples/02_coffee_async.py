"""The coffee of ``01_coffee.py`` in asyncio: every verb has the same name, and is awaited.

Run it with ``python examples/02_coffee_async.py``.
"""

import asyncio

from box_agent import Box, Event, Message, aio, skill


class Login(Box):
    @skill
    def login(self, user: str) -> str:
        return f"token-of-{user}"


class Shop(Box):
    @skill
    async def buy_coffee(self, kind: str) -> str:
        await asyncio.sleep(0)  # skills may be coroutines
        return f"one {kind}, paid with {self.login('ada')}"


async def main() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def on_success(event: Event) -> None:
        await heard.put(f"{event.sender} says {event.name}: {event.data}")

    async def on_message(message: Message) -> None:
        await heard.put(f"{message.sender} says {message.data}")

    async with aio.connect("login") as box1, aio.connect("shop") as box2, asyncio.timeout(60):
        box3 = Login() + Shop()
        live = await box1.spawn(box3)
        print(await live.buy_coffee("latte"))

        await box2.on_event("buy_coffee_success", on_success)
        await box2.on_message(on_message)
        await box1.send_message(box2, "hello")
        await box1.publish_event("buy_coffee_success", {"kind": "latte"})
        print(await heard.get())
        print(await heard.get())


asyncio.run(main())
