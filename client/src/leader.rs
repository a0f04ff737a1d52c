//! Finds the leader and keeps finding it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use quorate_proto::v1;
use quorate_proto::v1::cluster_client::ClusterClient;
use quorate_simpoint::buggify;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::transport::Channel;

use crate::backoff::Backoff;
use crate::connect::{Address, Connector, channel};
use crate::error::{EndpointAnswer, Error};
use crate::random::Random;
use crate::status::{Verdict, judge};

/// An attempt that takes longer is given up and made elsewhere: a node that hangs must not use up a whole call.
/// Each time it happens the next attempt gets twice as long, since a cluster may just be slow.
const ATTEMPT_FIRST: Duration = Duration::from_secs(1);
/// The longest attempt.
const ATTEMPT_MAX: Duration = Duration::from_secs(8);
/// A call that any node may answer is made at the next one, too, after so long without an answer.
const HEDGE: Duration = Duration::from_millis(250);
/// How long a node may take to say who the members are.
const ASK: Duration = Duration::from_millis(500);
/// Redirects that are followed without a pause before the client assumes an election.
const HOPS_MAX: u32 = 2;

/// Routes calls to the leader. Shared by everything that one [`crate::Client`] hands out.
pub(crate) struct Router {
    connector: Arc<dyn Connector>,
    random: Arc<dyn Random>,
    known: Mutex<Known>,
}

struct Known {
    /// Endpoints given by the user first, then members as they become known.
    addresses: Vec<Address>,
    channels: BTreeMap<Address, Channel>,
    answers: BTreeMap<Address, String>,
    leader: Option<Address>,
    /// Where the search goes on when nobody names a leader.
    next: usize,
    /// The leader that was asked for the members.
    members_from: Option<Address>,
}

/// An answer of the leader.
pub(crate) struct Led<T> {
    pub(crate) value: T,
    /// Who gave it.
    pub(crate) leader: Address,
}

/// A call that failed, and whether one of its attempts may have taken effect.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) maybe_applied: bool,
}

impl Failed {
    /// The error of a call that changes something. That its last attempt did nothing says nothing of the others.
    pub(crate) fn of_change(self) -> Error {
        if self.maybe_applied { self.error.unknown() } else { self.error }
    }
}

