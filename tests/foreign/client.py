"""A client of Quorate in Python, for which one needs docs/protocol.md and the .proto files and nothing else.

Small rather than fast: a producer, a consumer and transactions that lose nothing and do nothing twice, whatever becomes of
leaders and connections. What is imported from `quorate` is generated: see scenario.py.
"""

from __future__ import annotations

import itertools
import os
import queue
import time
from collections import deque

from cluster import SILENCE, Again, Cluster, Refused, judge_reason, unary
from quorate.v1 import consumer_pb2, consumer_pb2_grpc, message_pb2, producer_pb2, producer_pb2_grpc
from quorate.v1 import transactions_pb2, transactions_pb2_grpc


class Producer:
    """A session. Each message enters its queue once, in the order of `send`."""

    def __init__(self, cluster: Cluster, to: str, session: str, window: int = 16):
        self.cluster, self.queue, self.window = cluster, to, window
        self.opening = producer_pb2.OpenProducer(session=session, holder=os.urandom(16))
        self.unanswered: deque[producer_pb2.PublishBatch] = deque()
        # By sequence number: the position, and whether the queue had it already.
        self.receipts: dict[int, tuple[int, bool]] = {}
        self.reopened, self.resent = -1, 0
        opened = self.open()
        self.acked = opened.last_seq
        self.next_seq = opened.last_seq + 1

    def open(self) -> producer_pb2.ProducerOpened:
        first = producer_pb2.PublishRequest(open=self.opening)
        method = lambda channel: producer_pb2_grpc.ProducerStub(channel).Publish
        self.stream, answer = self.cluster.open(method, first)
        self.opening.resume = answer.opened.producer
        self.reopened += 1
        for batch in self.unanswered:  # under their old numbers: what was stored is not stored again
            self.put(batch)
        self.resent += len(self.unanswered)
        return answer.opened

    def send(self, messages: list[message_pb2.Message]) -> int:
        """Hands a batch in, once there is room in the window; returns the number of its first message."""
        while len(self.unanswered) >= self.window:
            self.answer()
        batch = producer_pb2.PublishBatch(queue=self.queue, first_seq=self.next_seq, messages=messages)
        self.next_seq += len(messages)
        self.unanswered.append(batch)
        self.put(batch)
        return batch.first_seq

    def put(self, batch: producer_pb2.PublishBatch) -> None:
        batch.acked_seq = self.acked
        self.stream.requests.put(producer_pb2.PublishRequest(batch=batch))

    def flush(self) -> None:
        while self.unanswered:
            self.answer()

    def close(self) -> None:
        """Flushes and ends the session. What a lost answer leaves open does no harm: the session ends by its time to live."""
        self.flush()
        self.put(producer_pb2.PublishBatch(queue=self.queue, first_seq=self.next_seq, close=True))
        self.stream.next(5.0)
        self.stream.close()

    def answer(self) -> None:
        """Takes one answer. They come in the order of the batches."""
        try:
            answer = self.stream.next(SILENCE)
            if answer.WhichOneof("response") == "refused":
                refusal = answer.refused.refusal
                raise judge_reason(refusal.reason, refusal.message, {})
        except queue.Empty:
            if self.cluster.moved_from(self.stream.address):
                self.reopen()
        except Again as again:
            self.cluster.lost(self.stream.address, again.leader)
            self.reopen()
        except Refused as refused:
            # By an attempt of our own that arrived late, or by another holder: resuming tells.
            if refused.reason != "PRODUCER_FENCED":
                raise
            self.reopen()
        else:
            self.confirm(answer.receipt)

    def reopen(self) -> None:
        self.stream.close()
        self.open()

    def confirm(self, receipt: producer_pb2.Receipt) -> None:
        batch = self.unanswered.popleft()
        assert receipt.first_seq == batch.first_seq, f"a receipt of {receipt.first_seq}, not {batch.first_seq}"
        seq = receipt.first_seq
        for run in receipt.positions:
            for position in range(run.first_position, run.first_position + run.count):
                self.receipts[seq] = (position, run.duplicate)
                seq += 1
        assert seq == batch.first_seq + len(batch.messages), "a receipt names every message"
        self.acked = seq - 1


