"""What goes wrong between a client and S3, by chance, but the same for the same seed."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from s3_proxy import Answer, Request

KINDS = ("slow down", "reset before", "reset after", "broken body", "stall")


@dataclass
class Faults:
    """For a share of requests, one of the faults in the place of the answer.

    `before` is for `Proxy.answer`, `after` for `Proxy.afterwards`.

    Attributes:
        share: of the requests that go wrong.
        stall: seconds of saying nothing, which should be more than the client waits.
        seed: of the chance.
        happened: how often each did.
    """

    share: float
    stall: float
    seed: int = 0
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance, self._lock = random.Random(self.seed), threading.Lock()

    def before(self, request: Request) -> Answer | None:
        """What never reaches the server."""
        with self._lock:
            kind = self._chance.choice(KINDS) if self._chance.random() < self.share else ""
            request.notes["fault"] = kind
            if kind:
                self.happened[kind] += 1
        if kind == "slow down":
            return Answer(503, b"<Error><Code>SlowDown</Code><Message>slower</Message></Error>")
        return Answer(status=0) if kind == "reset before" else None

    def after(self, request: Request, answer: Answer) -> Answer | None:
        """What happens to the server's answer, once it has done what was asked."""
        match request.notes["fault"]:
            case "reset after":
                return None
            case "broken body" if request.method != "HEAD" and answer.body:
                length = {"Content-Length": str(len(answer.body))}
                return Answer(answer.status, answer.body[: len(answer.body) // 2], dict(answer.headers) | length)
            case "stall":
                time.sleep(self.stall)
        return answer
