//! What a producer keeps across the lives of its process: what it handed in under its session's name, in order, and
//! what became of it. When it opens the session again, `last_seq` settles what had no answer.

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Letter {
    /// The number in its body.
    pub(crate) body: u64,
    pub(crate) bytes: usize,
}

/// What is known of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No answer, or one that leaves it open.
    Open,
    /// It has a receipt.
    Stored,
    /// It was refused, or never handed in, and so used up no sequence number.
    Out,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// `last_seq` when the session was opened last; `None` before, and while it cannot be told.
    base: Option<u64>,
    /// Handed in since then.
    letters: Vec<(Letter, Fate)>,
}

/// What opening the session again has told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The letters that had no answer and are stored, and those that are not and may be sent again.
    Resolved { stored: Vec<Letter>, again: Vec<Letter> },
    /// It was not the session that was left: it was forgotten, or another one used it.
    Foreign,
}

impl Outbox {
    /// The session is open. Letters without an answer are told apart by how many it has stored.
    pub(crate) fn opened(&mut self, last_seq: u64) -> Told {
        let letters = std::mem::take(&mut self.letters);
        let Some(base) = self.base.replace(last_seq) else {
            return Told::Resolved { stored: Vec::new(), again: Vec::new() };
        };
        let numbered: Vec<(Letter, Fate)> =
            letters.into_iter().filter(|(_, fate)| *fate != Fate::Out).collect();
        let count = last_seq.checked_sub(base).and_then(|count| usize::try_from(count).ok());
        let Some((stored, again)) = count.and_then(|count| numbered.split_at_checked(count)) else {
            return Told::Foreign;
        };
        if again.iter().any(|(_, fate)| *fate == Fate::Stored) {
            return Told::Foreign;
        }
        let open = |letters: &[(Letter, Fate)]| {
            letters.iter().filter(|(_, fate)| *fate == Fate::Open).map(|(letter, _)| *letter).collect()
        };
        Told::Resolved { stored: open(stored), again: open(again) }
    }

    /// The session was ended in good order: the next one of its name is new.
    pub(crate) fn closed(&mut self) {
        *self = Outbox::default();
    }

    /// Hands a letter in. Returns its place.
    pub(crate) fn push(&mut self, letter: Letter) -> usize {
        self.letters.push((letter, Fate::Open));
        self.letters.len() - 1
    }

    /// The letter at that place got its answer. Answers that come after the session was opened again are late: the
    /// letter was resolved, or its place is another's.
    pub(crate) fn answered(&mut self, place: usize, body: u64, fate: Fate) {
        if let Some((_, known)) = self.letters.get_mut(place).filter(|(letter, _)| letter.body == body) {
            *known = fate;
        }
    }

    /// Whether it has letters without an answer.
    pub(crate) fn has_open(&self) -> bool {
        self.letters.iter().any(|(_, fate)| *fate == Fate::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: u64) -> Letter {
        Letter { body, bytes: 16 }
    }

    fn outbox(fates: &[Fate]) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.opened(10);
        for (place, fate) in fates.iter().enumerate() {
            assert_eq!(outbox.push(letter(place as u64)), place);
            outbox.answered(place, place as u64, *fate);
        }
        outbox
    }

    #[test]
    fn last_seq_tells_what_was_stored() {
        let mut outbox = outbox(&[Fate::Stored, Fate::Out, Fate::Open, Fate::Open]);
        assert!(outbox.has_open());
        let told = outbox.opened(12);
        assert_eq!(told, Told::Resolved { stored: vec![letter(2)], again: vec![letter(3)] });
        assert!(!outbox.has_open());
        outbox.push(letter(3));
        assert_eq!(outbox.opened(13), Told::Resolved { stored: vec![letter(3)], again: vec![] });
    }

    #[test]
    fn a_session_that_is_not_the_one_that_was_left_tells_nothing() {
        assert_eq!(outbox(&[Fate::Stored, Fate::Open]).opened(10), Told::Foreign, "a receipt and no message");
        assert_eq!(outbox(&[Fate::Open]).opened(12), Told::Foreign, "more than was sent");
        assert_eq!(outbox(&[Fate::Open]).opened(0), Told::Foreign, "begun anew");
    }

    #[test]
    fn a_closed_session_begins_anew() {
        let mut outbox = outbox(&[Fate::Stored]);
        outbox.closed();
        assert_eq!(outbox.opened(0), Told::Resolved { stored: vec![], again: vec![] });
    }

    #[test]
    fn a_late_answer_changes_nothing() {
        let mut outbox = outbox(&[Fate::Open]);
        outbox.opened(10);
        outbox.push(letter(7));
        outbox.answered(0, 0, Fate::Stored);
        assert!(outbox.has_open());
    }
}
