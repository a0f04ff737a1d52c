//! P12, P8: what a client costs that means no good, or is broken: requests that are never finished, connections that say nothing.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service as _, ServiceExt as _};

use crate::bounds::{MIB, anonymous};
use crate::harness::{Cluster, runtime, s, until};

/// Half-sent messages hold at most 128 MiB of a node, beside what lies unread on connections and what was there before.
const HALF_SENT_BOUND: u64 = 200 * MIB;
/// Of these the last byte never comes.
const LONG: usize = 16 * 1024 * 1024;

/// Pieces of a request, and then nothing more for ever.
struct Unfinished(VecDeque<Bytes>);

impl http_body::Body for Unfinished {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.pop_front().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
    }
}

/// Asks for a transaction of so many bytes, sends all but the last of them, and waits for what is said to that.
async fn half_send(mut channel: Channel, length: usize) -> String {
    let piece = Bytes::from(vec![0; 64 * 1024]);
    let mut header = vec![0];
    header.extend_from_slice(&(length as u32).to_be_bytes());
    let mut pieces = VecDeque::from([Bytes::from(header)]);
    let mut left = length - 1;
    while left > 0 {
        let next = piece.slice(..left.min(piece.len()));
        left -= next.len();
        pieces.push_back(next);
    }
    let request = http::Request::post("http://quorate/quorate.v1.Transactions/Transact")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = request.body(Body::new(Unfinished(pieces))).expect("a request");
    let ready = channel.ready().await.expect("a connection");
    match ready.call(request).await {
        Ok(answer) => format!("{:?}", answer.headers().get("grpc-message")),
        Err(e) => e.to_string(),
    }
}

#[test]
fn half_sent_requests_take_a_bounded_amount_of_memory_and_hold_up_nobody() {
    let cluster = Cluster::start(1, &[]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let node = cluster.nodes()[0].pid();
    let before = anonymous(node);
    let address = format!("http://{}", cluster.nodes()[0].client_addr);
    runtime().block_on(async {
        let channel =
            Endpoint::from_shared(address).expect("an address").connect().await.expect("a connection");
        let begun = Instant::now();
        let calls: Vec<_> = (0..60).map(|_| tokio::spawn(half_send(channel.clone(), LONG))).collect();
        let (mut peak, mut worst) = (0, s(0));
        while begun.elapsed() < s(8) {
            peak = peak.max(anonymous(node).saturating_sub(before));
            let asked = Instant::now();
            cluster.quorate(&["publish", "q", "small"]).ok();
            worst = worst.max(asked.elapsed());
        }
        println!("60 x 16 MiB half sent: {} MiB more, a publish took {worst:?} at most", peak / MIB);
        assert!(peak > LONG as u64 / 2, "nothing was gathered: {peak} bytes");
        assert!(peak < HALF_SENT_BOUND, "the node took {} MiB", peak / MIB);
        assert!(worst < s(4), "a publish took {worst:?}");
        let mut refused = 0;
        for call in calls {
            // Those that found room have a minute and more to go on; the others have been refused by now.
            if call.is_finished() {
                let says = call.await.expect("no panic");
                assert!(says.contains("half-sent"), "{says}");
                refused += 1;
            } else {
                call.abort();
            }
        }
        assert!((30..60).contains(&refused), "{refused} were refused");
    });
    until("the memory to be free again", s(20), || {
        cluster.quorate(&["publish", "q", "small"]).ok();
        (anonymous(node).saturating_sub(before) < HALF_SENT_BOUND / 2).then_some(())
    });
}

#[test]
fn connections_that_say_nothing_keep_nobody_out_and_are_closed() {
    let cluster = Cluster::start(3, &["--client-connections-max", "40"]);
    cluster.quorate(&["queue", "create", "q"]).ok();
    let leader = cluster.leader();
    let address = cluster.nodes()[leader].client_addr.clone();
    let mut idle: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(&address).expect("a connection")).collect();
    let pid = cluster.nodes()[leader].pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there").count();
    until("what is too much to be closed", s(5), || (descriptors() < 150).then_some(()));
    let begun = Instant::now();
    cluster.quorate(&["publish", "q", "1"]).ok();
    assert!(begun.elapsed() < s(4), "a publish took {:?}", begun.elapsed());
    assert_eq!(cluster.leader(), leader, "the leader leads on");
    // Also those that had a place are closed, since they did not say what they want.
    let begun = Instant::now();
    for stream in &mut idle {
        stream.set_read_timeout(Some(s(15))).expect("a timeout");
        let read = stream.read(&mut [0; 1]);
        let is_open = matches!(&read, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open && begun.elapsed() < s(15), "a connection is still open: {read:?}");
    }
}