class Consumer:
    """A session. Who waits for the answer to each settle, as here, is handed nothing behind a message that goes back."""

    def __init__(self, cluster: Cluster, of: str, credit: int):
        self.cluster = cluster
        self.attaching = consumer_pb2.Attach(queue=of, session=os.urandom(16), credit=credit, session_timeout_ms=60_000)
        self.ready: deque[consumer_pb2.Delivery] = deque()
        self.held: set[int] = set()
        # Tokens that came again on this stream while they were held: their leases were current when it was opened.
        self.again: set[int] = set()
        self.settle_ids = itertools.count(1)
        self.unanswered: consumer_pb2.Settle | None = None
        self.uncertain = False
        self.attached_again = -1
        self.attach()

    def attach(self) -> None:
        first = consumer_pb2.ReceiveRequest(attach=self.attaching)
        method = lambda channel: consumer_pb2_grpc.ConsumerStub(channel).Receive
        self.stream, answer = self.cluster.open(method, first)
        self.order = answer.attached.order
        self.ready.clear()  # what was not handed out comes again if it is still ours
        self.again.clear()
        self.attached_again += 1
        if self.unanswered is not None:
            self.uncertain = True
            self.stream.requests.put(consumer_pb2.ReceiveRequest(settle=self.unanswered))

    def receive(self, timeout: float) -> consumer_pb2.Delivery | None:
        """The next message, or nothing if none comes in time."""
        deadline = time.monotonic() + timeout
        while not self.ready:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.take(min(left, 2 * SILENCE))
        delivery = self.ready.popleft()
        self.held.add(delivery.token)
        return delivery

    def settle(self, deliveries, outcome: int, delay_ms: int = 0, reason: str = "") -> dict[int, str]:
        """Settles, and waits for the answer. Returns what became of each position: `done`, a reason, or `unknown`."""
        self.ask(deliveries, outcome, delay_ms, reason)
        return self.answered(deliveries, outcome)

    def ask(self, deliveries, outcome: int, delay_ms: int = 0, reason: str = "") -> None:
        ranges: list[consumer_pb2.SettleRange] = []
        for position, token in sorted((delivery.position, delivery.token) for delivery in deliveries):
            last = ranges[-1] if ranges else None
            if last and position == last.first_position + last.count and token == last.first_token + last.count:
                last.count += 1
            else:
                one = dict(first_position=position, count=1, first_token=token)
                ranges.append(consumer_pb2.SettleRange(**one, outcome=outcome, delay_ms=delay_ms, reason=reason))
        self.unanswered = consumer_pb2.Settle(id=next(self.settle_ids), ranges=ranges)
        self.uncertain = False
        self.stream.requests.put(consumer_pb2.ReceiveRequest(settle=self.unanswered))

    def answered(self, deliveries, outcome: int) -> dict[int, str]:
        while (settled := self.take(SILENCE)) is None:
            pass
        self.unanswered = None
        told = {delivery.position: self.told(delivery, settled) for delivery in deliveries}
        if outcome != consumer_pb2.OUTCOME_EXTEND:
            self.held -= {delivery.token for delivery in deliveries}
        return told

    def told(self, delivery: consumer_pb2.Delivery, settled: consumer_pb2.Settled) -> str:
        for refused in settled.refused:
            if refused.first_position <= delivery.position < refused.first_position + refused.count:
                own_effect = self.uncertain and delivery.token not in self.again
                return "unknown" if own_effect else refused.refusal.reason
        return "done"

    def take(self, timeout: float) -> consumer_pb2.Settled | None:
        """Takes one answer of the stream over; returns it if it is that to the settle under way."""
        try:
            answer = self.stream.next(timeout)
        except queue.Empty:
            is_gone = self.cluster.moved_from if self.unanswered is not None else self.cluster.gone_from
            if timeout >= SILENCE and is_gone(self.stream.address):
                self.attach_again()
        except Again as again:
            self.cluster.lost(self.stream.address, again.leader)
            self.attach_again()
        except Refused as refused:
            if refused.reason not in ("UNKNOWN_CONSUMER", "CONSUMER_FENCED"):
                raise
            self.attach_again()
        else:
            return self.taken(answer)
        return None

    def attach_again(self) -> None:
        self.stream.close()
        self.attach()

    def taken(self, answer: consumer_pb2.ReceiveResponse) -> consumer_pb2.Settled | None:
        kind = answer.WhichOneof("response")
        if kind == "deliveries":
            for delivery in answer.deliveries.deliveries:
                if delivery.token in self.held:
                    self.again.add(delivery.token)
                else:
                    self.ready.append(delivery)
        elif kind == "revoked":
            self.revoke(answer.revoked, self.order == message_pb2.ORDER_TOTAL)
        elif kind == "settled" and self.unanswered is not None and answer.settled.id == self.unanswered.id:
            for revoked in answer.settled.revoked:
                self.revoke(revoked, False)
            return answer.settled
        return None

    def revoke(self, gone: consumer_pb2.Revoked, whole_tail: bool) -> None:
        """Forgets what is ours no more. In order `total` the news of one revocation take with them all that was leased behind it."""
        end = gone.first_token + gone.count

        def stays(delivery: consumer_pb2.Delivery) -> bool:
            if whole_tail:
                return delivery.token < gone.first_token or delivery.position < gone.first_position
            return not gone.first_token <= delivery.token < end

        self.ready = deque(delivery for delivery in self.ready if stays(delivery))

    def detach(self) -> None:
        self.stream.requests.put(consumer_pb2.ReceiveRequest(detach=consumer_pb2.Detach()))
        while self.stream.next(5.0).WhichOneof("response") != "detached":
            pass
        self.stream.close()


