"""What a destination asks of a message's bytes, seen to before they are sent to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from mailsyncd.errors import FailureKind
from mailsyncd.flow.ready import Setback
from mailsyncd.flow.repairs import Rules, longest_line, repair
from mailsyncd.model import Message, MessageRef
from mailsyncd.policy import fingerprint


@dataclass(frozen=True, slots=True)
class Preflight:
    """`max_line` is the longest line that the destination takes, in bytes; None where it takes any."""

    max_line: int | None = None
    rules: Rules = field(default_factory=Rules)

    def message(self, ref: MessageRef, body: bytes) -> Message | Setback:
        """A reference with the bytes to send, repaired as asked for, hashed and fingerprinted once; or
        why it would be refused."""
        sent, applied = repair(body, self.rules, self.max_line)
        if self.max_line is not None and (longest := longest_line(sent, self.max_line)) > self.max_line:
            return Setback(ref, FailureKind.LINE_TOO_LONG, self._too_long(longest, self.max_line))
        mark, sha256 = fingerprint(sent), hashlib.sha256(body).hexdigest()
        return Message(ref, sent, sha256, mark.message_id, mark.digest, len(body), applied)

    def _too_long(self, longest: int, limit: int) -> str:
        why = f"a line of it has {longest:,} bytes; the limit of this destination is {limit:,}"
        if self.rules.wrap_long_lines:
            return f"{why}, and wrap_long_lines finds no white space in that header field to fold it at"
        return f"{why}: wrap_long_lines would cut it, max_line_length sets the limit"
