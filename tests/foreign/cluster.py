"""Where the leader is: errors, calls and streams, as docs/protocol.md has them."""

from __future__ import annotations

import itertools
import queue
import random
import threading
import time

import grpc
from google.rpc import error_details_pb2, status_pb2
from quorate.v1 import cluster_pb2, cluster_pb2_grpc

MESSAGE_BYTES_MAX = 64 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
]
# Seconds: an attempt of a call at first and at most, a question to a node about the members, a leader's silence.
ATTEMPT_FIRST, ATTEMPT_MAX, ASK, SILENCE = 1.0, 8.0, 0.5, 1.0
# Redirects that are followed without a pause.
HOPS_MAX = 2

AGAIN = {"NOT_LEADER", "NO_QUORUM", "UNKNOWN", "SHUTTING_DOWN", "OVERLOADED"}
TRANSPORT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Refused(Exception):
    """The server refused it for good."""

    def __init__(self, reason: str, message: str, metadata: dict[str, str]):
        super().__init__(f"{reason}: {message}")
        self.reason, self.metadata = reason, metadata


class Again(Exception):
    """To be asked again, at `leader` if that is known. `maybe`: it may have taken effect."""

    def __init__(self, what: str, leader: str | None = None, maybe: bool = False):
        super().__init__(what)
        self.leader, self.maybe = leader, maybe


def judge(error: grpc.RpcError) -> Exception:
    """What a failed call means: by the ErrorInfo of its status, or as trouble with the connection."""
    info = error_details_pb2.ErrorInfo()
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    found = any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details)
    if not found or info.domain != "quorate":
        return Again(error.details(), maybe=True) if error.code() in TRANSPORT else error
    return judge_reason(info.reason, error.details(), dict(info.metadata))


def judge_reason(reason: str, message: str, metadata: dict[str, str]) -> Exception:
    if reason in AGAIN:
        return Again(message, metadata.get("leader_addr"), maybe=reason == "UNKNOWN")
    return Refused(reason, message, metadata)


def unary(method, request, timeout: float):
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise judge(error) from error


class Cluster:
    """Finds the leader, and keeps finding it. Threads may share one."""

    def __init__(self, endpoints: list[str]):
        self.addresses = list(endpoints)
        self.leader: str | None = None
        self.members_from: str | None = None
        self.turn = itertools.count()
        self.channels: dict[str, grpc.Channel] = {}
        self.lock = threading.Lock()

    def channel(self, address: str) -> grpc.Channel:
        with self.lock:
            if address not in self.channels:
                self.channels[address] = grpc.insecure_channel(address, options=OPTIONS)
            return self.channels[address]

    def call(self, attempt, patience: float = 30.0):
        """Makes `attempt(address, timeout)` at the leader until it is answered: it must bear being repeated."""
        deadline = time.monotonic() + patience
        timeout, pause, hops = ATTEMPT_FIRST, 0.01, 0
        while True:
            address = self.leader or self.addresses[next(self.turn) % len(self.addresses)]
            try:
                result = attempt(address, timeout)
            except Again as again:
                if time.monotonic() >= deadline:
                    raise
                self.lost(address, again.leader)
                hops += 1
                timeout = min(timeout * 2, ATTEMPT_MAX) if again.maybe else timeout
                if again.leader in (None, address) or hops > HOPS_MAX:
                    time.sleep(random.uniform(pause / 2, pause))
                    pause, hops = min(pause * 1.5, 0.5), 0
            else:
                self.found(address)
                return result

    def found(self, address: str) -> None:
        """While there is a leader it tells who the members are, so that its loss leaves somebody to ask."""
        self.leader = address
        if self.members_from != address:
            self.members_from = address
            for member in self.members(address).members:
                self.learn(member.client_addr)

    def lost(self, address: str, leader: str | None) -> None:
        """`address` does not lead; `leader` may. Another thread may have found the leader meanwhile."""
        if leader:
            self.learn(leader)
        if leader or self.leader == address:
            self.leader = leader

    def learn(self, address: str) -> None:
        with self.lock:
            if address not in self.addresses:
                self.addresses.append(address)

    def members(self, address: str) -> cluster_pb2.MembersResponse:
        stub = cluster_pb2_grpc.ClusterStub(self.channel(address))
        try:
            return unary(stub.Members, cluster_pb2.MembersRequest(), ASK)
        except Again:
            return cluster_pb2.MembersResponse()

    def moved_from(self, address: str) -> bool:
        """Whether another node says that somebody else leads in place of `address`, which has gone silent."""
        for other in [other for other in self.addresses if other != address]:
            told = self.members(other)
            for member in told.members:
                if member.id == told.leader_id and member.client_addr != address:
                    self.lost(address, member.client_addr)
                    return True
        return False

    def gone_from(self, address: str) -> bool:
        """The same of one who owes nothing: as long as it answers it is kept, whatever others believe."""
        return not self.members(address).members and self.moved_from(address)

    def open(self, method, first):
        """Opens a stream at the leader; returns it with its first answer."""

        def attempt(address: str, timeout: float):
            stream = Stream(address, method(self.channel(address)), first)
            try:
                return stream, stream.next(timeout)
            except queue.Empty:
                stream.close()
                raise Again("no answer in time", maybe=True) from None

        return self.call(attempt)


class Stream:
    """A call with requests and answers in both directions."""

    def __init__(self, address: str, method, first):
        self.address = address
        self.requests, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        self.requests.put(first)
        self.responses = method(iter(self.requests.get, None))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        try:
            for answer in self.responses:
                self.answers.put(answer)
            self.answers.put(Again("the stream ended"))
        except grpc.RpcError as error:
            self.answers.put(judge(error))

    def next(self, timeout: float):
        """The next answer; raises `queue.Empty` if none comes in time, and what the stream ended with."""
        answer = self.answers.get(timeout=max(timeout, 0.001))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.requests.put(None)
        self.responses.cancel()
