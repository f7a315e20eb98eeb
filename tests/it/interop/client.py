"""What stomp.py can ask of a broker. Arguments: port, protocol version. A line per thing that worked."""

import queue
import sys
import time

import stomp

PORT, VERSION = int(sys.argv[1]), sys.argv[2]
CONNECTION = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}[VERSION]
PATIENCE = 30


class Told(stomp.ConnectionListener):
    """Everything the broker says, in order."""

    def __init__(self):
        self.frames = queue.Queue()

    def on_message(self, frame):
        self.frames.put(("MESSAGE", frame))

    def on_receipt(self, frame):
        self.frames.put(("RECEIPT", frame))

    def on_error(self, frame):
        self.frames.put(("ERROR", frame))

    def on_heartbeat_timeout(self):
        self.frames.put(("SILENCE", None))

    def next(self, wanted):
        kind, frame = self.frames.get(timeout=PATIENCE)
        assert kind == wanted, (kind, wanted, frame and (frame.headers, frame.body))
        return frame


def connect(beats=(0, 0), **headers):
    options = {} if VERSION == "1.0" else {"heartbeats": beats}
    connection = CONNECTION([("127.0.0.1", PORT)], **options)
    told = Told()
    connection.set_listener("told", told)
    connection.connect("any", "thing", wait=True, headers=headers)
    return connection, told


def leave(connection, told):
    connection.disconnect(receipt="bye")
    assert told.next("RECEIPT").headers["receipt-id"] == "bye"


def ack(connection, frame, subscription):
    if VERSION == "1.1":
        connection.ack(frame.headers["message-id"], subscription)
    else:
        connection.ack(frame.headers["ack" if VERSION == "1.2" else "message-id"])


connection, told = connect()
print("login")

connection.subscribe("/topic/python", id="one", headers={"receipt": "subscribed"})
assert told.next("RECEIPT").headers["receipt-id"] == "subscribed"
connection.send("/topic/python", "body\n", headers={"subject": "[spog] refs/heads/master"})
frame = told.next("MESSAGE")
assert (frame.body, frame.headers["subject"]) == ("body\n", "[spog] refs/heads/master"), frame
print("topic")

if VERSION != "1.0":
    strange = "a:b\\c\nd"
    connection.send("/topic/python", "x", headers={"k": strange})
    assert told.next("MESSAGE").headers["k"] == strange
print("escapes")

connection.send("/queue/python", "work", headers={"receipt": "sent"})
told.next("RECEIPT")
other, heard = connect()
other.subscribe("/queue/python", id="two", ack="client-individual")
assert heard.next("MESSAGE").body == "work"
leave(other, heard)
other, heard = connect()
other.subscribe("/queue/python", id="two", ack="client-individual")
frame = heard.next("MESSAGE")
assert (frame.body, frame.headers["redelivered"]) == ("work", "true"), frame.headers
ack(other, frame, "two")
print("ack")

for transaction, end in (("t1", other.abort), ("t2", other.commit)):
    other.begin(transaction)
    other.send("/queue/python", transaction, transaction=transaction)
    end(transaction)
frame = heard.next("MESSAGE")
assert frame.body == "t2", frame.body
ack(other, frame, "two")
leave(other, heard)
print("transaction")

if VERSION != "1.0":
    # RabbitMQ's words.
    durable = {"durable": "true", "auto-delete": "false"}
    reader, read = connect()
    reader.subscribe("/topic/durable", id="python", headers=dict(durable, receipt="there"))
    read.next("RECEIPT")
    leave(reader, read)
    connection.send("/topic/durable", "missed", headers={"receipt": "kept"})
    told.next("RECEIPT")
    reader, read = connect()
    reader.subscribe("/topic/durable", id="python", headers=durable)
    assert read.next("MESSAGE").body == "missed"
    reader.unsubscribe("python", headers=durable)
    leave(reader, read)
print("durable")

if VERSION != "1.0":
    beating, heard = connect(beats=(500, 500))
    time.sleep(3)
    beating.send("/topic/python", "alive", headers={"receipt": "alive"})
    heard.next("RECEIPT")
    assert told.next("MESSAGE").body == "alive"
    leave(beating, heard)
print("heart-beat")

leave(connection, told)
print("goodbye")

broken, heard = connect()
broken.subscribe("/topic/python", id="x", headers={"selector": "a = 'b'", "receipt": "r"})
error = heard.next("ERROR")
assert error.headers["receipt-id"] == "r" and "selector" in error.body, error.body
print("error")
