"""One message with stomp.py: connect, log in, send with a receipt, disconnect."""

import os
import sys
import threading

import stomp

done = threading.Event()


class Listener(stomp.ConnectionListener):
    def on_receipt(self, frame):
        done.set()


connection = stomp.Connection12([("127.0.0.1", int(os.environ["BENCH_PORT"]))], vhost="/")
connection.set_listener("", Listener())
connection.connect(os.environ["BENCH_LOGIN"], os.environ["BENCH_PASSCODE"], wait=True)
connection.send("/topic/bench", sys.stdin.read(), receipt="1", headers={"persistent": "true"})
done.wait(10)
connection.disconnect()
