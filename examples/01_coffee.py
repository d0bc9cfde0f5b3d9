"""Boxes compose, spawn, send messages and publish events: the whole idea in one script.

Run it with ``python examples/01_coffee.py``. With no hub around it starts one quietly and stops it at exit.
"""

from queue import Queue

from box_agent import Box, Event, skill


class Login(Box):
    @skill
    def login(self, user: str) -> str:
        return f"token-of-{user}"


class Shop(Box):
    @skill
    def buy_coffee(self, kind: str) -> str:
        return f"one {kind}, paid with {self.login('ada')}"


box1, box2 = Login(), Shop()
box3 = box1 + box2
print(box3.spawn().buy_coffee("latte"))

heard: Queue[str] = Queue()


def on_success(event: Event) -> None:
    heard.put(f"{event.sender} says {event.name}: {event.data}")


box2.on_event("buy_coffee_success", on_success)
box2.on_message(lambda message: heard.put(f"{message.sender} says {message.data}"))
box1.send_message(box2, "hello")
box1.publish_event("buy_coffee_success", {"kind": "latte"})
print(heard.get(timeout=10))
print(heard.get(timeout=10))
