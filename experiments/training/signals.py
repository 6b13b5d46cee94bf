"""Signals that ask a run to stop: noticed at once, also amid a compilation, and heeded at the next stop."""

import os
import signal
import socket
import threading
from collections.abc import Callable


def catch_signals(before_exit: Callable[[], object]) -> list[int]:
    """Return a list that the first SIGINT, SIGTERM or SIGHUP is put into; a second one ends the process at once.

    A thread listens, as Python's own handlers wait for a compilation or a step to end.

    Args:
        before_exit: called before a second signal ends the process.
    """
    caught: list[int] = []
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def listen(sender=sender):  # which must live as long as the thread does
        caught.append(receiver.recv(1)[0])
        second = receiver.recv(1)[0]
        before_exit()
        os._exit(128 + second)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has a hang-up ignored
            signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(sender.fileno())
    threading.Thread(target=listen, daemon=True).start()
    return caught