class Transactions:
    """A session under which each transaction is carried out once, one after the other."""

    def __init__(self, cluster: Cluster, session: str):
        self.cluster, self.seq, self.reopened = cluster, 0, 0
        self.opening = producer_pb2.OpenProducer(session=session, holder=os.urandom(16))
        opened = cluster.call(lambda address, timeout: unary(self.stub(address).Open, self.opening, timeout))
        self.opening.resume, self.epoch = opened.producer, opened.epoch

    def stub(self, address: str) -> transactions_pb2_grpc.TransactionsStub:
        return transactions_pb2_grpc.TransactionsStub(self.cluster.channel(address))

    def commit(self, **parts) -> transactions_pb2.TransactResponse:
        """Carries it out, once; raises `Refused` if it was not."""
        self.seq += 1
        return self.repeat(self.seq, in_doubt=False, **parts)

    def repeat(self, seq: int, in_doubt: bool, **parts) -> transactions_pb2.TransactResponse:
        """The same under a number that may have been sent before."""
        request = transactions_pb2.TransactRequest(producer=self.opening.resume, seq=seq, acked_seq=seq - 1, **parts)

        def attempt(address: str, timeout: float) -> transactions_pb2.TransactResponse:
            nonlocal in_doubt
            if in_doubt:  # a new epoch fences what is still under way
                self.epoch = unary(self.stub(address).Open, self.opening, timeout).epoch
                self.reopened += 1
                in_doubt = False
            request.epoch = self.epoch
            try:
                return unary(self.stub(address).Transact, request, timeout)
            except Again as again:
                in_doubt = again.maybe
                raise
            except Refused as refused:
                if refused.reason != "PRODUCER_FENCED":
                    raise
                in_doubt = True  # by an opening of our own that arrived late, or by another holder: resuming tells
                raise Again("fenced") from None

        return self.cluster.call(attempt)
