"""Captions: what live play says from labels, said again by a language model, whenever it is ready.

Play never waits for it. Only the newest words are ever asked about, and one request is under way at
a time, for all pages together. What goes wrong is told once; play keeps the words of the labels,
and the model is asked again after a growing pause.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from policyscope.chat import LanguageModel, cleaned, said
from policyscope.errors import NoAnswer, PolicyscopeError
from policyscope.features.labellers.llm import REFUSAL, THOUGHT

SECONDS = 20.0
"""A caption that comes later is of no use to anybody who watches."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before the model is asked again, by how often in a row it has failed."""
LONGEST = 160
TASK = (
    "You caption an agent while it acts in {environment}, for somebody who watches. You are given "
    "what its strongest features stand for, each with its strength from 0 to 1, then → and what it "
    "does. Say it as one plain sentence of at most fifteen words. Say nothing that you are not "
    "given, and answer with the sentence alone."
)


class Rephraser:
    """Has a language model say the words of live play as a sentence."""

    def __init__(self, model: LanguageModel, environment: str) -> None:
        # Tried once: captions have pauses of their own.
        self.model = LanguageModel(model.url, model.name, min(model.seconds, SECONDS), waits=())
        self.task = TASK.format(environment=environment)

    def __call__(self, words: str) -> str:
        """The words as a sentence; NoAnswer where the model gives none."""
        answer = self.model.ask([said("system", self.task), said("user", words)])
        text = cleaned(THOUGHT.sub("", answer).strip().strip('"'), LONGEST)
        if not text or REFUSAL.match(text):
            raise NoAnswer(f"The model gave no caption: {text or 'it said nothing.'}")
        return text


class Captions:
    """The captions of one page."""

    def __init__(
        self,
        rephrase: Callable[[str], str],
        say: Callable[..., None],
        turn: AbstractContextManager[Any] | None = None,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self.rephrase = rephrase
        self.say = say
        self.turn = turn or threading.Lock()
        """Whose it is asks; the others wait."""
        self.pauses = pauses
        self._waiting: tuple[str, int] | None = None
        self._last = ""
        self._failures = 0
        self._changed = threading.Condition()
        self._is_closed = False
        threading.Thread(target=self._run, name="captions", daemon=True).start()

    def ask(self, words: str, step: int) -> None:
        """Wants these words rephrased, in place of any that wait; returns at once."""
        with self._changed:
            if words != self._last:
                self._waiting = (words, step)
                self._changed.notify()

    def close(self) -> None:
        """Asks no more; an answer that is still to come is dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while self._has_words():
            with self.turn:
                newest = self._take()
                if newest is None:
                    continue
                try:
                    text, error = self.rephrase(newest[0]), ""
                except PolicyscopeError as failure:
                    text, error = "", str(failure)
            self._tell(text, error, newest[1])

    def _has_words(self) -> bool:
        """Waits for words; False once there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting is not None)
            return not self._is_closed

    def _take(self) -> tuple[str, int] | None:
        """The newest words and their step; None where nobody wants them any more."""
        with self._changed:
            newest, self._waiting = self._waiting, None
            if self._is_closed or newest is None:
                return None
            self._last = newest[0]
            return newest

    def _tell(self, text: str, error: str, step: int) -> None:
        """Sends a caption, or the first error of several in a row, and pauses."""
        with self._changed:
            if self._is_closed:
                return
            self._failures = self._failures + 1 if error else 0
            if not error:
                self.say(type="caption", text=text, for_step=step)
            elif self._failures == 1:
                self.say(type="caption", text="", for_step=step, error=error)
            pause = self.pauses[min(self._failures, len(self.pauses) - 1)]
            self._changed.wait_for(lambda: self._is_closed, pause)
