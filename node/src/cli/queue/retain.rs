//! `--retain`, on `queue create` and `queue update`, and how it is shown.

use std::time::Duration;

use quorate_client::{Retain, wire};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::units::{bytes_for_people, duration, size};

/// What one `--retain` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    UntilDone,
    For(Duration),
    Size(u64),
    Count(u64),
    LatestPerKey,
}

/// Reads `until-done`, `for:7d`, `size:10GiB`, `count:1000000`, `latest-per-key`.
pub(super) fn rule(text: &str) -> Result<Rule, String> {
    let bad = || format!("{text:?} is none of until-done, for:7d, size:10GiB, count:1000000, latest-per-key");
    let rule = match text.split_once(':') {
        None if text == "until-done" => Rule::UntilDone,
        None if text == "latest-per-key" => Rule::LatestPerKey,
        Some(("for", time)) => Rule::For(duration(time)?),
        Some(("size", bytes)) => Rule::Size(size(bytes)?),
        Some(("count", count)) => Rule::Count(count.parse().map_err(|_| bad())?),
        _ => return Err(bad()),
    };
    match rule {
        Rule::For(Duration::ZERO) | Rule::Size(0) | Rule::Count(0) => {
            Err(format!("{text:?} retains nothing; at least 1"))
        }
        rule => Ok(rule),
    }
}

/// All of them together. The same kind twice is a contradiction.
pub(super) fn all(rules: &[Rule]) -> Result<Retain, Failure> {
    let mut retain = Retain::default();
    for rule in rules {
        let again = match *rule {
            Rule::UntilDone => std::mem::replace(&mut retain.until_done, true),
            Rule::LatestPerKey => std::mem::replace(&mut retain.latest_per_key, true),
            Rule::For(age) => retain.age.replace(age).is_some(),
            Rule::Size(bytes) => retain.bytes.replace(bytes).is_some(),
            Rule::Count(count) => retain.count.replace(count).is_some(),
        };
        if again {
            return Err(Failure::usage("--retain names the same kind of rule twice", "name each kind once"));
        }
    }
    Ok(retain)
}

pub(super) fn to_json(retain: wire::Retain) -> Value {
    let wire::Retain { until_done, for_ms, bytes, count, latest_per_key } = retain;
    json!({
        "until_done": until_done,
        "for_ms": for_ms,
        "bytes": bytes,
        "count": count,
        "latest_per_key": latest_per_key,
    })
}

/// As `--retain` says it, but for sizes, which are rounded.
pub(super) fn for_people(retain: wire::Retain) -> String {
    let age = humantime::format_duration(Duration::from_millis(retain.for_ms));
    let rules = [
        retain.until_done.then(|| "until-done".to_owned()),
        (retain.for_ms > 0).then(|| format!("for:{}", age.to_string().replace(' ', ""))),
        (retain.bytes > 0).then(|| format!("size:{}", bytes_for_people(retain.bytes).replace(' ', ""))),
        (retain.count > 0).then(|| format!("count:{}", retain.count)),
        retain.latest_per_key.then(|| "latest-per-key".to_owned()),
    ];
    rules.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_shown() {
        let all = |texts: &[&str]| {
            let rules: Result<Vec<Rule>, String> = texts.iter().map(|text| rule(text)).collect();
            super::all(&rules?).map_err(|_| "twice".to_owned())
        };
        let retain =
            all(&["until-done", "for:7d", "size:10GiB", "count:5", "latest-per-key"]).expect("all go");
        let wire = retain.to_wire().expect("no bound is zero");
        assert_eq!(for_people(wire), "until-done for:7days size:10.0GiB count:5 latest-per-key");
        assert_eq!(all(&["for:5s"]), Ok(Retain::for_time(Duration::from_secs(5))));
        assert_eq!(all(&["count:1", "count:1"]), Err("twice".into()));
        for bad in ["", "for", "for:", "for:0", "size:0", "count:0", "count:-1", "until-done:1", "never"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }
}
