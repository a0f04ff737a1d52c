use super::*;

const AT: u64 = 10 * EVERY_ENTRIES;

fn checkpoint(digest: u8) -> Checkpoint {
    Checkpoint { index: AT, digest: [digest; 16] }
}

fn applied(digest: u8) -> Checkpoints {
    let checkpoints = Checkpoints::default();
    checkpoints.applied(AT - 1, || panic!("it is no checkpoint"));
    checkpoints.applied(AT, || Some([digest; 16]));
    checkpoints
}

/// Node 1 leads, and has the digest 7. The voters are 1 to 3.
struct Cluster(Comparison, Instant);

impl Cluster {
    fn new() -> Self {
        Cluster(Comparison::new(1, applied(7)), Instant::now())
    }

    fn answered(&self, node: u64, digest: u8, after: Duration) -> Option<Ending> {
        self.0.answered(node, checkpoint(digest), self.1 + after, || (1..=3).collect())
    }
}

#[test]
fn replicas_that_agree_are_left_alone() {
    let cluster = Cluster::new();
    assert_eq!((cluster.answered(2, 7, PATIENCE), cluster.answered(3, 7, PATIENCE)), (None, None));
    assert_eq!((cluster.0.verdict_on(2), cluster.0.verdict_on(3)), (None, None));
    assert_eq!(cluster.0.agreed(), BTreeMap::from([(2, AT), (3, AT)]));
    assert_eq!(cluster.0.question(None), Some(checkpoint(7)));
}

#[test]
fn a_follower_that_differs_from_two_others_is_stopped() {
    let cluster = Cluster::new();
    assert_eq!(cluster.answered(2, 8, Duration::ZERO), None);
    assert_eq!(cluster.0.verdict_on(2), None, "two of three are asked first");
    assert_eq!(cluster.answered(3, 7, Duration::ZERO), None);
    assert_eq!(cluster.0.verdict_on(2), Some(checkpoint(7)));
    assert_eq!(cluster.0.verdict_on(3), None);
    // And it does what it is told.
    let its = applied(8);
    assert!(matches!(its.against(checkpoint(7)), Some(Ending::Differs { index: AT, .. })));
    assert_eq!(applied(7).against(checkpoint(7)), None);
}

#[test]
fn a_leader_that_differs_from_two_others_stops() {
    let cluster = Cluster::new();
    assert_eq!(cluster.answered(2, 8, Duration::ZERO), None);
    let ending = cluster.answered(3, 8, Duration::ZERO);
    assert!(matches!(ending, Some(Ending::Differs { index: AT, .. })), "{ending:?}");
}

#[test]
fn without_a_majority_the_followers_stop_after_a_while() {
    let cluster = Cluster::new();
    assert_eq!(cluster.answered(2, 8, Duration::ZERO), None);
    assert_eq!(cluster.answered(2, 8, PATIENCE), None);
    assert_eq!(cluster.0.verdict_on(2), None);
    assert_eq!(cluster.answered(2, 8, PATIENCE * 2), None);
    assert_eq!(cluster.0.verdict_on(2), Some(checkpoint(7)));
    assert_eq!(cluster.answered(3, 9, PATIENCE * 2), None, "all three differ");
    assert_eq!(cluster.0.verdict_on(3), Some(checkpoint(7)));
}

#[test]
fn a_learner_has_no_say() {
    let cluster = Cluster::new();
    assert_eq!(cluster.answered(4, 8, Duration::ZERO), None);
    assert_eq!(cluster.answered(5, 8, Duration::ZERO), None);
    assert_eq!(cluster.answered(2, 7, Duration::ZERO), None);
    assert_eq!(cluster.0.verdict_on(4), Some(checkpoint(7)));
    assert_eq!(cluster.0.verdict_on(2), None);
}

#[test]
fn what_was_found_out_is_forgotten() {
    let cluster = Cluster::new();
    cluster.answered(2, 8, Duration::ZERO);
    cluster.answered(3, 7, Duration::ZERO);
    // It has come back with what it should have, and is asked again.
    assert_eq!(cluster.answered(2, 7, FORGOTTEN_AFTER * 2), None);
    assert_eq!(cluster.0.verdict_on(2), None);
}

#[test]
fn where_a_leader_stands_is_a_checkpoint_while_nothing_is_written() {
    let cluster = Cluster::new();
    let at = |index| Some(Checkpoint { index, digest: [9; 16] });
    assert_eq!(cluster.0.question(at(AT + 1)), Some(checkpoint(7)));
    assert_eq!(cluster.0.question(at(AT + 2)), Some(checkpoint(7)));
    assert_eq!(cluster.0.question(at(AT + 2)), at(AT + 2));
    assert_eq!(cluster.0.question(at(AT + 3)), at(AT + 2));
}

#[test]
fn who_is_behind_is_asked_for_the_same_index_and_answers_what_it_has() {
    let behind = Checkpoints::default();
    let index = |answer: Option<Checkpoint>| answer.map(|answer| answer.index);
    assert_eq!(behind.answer(Some(checkpoint(7)), None), None);
    assert_eq!(behind.answer(None, Some(checkpoint(7))), None, "nobody asks");
    assert_eq!(behind.answer(Some(checkpoint(7)), Some(checkpoint(8))), Some(checkpoint(8)));
    behind.applied(EVERY_ENTRIES, || Some([1; 16]));
    assert_eq!(index(behind.answer(Some(checkpoint(7)), None)), Some(EVERY_ENTRIES));
    for nth in 2..2 * KEPT_MAX as u64 {
        behind.applied(nth * EVERY_ENTRIES, || Some([1; 16]));
    }
    assert_eq!(behind.0.lock().len(), KEPT_MAX, "a bounded number is kept");
    let asked = Checkpoint { index: 500 * EVERY_ENTRIES, digest: [0; 16] };
    assert_eq!(index(behind.answer(Some(asked), Some(checkpoint(7)))), Some(asked.index));
}
