"""Signals that ask a run to stop: noticed at once, even during compilation, and heeded at the next stop."""

import os
import signal
import socket
import threading

from mnistsum.app.console import console


def catch_signals() -> list[int]:
    """Return a list that receives the first SIGINT, SIGTERM or SIGHUP; a second one ends the process at once.

    A thread listens, because Python's own handlers run only after a compilation or a step has ended.
    """
    caught: list[int] = []
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def listen(sender=sender):  # a default, so that it lives as long as the thread
        caught.append(receiver.recv(1)[0])
        second = receiver.recv(1)[0]
        console.show_cursor()  # which a progress bar hides
        os._exit(128 + second)

    signal.set_wakeup_fd(sender.fileno())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup makes a process ignore SIGHUP
            signal.signal(number, lambda *_: None)
    threading.Thread(target=listen, daemon=True).start()
    return caught
