//! Patterns of subjects: tokens between dots, `*` for any one token, a last `>` for one or more.

use crate::limits::SUBJECT_BYTES_MAX;

/// Whether a pattern means something; an empty one is no condition. What is wrong with it otherwise.
pub fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > SUBJECT_BYTES_MAX {
        return Err(format!("a pattern has at most {SUBJECT_BYTES_MAX} bytes, got {}", pattern.len()));
    }
    if pattern.is_empty() {
        return Ok(());
    }
    let mut tokens = pattern.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() {
            return Err(format!("{pattern:?} has an empty token"));
        }
        if token.len() > 1 && token.contains(['*', '>']) {
            return Err(format!(
                "in {pattern:?} a wildcard is part of a token: it stands alone between dots"
            ));
        }
        if token == ">" && tokens.peek().is_some() {
            return Err(format!("in {pattern:?} something follows >, which stands for all the rest"));
        }
    }
    Ok(())
}

/// Whether a subject matches a pattern that is not empty.
pub fn matches(pattern: &str, subject: &str) -> bool {
    if subject.is_empty() {
        return false; // no token at all
    }
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        let cases = [
            ("orders.*.created", "orders.eu.created", true),
            ("orders.*.created", "orders.eu.de.created", false),
            ("orders.>", "orders.eu.created", true),
            ("orders.>", "orders", false),
            (">", "orders", true),
            ("*", "orders.eu", false),
            ("orders", "orders", true),
            ("orders", "order", false),
            ("*", "", false),
            (">", "", false),
        ];
        for (pattern, subject, expected) in cases {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        for bad in ["a..b", ".", "a.>.b", "a*", "a.b>", ">>"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for good in ["", "a", "*", ">", "a.*.b.>"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }
}
