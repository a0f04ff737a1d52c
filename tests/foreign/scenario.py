"""What tests/blackbox/foreign.rs runs: everything a foreign client does, and what it saw, as one line of JSON for each step.

It is told one endpoint, of a node that does not lead, and where the .proto files are.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from grpc_tools import protoc

# So much is done before the leader dies, and again after it.
WARM, AFTER = 200, 200
BATCH = 16
# Seconds without a message; less than the connection needs to notice by itself that nobody is there.
PATIENCE = 8


def generate(protos: Path, out: str) -> None:
    """Makes Python modules from the .proto files, and lets them be imported."""
    files = sorted(str(file) for file in protos.glob("quorate/v1/*.proto"))
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    made = protoc.main(["", f"-I{protos}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", *files])
    if made != 0 or not files:
        sys.exit(f"no modules can be made from the .proto files in {protos}")
    sys.path.insert(0, out)


def say(step: str, **what) -> None:
    print(json.dumps({"step": step, **what}), flush=True)


def messages(*texts: str, **rest) -> list:
    return [message_pb2.Message(body=text.encode(), content_type="text/plain", **rest) for text in texts]


def find(cluster) -> None:
    """Queues are created through a node that does not lead; what is there already with the same settings is no error."""
    kept = queues_pb2.QueueSettings(retain=queues_pb2.Retain(until_done=True, for_ms=3_600_000))
    total = subscriptions_pb2.SubscriptionSettings(order=message_pb2.ORDER_TOTAL, lease_ms=60_000)
    created = []
    for name in ["verbs", "work", "stream", "steps", "verbs"]:
        request = queues_pb2.CreateQueueRequest(name=name, default_subscription=total, settings=kept)
        create = lambda address, timeout: unary(queues_pb2_grpc.QueuesStub(cluster.channel(address)).Create, request, timeout)
        created.append(cluster.call(create).created)
    say("found", leader=cluster.leader, members=sorted(cluster.addresses), created=created)


def once(cluster) -> None:
    """What is sent again under the same number gets the position it has; what is refused uses up no number."""
    producer = Producer(cluster, "verbs", "once")
    producer.send(messages("a", "b"))
    producer.flush()
    first = dict(producer.receipts)
    # As if the answer had been lost with its stream: a resent batch has the content it had.
    producer.next_seq, producer.acked = 1, 0
    producer.send(messages("a", "b", headers=[]))
    producer.reopen()
    producer.send(messages("c", "d", "e", headers=[message_pb2.Header(name="traceparent", value=b"00-1-2-01")]))
    producer.flush()
    producer.queue = "nowhere"
    producer.send(messages("lost"))
    try:
        producer.flush()
        reason = None
    except Refused as refused:
        reason = refused.reason
    say("once", first=first, receipts=producer.receipts, refused=reason)
    after = Producer(cluster, "verbs", "once")
    last_seq = after.acked
    after.send(messages("f"))
    after.flush()
    say("resumed", last_seq=last_seq, receipts=after.receipts)
    try:
        producer.reopen()
        reason = None
    except Refused as refused:
        reason = refused.reason
    after.close()
    say("fenced", reason=reason)


def verbs(cluster) -> None:
    """Each way to settle, in an order that is total: what was handed out, and what came of it."""
    seen = []
    consumer = Consumer(cluster, "verbs", credit=8)

    def one(verb: str, outcome: int, **how):
        delivery = consumer.receive(10)
        told = consumer.settle([delivery], outcome, **how)
        seen.append(f"{delivery.message.body.decode()} {delivery.attempt} {verb} {told[delivery.position]}")
        return delivery

    first = one("release", consumer_pb2.OUTCOME_RELEASE)
    one("retry", consumer_pb2.OUTCOME_RETRY, delay_ms=50, reason="not yet")
    held = one("extend", consumer_pb2.OUTCOME_EXTEND, delay_ms=30_000)
    consumer.attach_again()  # what is held comes again, and is not handed out again
    told = consumer.settle([held], consumer_pb2.OUTCOME_ACK)
    seen.append(f"then ack {told[held.position]}")
    one("park", consumer_pb2.OUTCOME_PARK, reason="poison")
    rest = [consumer.receive(10) for _ in range(4)]
    consumer.ask(rest, consumer_pb2.OUTCOME_ACK)
    consumer.stream.next(10)  # as if the answer had been lost with its stream
    consumer.attach_again()
    told = consumer.answered(rest, consumer_pb2.OUTCOME_ACK)
    seen += [f"{delivery.message.body.decode()} {delivery.attempt} ack {told[delivery.position]}" for delivery in rest]
    stale = consumer.settle([first], consumer_pb2.OUTCOME_ACK)
    consumer.detach()
    headers = [[header.name, header.value.decode()] for header in rest[0].message.headers]
    say("verbs", seen=seen, tokens_grow=first.token < held.token < rest[0].token, stale=stale[first.position], headers=headers)


def transact(cluster) -> None:
    """A step of a workflow, whole or not at all, and once."""
    transactions = Transactions(cluster, "step")
    publish = transactions_pb2.PublishTo(queue="work", messages=messages("order"))
    transactions.commit(publish=[publish])
    consumer = Consumer(cluster, "work", credit=1)
    delivery = consumer.receive(10)
    lease = consumer_pb2.SettleRange(
        first_position=delivery.position, count=1, first_token=delivery.token, outcome=consumer_pb2.OUTCOME_ACK
    )
    absent = transactions_pb2.Require(version=transactions_pb2.RequireVersion(key="order/1", version=0))
    parts = dict(
        require=[absent],
        settle=[transactions_pb2.SettleLease(queue="work", range=lease)],
        publish=[transactions_pb2.PublishTo(queue="work", messages=messages("ship"))],
        put=[transactions_pb2.Put(key="order/1", value=b"charged")],
    )
    done = transactions.commit(**parts)
    again = transactions.repeat(transactions.seq, in_doubt=True, **parts)
    try:
        transactions.commit(**parts)
        refused = None
    except Refused as refusal:
        refused = [refusal.reason, *(refusal.metadata[name] for name in ("part", "nth", "found"))]
    consumer.detach()
    same = (done.published, done.versions) == (again.published, again.versions)
    say("transact", duplicate=[done.duplicate, again.duplicate], same=same, version=done.versions[0], refused=refused)


class Under:
    """Four threads at work while the leader dies or goes silent. Each goes on until it has lost its leader, and some more."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.producer = Producer(cluster, "stream", "under")
        self.consumer = Consumer(cluster, "stream", credit=64)
        self.idle = Consumer(cluster, "stream", credit=64)
        self.transactions = Transactions(cluster, "under-steps")
        self.sent, self.handed, self.steps = 0, [], 0
        self.published = threading.Event()

    def publish(self) -> None:
        enough = None
        while enough is None or self.sent < enough:
            self.producer.send(messages(*(f"message {self.sent + i}" for i in range(1, BATCH + 1))))
            self.sent += BATCH
            if enough is None and self.producer.reopened:
                enough = self.sent + AFTER
        self.producer.flush()
        self.published.set()

    def consume(self) -> None:
        """Acknowledges in portions. Leases outlive a change of leader, so each message is handed out once."""
        while not (self.published.is_set() and len(self.handed) >= self.sent):
            first = self.consumer.receive(PATIENCE)
            assert first is not None, f"nothing for {PATIENCE} s, {len(self.handed)} of {self.sent} handed out"
            portion = [first, *(self.consumer.receive(0) for _ in range(min(len(self.consumer.ready), 31)))]
            told = self.consumer.settle(portion, consumer_pb2.OUTCOME_ACK)
            self.handed += [[one.position, one.attempt, one.message.body.decode(), told[one.position]] for one in portion]

    def stand_by(self) -> None:
        """The order is total and another consumer is active: nothing is due on this stream, and it is lost all the same."""
        patience = None
        while not self.idle.attached_again:
            assert self.idle.receive(2) is None, "only one consumer is active"
            if self.published.is_set():
                patience = patience or time.monotonic() + PATIENCE
                assert time.monotonic() < patience, "who stands by has not found the new leader"

    def step(self) -> None:
        """Each transaction needs what the one before it has left: one that happened twice would show."""
        version, enough = 0, None
        while enough is None or self.steps < enough:
            number = str(self.steps + 1)
            require = transactions_pb2.Require(version=transactions_pb2.RequireVersion(key="steps", version=version))
            publish = transactions_pb2.PublishTo(queue="steps", messages=messages(number))
            put = transactions_pb2.Put(key="steps", value=number.encode())
            version = self.transactions.commit(require=[require], publish=[publish], put=[put]).versions[0]
            self.steps += 1
            if enough is None and self.transactions.reopened:
                enough = self.steps + 20

    def is_warm(self) -> bool:
        return min(len(self.producer.receipts), len(self.handed), 10 * self.steps) >= WARM


def under_way(cluster) -> None:
    under = Under(cluster)
    failures = []

    def guarded(work) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)
            raise

    works = [under.publish, under.consume, under.stand_by, under.step]
    threads = [threading.Thread(target=guarded, args=[work], daemon=True) for work in works]
    for thread in threads:
        thread.start()
    while not under.is_warm() and not failures:
        time.sleep(0.005)
    say("working")
    for thread in threads:
        while thread.is_alive() and not failures:
            thread.join(0.05)
    if failures:
        os._exit(1)  # the thread has said why
    under.producer.close()
    under.idle.detach()
    under.consumer.detach()
    say(
        "done",
        sent=under.sent,
        receipts=under.producer.receipts,
        resent=under.producer.resent,
        handed=under.handed,
        attached_again=under.consumer.attached_again,
        steps=under.steps,
        reopened=under.transactions.reopened,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--protos", required=True, type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        generate(given.protos, out)
        from client import Again, Cluster, Consumer, Producer, Refused, Transactions, unary
        from quorate.v1 import consumer_pb2, message_pb2, queues_pb2, queues_pb2_grpc, subscriptions_pb2, transactions_pb2

        cluster = Cluster([given.endpoint])
        for part in (find, once, verbs, transact, under_way):
            part(cluster)