impl Router {
    pub(crate) fn new(
        addresses: Vec<Address>,
        connector: Arc<dyn Connector>,
        random: Arc<dyn Random>,
    ) -> Self {
        let known = Known {
            addresses,
            channels: BTreeMap::new(),
            answers: BTreeMap::new(),
            leader: None,
            next: 0,
            members_from: None,
        };
        Self { connector, random, known: Mutex::new(known) }
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// Makes a call at the leader, until it succeeds, fails for certain, or `deadline` passes.
    pub(crate) async fn call<T, F, Fut>(&self, deadline: Instant, attempt: F) -> Result<Led<T>, Failed>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let (mut maybe_applied, mut hops, mut asked, mut busy) = (false, 0, 0, None);
        let mut patience = ATTEMPT_FIRST;
        loop {
            let (address, channel) = self.pick().map_err(|error| Failed { error, maybe_applied })?;
            let now = Instant::now();
            if now >= deadline {
                return Err(Failed { error: self.out_of_time(started, busy), maybe_applied });
            }
            let result = timeout(patience.min(deadline - now), attempt(channel)).await;
            if result.is_err() {
                patience = (patience * 2).min(ATTEMPT_MAX);
            }
            let verdict = match answer_of(result) {
                Ok(value) => {
                    self.found(&address).await;
                    return Ok(Led { value, leader: address });
                }
                Err(verdict) => verdict,
            };
            asked += 1;
            let pause = match verdict {
                Verdict::Certain(error) => return Err(Failed { error, maybe_applied }),
                Verdict::Elsewhere { leader, answer } => {
                    hops += 1;
                    self.left(&address, leader.clone(), answer);
                    leader.is_none_or(|leader| leader == address || hops > HOPS_MAX)
                }
                Verdict::Again { answer, applied, busy: overloaded } => {
                    maybe_applied |= applied;
                    busy = overloaded.then(|| answer.clone());
                    let stay = overloaded.then(|| address.clone());
                    self.left(&address, stay, answer);
                    true
                }
            };
            // A whole round goes by without a pause: whoever is alive is found at once.
            if pause && (busy.is_some() || asked >= self.known.lock().addresses.len()) {
                (asked, hops) = (0, 0);
                let wait =
                    backoff.wait(self.random()).min(deadline.saturating_duration_since(Instant::now()));
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Makes a call that changes nothing at any node that answers. A node that is slow is not given up while the next ones are asked, too.
    pub(crate) async fn call_any<T, F, Fut>(&self, deadline: Instant, attempt: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let started = Instant::now();
        let (mut backoff, mut patience) = (Backoff::new(), ATTEMPT_FIRST);
        loop {
            let mut left: VecDeque<Address> = self.known.lock().addresses.iter().cloned().collect();
            let mut asking = FuturesUnordered::new();
            let mut next_at = Instant::now();
            while !left.is_empty() || !asking.is_empty() {
                tokio::select! {
                    biased;
                    Some((address, result)) = asking.next() => match answer_of(result) {
                        Ok(value) => return Ok(value),
                        Err(Verdict::Certain(error)) => return Err(error),
                        Err(Verdict::Elsewhere { answer, .. } | Verdict::Again { answer, .. }) => {
                            self.known.lock().answers.insert(address, answer);
                            next_at = Instant::now();
                        }
                    },
                    () = tokio::time::sleep_until(deadline) => return Err(self.out_of_time(started, None)),
                    () = tokio::time::sleep_until(next_at), if !left.is_empty() => {
                        let Some(address) = left.pop_front() else { continue };
                        let call = timeout(patience, attempt(self.channel(&address)?));
                        asking.push(async move { (address, call.await) });
                        next_at = Instant::now() + HEDGE;
                    }
                }
            }
            patience = (patience * 2).min(ATTEMPT_MAX);
            tokio::time::sleep(backoff.wait(self.random())).await;
        }
    }

    /// Notes that a stream to `leader` ended, and where it said the leader is now.
    pub(crate) fn lost(&self, leader: &Address, now_at: Option<Address>, answer: String) {
        self.left(leader, now_at, answer);
    }

    /// Asks the other nodes whether one of them leads in place of `current`, which has gone silent.
    pub(crate) async fn moved_from(&self, current: &Address) -> bool {
        let others: Vec<Address> =
            self.known.lock().addresses.iter().filter(|address| *address != current).cloned().collect();
        let mut asking: FuturesUnordered<_> =
            others.iter().filter_map(|address| Some(members(self.channel(address).ok()?))).collect();
        while let Some(answer) = asking.next().await {
            let leader = answer.as_ref().and_then(leader_of);
            if let Some(leader) = leader.filter(|leader| leader != current) {
                self.left(current, Some(leader), "has gone silent".into());
                return true;
            }
        }
        false
    }

    /// As [`Router::moved_from`], for a stream on which nothing is due: a `current` that still answers is kept,
    /// whatever others may believe.
    pub(crate) async fn gone_from(&self, current: &Address) -> bool {
        if let Ok(channel) = self.channel(current)
            && members(channel).await.is_some()
        {
            return false;
        }
        self.moved_from(current).await
    }

    /// The error for a search that came to nothing since `started`.
    pub(crate) fn no_leader(&self, started: Instant) -> Error {
        let known = self.known.lock();
        let answers = known.addresses.iter().filter_map(|address| {
            let answer = known.answers.get(address)?.clone();
            Some(EndpointAnswer { endpoint: address.to_string(), answer })
        });
        Error::NoLeader { waited: started.elapsed(), answers: answers.collect() }
    }

    fn out_of_time(&self, started: Instant, busy: Option<String>) -> Error {
        match busy {
            Some(last) => Error::OutOfTime { waited: started.elapsed(), last },
            None => self.no_leader(started),
        }
    }

    fn pick(&self) -> Result<(Address, Channel), Error> {
        let address = {
            let mut known = self.known.lock();
            match known.leader.clone().filter(|_| !buggify("client/leader/forget")) {
                Some(leader) => leader,
                None => {
                    let address = known.addresses[known.next % known.addresses.len()].clone();
                    known.next = (known.next + 1) % known.addresses.len();
                    address
                }
            }
        };
        let channel = self.channel(&address)?;
        Ok((address, channel))
    }

    fn channel(&self, address: &Address) -> Result<Channel, Error> {
        let mut known = self.known.lock();
        if let Some(channel) = known.channels.get(address) {
            return Ok(channel.clone());
        }
        let made = channel(address, &self.connector)?;
        known.channels.insert(address.clone(), made.clone());
        Ok(made)
    }

    fn left(&self, address: &Address, leader: Option<Address>, answer: String) {
        let mut known = self.known.lock();
        if let Some(leader) = &leader
            && !known.addresses.contains(leader)
        {
            known.addresses.push(leader.clone());
        }
        known.answers.insert(address.clone(), answer);
        // Another task may have found the new leader meanwhile; only the one that was left is forgotten.
        if leader.is_some() || known.leader.as_ref() == Some(address) {
            known.leader = leader;
        }
    }

    async fn found(&self, leader: &Address) {
        let channel = {
            let mut known = self.known.lock();
            known.leader = Some(leader.clone());
            known.answers.clear();
            if known.members_from.as_ref() == Some(leader) {
                return;
            }
            known.members_from = Some(leader.clone());
            known.channels.get(leader).cloned()
        };
        // Members are learnt while there is a leader, so that its loss leaves somebody to ask.
        let Some(channel) = channel else { return };
        let Some(answer) = members(channel).await else { return };
        let mut known = self.known.lock();
        for member in answer.members {
            if let Ok(address) = Address::parse(&member.client_addr)
                && !known.addresses.contains(&address)
            {
                known.addresses.push(address);
            }
        }
    }
}

fn answer_of<T>(result: Result<Result<T, Status>, Elapsed>) -> Result<T, Verdict> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(status)) => Err(judge(&status)),
        Err(_) => {
            Err(Verdict::Again { answer: "does not answer in time".into(), applied: true, busy: false })
        }
    }
}

async fn members(channel: Channel) -> Option<v1::MembersResponse> {
    let mut client = ClusterClient::new(channel);
    let answer = timeout(ASK, client.members(v1::MembersRequest {})).await.ok()?;
    answer.ok().map(tonic::Response::into_inner)
}

fn leader_of(answer: &v1::MembersResponse) -> Option<Address> {
    let member = answer.members.iter().find(|member| member.id == answer.leader_id)?;
    Address::parse(&member.client_addr).ok()
}
