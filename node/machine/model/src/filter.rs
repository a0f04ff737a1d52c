//! What a filter takes, and whether it means something.

use quorate_machine::command::Filter;
use quorate_machine::message::Message;

fn tokens(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('.').collect() }
}

/// Whether a subject's pattern is made as it should be.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    let tokens = tokens(pattern);
    let is_token = |at: usize| match tokens[at] {
        "" => false,
        "*" => true,
        ">" => at + 1 == tokens.len(),
        token => !token.contains(['*', '>']),
    };
    (0..tokens.len()).all(is_token)
}

fn matches(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, subject @ ..]) => matches(pattern, subject),
        ([wanted, pattern @ ..], [token, subject @ ..]) => wanted == token && matches(pattern, subject),
        _ => false,
    }
}

/// Whether a route takes a subject.
pub(crate) fn is_route(pattern: &str, subject: &str) -> bool {
    matches(&tokens(pattern), &tokens(subject))
}

/// Whether a message meets every condition.
pub(crate) fn takes(filter: Option<&Filter>, message: &Message) -> bool {
    let Some(filter) = filter else { return true };
    let subject = filter.subject.is_empty() || matches(&tokens(&filter.subject), &tokens(&message.subject));
    subject && filter.headers.iter().all(|wanted| message.headers.contains(wanted))
}

#[cfg(test)]
mod tests {
    use quorate_machine::message::Header;

    use super::*;

    fn header(name: &str, value: &'static str) -> Header {
        Header { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_pattern_stands_for_the_subjects_it_should() {
        let cases = [
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.b.c", false),
            ("a.*", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            (">", "", false),
            ("*", "", false),
            ("*", "a.b", false),
            ("a.b", "a.b", true),
            ("a.b", "a", false),
            ("", "a", true),
            ("", "", true),
        ];
        for (pattern, subject, expected) in cases {
            let filter = Filter { subject: pattern.into(), headers: Vec::new() };
            let message = Message { subject: subject.into(), ..Message::default() };
            assert_eq!(takes(Some(&filter), &message), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn wildcards_stand_alone_and_the_greater_one_last() {
        for good in ["", "a", "*", ">", "a.*.b.>"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in [".", "a..b", "a.", ">.a", "a*", "a.b>", "**"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn every_header_must_be_there_with_its_value() {
        let filter = Filter { subject: String::new(), headers: vec![header("a", "1"), header("b", "2")] };
        let message = |headers| Message { headers, ..Message::default() };
        assert!(takes(Some(&filter), &message(vec![header("b", "2"), header("a", "0"), header("a", "1")])));
        assert!(!takes(Some(&filter), &message(vec![header("a", "1"), header("b", "1")])));
        assert!(!takes(Some(&filter), &message(vec![header("a", "1")])));
    }
}
