"""The mail of a soak: what was delivered to which route, what became of it, and what of the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from mailsyncd.sim import GmailServer, OutlookServer
from mailsyncd.sim.corpus import corpus
from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.verdict import Verdict, compare, foreign_commands

TWINS = 0.05  # of all messages have the bytes of one before
LARGE = 0.005  # of all messages have an attachment of up to 400 kB
UNWANTED = 0.005  # of all messages have a line that the destination takes from nobody
LONG_LINE = b"x" * 12_000 + b"\r\n"


@dataclass(eq=False)
class Post:
    """`folders`: for each user at the source, the account and the folder that get the copies."""

    gmail: GmailServer
    outlook: OutlookServer
    folders: Mapping[str, tuple[str, str]]
    rng: Random
    sent: dict[str, list[StoredMessage]] = field(default_factory=dict)
    unwanted: list[StoredMessage] = field(default_factory=list)
    _small: list[bytes] = field(default_factory=list)
    _large: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sent = {user: [] for user in self.folders}
        for mail in corpus(self.rng.randrange(1 << 30), 660):
            (self._small if len(mail.raw) < 20_000 else self._large).append(mail.raw)

    def _somebody(self) -> str:
        return self.rng.choice(list(self.folders))

    def deliver(self, large: float = LARGE) -> None:
        """A message comes to one of the routes, now; the share of `large` ones is as given."""
        user = self._somebody()
        if self.sent[user] and self.rng.random() < TWINS:
            raw = self.sent[user][-1].raw
        else:
            raw = b"X-Soak: %d\r\n" % self.delivered
            raw += self.rng.choice(self._large if self.rng.random() < large else self._small)
            raw += LONG_LINE if self.rng.random() < UNWANTED else b""
        uid = self.gmail.deliver(user, raw)
        message = next(one for one in reversed(self.gmail.messages(user)) if one.uid == uid)
        self.sent[user].append(message)
        if raw.endswith(LONG_LINE):
            self.unwanted.append(message)

    @property
    def delivered(self) -> int:
        return sum(map(len, self.sent.values()))

    @property
    def missing(self) -> int:
        return self.delivered - len(self.unwanted) - self.copied

    @property
    def copied(self) -> int:
        return sum(len(self._copies(user)) for user in self.folders)

    def verdict(self) -> Verdict:
        """All routes' verdicts as one, of what the destination takes."""
        each = [
            compare([one for one in sent if one not in self.unwanted], self._copies(user), since=0.0)
            for user, sent in self.sent.items()
        ]
        return Verdict(
            delivered=sum(one.delivered for one in each),
            copied=sum(one.copied for one in each),
            lost=sum(one.lost for one in each),
            duplicated=sum(one.duplicated for one in each),
            altered=sum(one.altered for one in each),
            delays=tuple(sorted(delay for one in each for delay in one.delays)),
        )

    def harm_at_source(self) -> list[str]:
        """What was said there that might change it, and what is not as it was."""
        found = [f"said to a source: {one[:80]}" for one in foreign_commands(self.gmail.transcript)[:1]]
        for user, sent in self.sent.items():
            there = {one.gm_msgid: _content(one) for one in self.gmail.messages(user)}
            if there != {one.gm_msgid: _content(one) for one in sent}:
                found.append(f"the source of {user} was touched")
        return found

    def _copies(self, user: str) -> list[StoredMessage]:
        return self.outlook.messages(*self.folders[user])


def _content(message: StoredMessage) -> tuple[object, ...]:
    """All but the UID, which is another after a change of UIDVALIDITY or a return to INBOX."""
    return message.raw, message.internaldate, message.flags, message.labels
